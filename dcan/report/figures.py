"""The charts of a report, each as an inline SVG element."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dcan.report.learned import Calibration, Fusion, Member, TrainingRecord
from dcan.report.records import Drift
from dcan.report.scored import Curve
from dcan.report.svg import INK, SERIES, inline_svg
from dcan.report.wording import escape_controls

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP"
NAME = 40
POINTS = 400
"""Records drawn in a curve of training, at most; more are thinned to every k-th and the last."""


def threshold_curves(curves: Mapping[str, Curve]) -> str:
    """Rand error over the threshold, one line a map, the least of each ringed."""

    def draw(axes: Axes) -> None:
        for number, (key, curve) in enumerate(curves.items()):
            _line(axes, curve, number, _name(key))
            _ring_least(axes, curve, number)
        _label(axes, "Rand error over the threshold", "threshold", "Rand error")
        axes.legend()

    return inline_svg("threshold", draw)


def weight_curves(calibration: Calibration) -> str:
    """Rand error over w_f at the chosen sigma and depth: at the best t of each, and the chosen."""
    chosen = calibration.chosen
    at_chosen = _surface(calibration)
    weights = sorted({w_f for w_f, _ in at_chosen})
    best = [min(e for (w_f, _), e in at_chosen.items() if w_f == w) for w in weights]
    fixed = [at_chosen.get((w, chosen.t), math.nan) for w in weights]

    def draw(axes: Axes) -> None:
        _line(axes, Curve(tuple(weights), tuple(best)), 0, "best t for each w_f")
        _line(axes, Curve(tuple(weights), tuple(fixed)), 1, f"t = {chosen.t:g}")
        axes.axvline(chosen.w_f, color=INK, linewidth=1, linestyle=":", label="chosen w_f")
        if spread := calibration.within.get("w_f"):
            axes.axvspan(*spread, color=INK, alpha=0.08, label="within one standard error")
        title = f"Rand error over w_f ({_where(chosen)})"
        _label(axes, title, "w_f, weight of the contour", "Rand error")
        axes.legend()

    return inline_svg("weight", draw)


def weight_threshold_map(calibration: Calibration) -> str:
    """Rand error over w_f and t at the chosen sigma and depth; a ring at the chosen pair."""
    chosen = calibration.chosen
    title = f"Rand error over w_f and t ({_where(chosen)})"
    return _heat_map("surface", _surface(calibration), (chosen.w_f, chosen.t), (title, "w_f", "t"))


def sigma_depth_map(calibration: Calibration) -> str:
    """Least Rand error over w_f and t, by sigma and depth; a ring at the chosen pair."""
    least: dict[tuple[float, float], float] = {}
    for trial in calibration.trials:
        key = (trial.fusion.sigma, trial.fusion.depth)
        least[key] = min(least.get(key, math.inf), trial.rand_error)
    chosen = (calibration.chosen.sigma, calibration.chosen.depth)
    title = "Least Rand error by smoothing and depth"
    return _heat_map("smoothing", least, chosen, (title, "sigma in pixels", "depth in 1/255"))


def loss_curves(member: Member) -> str:
    """The losses of one network over its steps, and the step whose weights are used."""
    thinned = _thinned(member.records)
    heads = dict.fromkeys(name for record in thinned for name in record.auxiliary)

    def draw(axes: Axes) -> None:
        series = {
            "training loss": _over_steps(thinned, lambda r: r.loss),
            "fused map": _over_steps(thinned, lambda r: r.fused),
        }
        for head in heads:
            series[f"head {_name(head)}"] = _over_steps(thinned, _head(head))
        for number, (name, curve) in enumerate(series.items(), start=1):
            _line(axes, curve, number, name, marker="")
        checked = [r for r in member.records if r.validation is not None]
        _line(axes, _over_steps(checked, lambda r: r.validation), 0, "validation")
        _make_logarithmic(axes)
        axes.axvline(member.chosen_step, color=INK, linewidth=1, linestyle=":", label="chosen step")
        _label(axes, f"Losses of {_name(member.name)}", "step", "cross entropy")
        axes.legend(fontsize=8, ncols=2)

    return inline_svg(f"losses {member.name}", draw)


def validation_curves(member: Member) -> str:
    """Rand error after fusion on the validation sections over the steps of one network."""
    checked = [r for r in member.records if r.rand_error is not None]

    def draw(axes: Axes) -> None:
        _line(axes, _over_steps(checked, lambda r: r.rand_error), 0, "validation")
        axes.axvline(member.chosen_step, color=INK, linewidth=1, linestyle=":", label="chosen step")
        _label(axes, f"Validation of {_name(member.name)}", "step", "Rand error after fusion")
        axes.legend(fontsize=8)

    return inline_svg(f"validation {member.name}", draw)


def schedule_curves(member: Member) -> str:
    """Learning rate and w_c, the weight of the heads' losses, over the steps of one network."""
    thinned = _thinned(member.records)

    def draw(axes: Axes) -> None:
        _line(axes, _over_steps(thinned, lambda r: r.learning_rate), 0, "learning rate", marker="")
        _line(axes, _over_steps(thinned, lambda r: r.w_c), 1, "w_c, weight of the heads", marker="")
        _label(axes, f"Schedule of {_name(member.name)}", "step", "value")
        _make_logarithmic(axes)
        axes.legend(fontsize=8)

    return inline_svg(f"schedule {member.name}", draw)


