"""One volume's report as one HTML page that loads nothing."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dcan.ops.definitions import MISTAKES
from dcan.report import figures, overlays, wording
from dcan.report.learned import Calibration, GivenWeights, Training, Trial
from dcan.report.marks import MISTAKE_COLOURS
from dcan.report.overlays import Overlay
from dcan.report.records import Linking, Report
from dcan.report.samples import row_png
from dcan.report.scored import MAP_METRICS, NEURITE_METRICS, Absent, MapScores, Metrics

TRIALS = 20
"""Rows of the calibration's table: the best ones."""

PANELS = {
    "membrane": "Membrane probability, the stronger the likelier",
    "segments": "Segments, a colour by name",
    "neurites": "Neurites, a colour by name, the same in every section",
    "truth": "Truth",
    "faults": "Segments against truth",
    "mistakes": "Warping mistakes of the fused map",
}


def render(report: Report) -> str:
    """The page: HTML with styles, charts and pictures inside it.

    Text of the report is shown as text whatever it holds; invisible characters are shown as
    escapes, so the page can be written as UTF-8. Equal reports give equal pages. The page holds
    no script and forbids the browser to load anything.
    """
    environment = Environment(
        loader=PackageLoader("dcan.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": wording.count,
        "duration": wording.duration,
        "metric": wording.metric,
        "ranges": wording.ranges,
        "size": wording.size,
    }
    environment.tests |= {
        "absent": lambda part: isinstance(part, Absent),
        "given_weights": lambda part: isinstance(part, GivenWeights),
    }
    page = environment.get_template("page.html.j2").render(
        report=report,
        charts=_charts(report),
        pictures=[_picture(o, report.volume.voxel_nm) for o in report.overlays],
        sample_rows=_sample_rows(report.training),
        best_trials=_best_trials(report.calibration),
        best=_best_results(report.metrics),
        cautions=wording.cautions(report),
        settings=wording.settings_text(report.volume.settings),
        map_metrics=MAP_METRICS,
        neurite_metrics=NEURITE_METRICS,
        higher_is_better=wording.HIGHER_IS_BETTER,
        palette=overlays,
        mistakes=MISTAKES,
        mistake_colours=MISTAKE_COLOURS,
        has_mistakes=any(overlay.mistakes is not None for overlay in report.overlays),
    )
    return wording.escape_controls(page)


@dataclass(frozen=True, slots=True)
class SamplePicture:
    """The picture of a disturbance of the training samples, its extent in pixels."""

    name: str
    address: str
    height: int
    width: int


def _sample_rows(training: object) -> list[SamplePicture]:
    rows = training.samples if isinstance(training, Training) else ()
    return [SamplePicture(row.name, _address(row_png(row)), *row.shape) for row in rows]


@dataclass(frozen=True, slots=True)
class Panel:
    """A layer to lie over a picture, by its text and its address."""

    text: str
    address: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A section's EM, the layers over it, its extent and a scale bar, in nanometres."""

    section: int
    seen: bool
    height: float
    width: float
    address: str
    panels: tuple[Panel, ...]
    bar: float
    bar_text: str


def _picture(overlay: Overlay, voxel_nm: tuple[float, float, float]) -> Picture:
    rows, columns = overlay.em.shape
    width = columns * voxel_nm[2]
    bar = _scale_bar(width)
    return Picture(
        section=overlay.section,
        seen=overlay.seen,
        height=rows * voxel_nm[1],
        width=width,
        address=_address(overlays.em_png(overlay)),
        panels=tuple(Panel(PANELS[x.name], _address(x.png)) for x in overlays.layers(overlay)),
        bar=bar,
        bar_text=f"{bar / 1000:g} µm" if bar >= 1000 else f"{bar:g} nm",
    )


def _scale_bar(width: float) -> float:
    """The longest of 1, 2, 5 times a power of ten that is at most a third of the width.

    >>> _scale_bar(4000.0)
    1000.0
    """
    exponents = range(-3, 10)
    lengths = [digit * 10.0**power for power in exponents for digit in (1, 2, 5)]
    return max((length for length in lengths if length <= width / 3), default=lengths[0])


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _charts(report: Report) -> dict[str, list[Markup]]:
    """The charts of each part; their SVG is markup of ours in which all text is escaped."""
    charts: dict[str, list[str]] = {"metrics": [], "calibration": [], "training": [], "linking": []}
    if isinstance(report.metrics, Metrics) and report.metrics.curves:
        charts["metrics"] = [figures.threshold_curves(report.metrics.curves)]
    if isinstance(report.calibration, Calibration) and report.calibration.trials:
        draws = (figures.weight_curves, figures.weight_threshold_map, figures.sigma_depth_map)
        charts["calibration"] = [draw(report.calibration) for draw in draws]
    if isinstance(report.training, Training):
        for member in report.training.members:
            charts["training"].append(figures.loss_curves(member))
            if any(record.rand_error is not None for record in member.records):
                charts["training"].append(figures.validation_curves(member))
            charts["training"].append(figures.schedule_curves(member))
    if isinstance(report.linking, Linking) and report.linking.drift:
        charts["linking"] = [figures.drift_curves(report.linking.drift)]
    return {part: [Markup(svg) for svg in svgs] for part, svgs in charts.items()}  # noqa: S704


def _best_trials(calibration: Calibration | Absent) -> list[Trial]:
    """The trials of least error, earlier ones first where equal."""
    if isinstance(calibration, Absent):
        return []
    return sorted(calibration.trials, key=lambda trial: trial.rand_error)[:TRIALS]


def _best_results(metrics: Metrics | Absent) -> dict[str, str]:
    """For each metric of two results or more, the key of the best; ties to the first."""
    best: dict[str, str] = {}
    if isinstance(metrics, Absent):
        return best
    for name in MAP_METRICS:
        sign = -1 if name in wording.HIGHER_IS_BETTER else 1
        values = {key: _value(scores, name) for key, scores in metrics.scores.items()}
        known = {key: sign * value for key, value in values.items() if value is not None}
        if len(known) > 1:
            best[name] = min(known, key=known.__getitem__)
    return best


def _value(scores: MapScores, name: str) -> float | None:
    score = getattr(scores, name)
    return None if score is None else float(score.value)