def drift_curves(drift: Sequence[Drift]) -> str:
    """Shift between consecutive sections along y and x."""
    sections = tuple(float(pair.z) for pair in drift)

    def draw(axes: Axes) -> None:
        for number, axis in enumerate(("dy", "dx")):
            shifts = tuple(float(getattr(pair, axis)) for pair in drift)
            _line(axes, Curve(sections, shifts), number, axis)
        axes.axhline(0, color=INK, linewidth=0.6, alpha=0.5)
        _label(axes, "Drift from section z to z + 1", "section z", "shift in pixels")
        axes.legend()

    return inline_svg("drift", draw)


def _name(text: str) -> str:
    """A name as a chart has room for it, the middle left out where it is long."""
    shown = escape_controls(text)
    return shown if len(shown) <= NAME else f"{shown[: NAME // 2]}…{shown[-NAME // 2 :]}"


def _where(fusion: Fusion) -> str:
    return f"sigma {fusion.sigma:g} px, depth {fusion.depth:g}/255"


def _surface(calibration: Calibration) -> dict[tuple[float, float], float]:
    """Rand errors by (w_f, t) at the chosen sigma and depth."""
    chosen = calibration.chosen
    return {
        (trial.fusion.w_f, trial.fusion.t): trial.rand_error
        for trial in calibration.trials
        if (trial.fusion.sigma, trial.fusion.depth) == (chosen.sigma, chosen.depth)
    }


def _thinned(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    if len(records) <= POINTS:
        return list(records)
    return [*records[:: -(-len(records) // (POINTS - 1))], records[-1]]


def _head(name: str) -> Callable[[TrainingRecord], float]:
    return lambda r: r.auxiliary.get(name, math.nan)


def _over_steps(
    records: Sequence[TrainingRecord], value: Callable[[TrainingRecord], float | None]
) -> Curve:
    values = [value(record) for record in records]
    return Curve(
        tuple(float(record.step) for record in records),
        tuple(math.nan if v is None else v for v in values),
    )


def _line(axes: Axes, curve: Curve, number: int, name: str, marker: str | None = None) -> None:
    if marker is None:
        marker = MARKERS[number % len(MARKERS)]
    style = ("-", "--", "-.")[number % 3]
    color = SERIES[number % len(SERIES)]
    axes.plot(curve.x, curve.y, color=color, marker=marker, linestyle=style, label=name)


def _ring_least(axes: Axes, curve: Curve, number: int) -> None:
    known = [(y, x) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    if known:
        y, x = min(known)
        color = SERIES[number % len(SERIES)]
        axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=color)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True)


def _make_logarithmic(axes: Axes) -> None:
    if not math.isfinite(axes.dataLim.minposy):  # nothing is above 0
        return

    def minor_text(value: float, _: float) -> str:
        low, high = axes.get_ylim()
        return f"{value:g}" if high < 100 * low and f"{value:e}"[0] in "25" else ""

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(minor_text)


def _heat_map(
    name: str,
    values: Mapping[tuple[float, float], float],
    chosen: tuple[float, float],
    words: tuple[str, str, str],
) -> str:
    """A cell for each pair of the values' grid, blank where there is none; steps evenly drawn."""
    columns, rows = (sorted({key[axis] for key in values}) for axis in (0, 1))
    cells = [[values.get((x, y), math.nan) for x in columns] for y in rows]

    def draw(axes: Axes) -> None:
        image = axes.imshow(
            cells, origin="lower", aspect="auto", cmap="cividis_r", interpolation="none"
        )
        colorbar = axes.figure.colorbar(image, ax=axes, label="Rand error")
        for ramp in colorbar.ax.collections:
            ramp.set_rasterized(True)
        _label(axes, *words)
        axes.grid(visible=False)
        for axis, ticks in ((axes.xaxis, columns), (axes.yaxis, rows)):
            every = -(-len(ticks) // 12)
            axis.set_ticks(range(0, len(ticks), every), [f"{v:g}" for v in ticks[::every]])
        if chosen[0] in columns and chosen[1] in rows:
            at = ([columns.index(chosen[0])], [rows.index(chosen[1])])
            axes.plot(*at, "o", markersize=11, markerfacecolor="none", markeredgecolor="black")
            axes.plot(*at, "o", markersize=9, markerfacecolor="none", markeredgecolor="white")

    return inline_svg(name, draw)
