"""Charts: the data is in them, text is text, equal records give equal bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from xml.etree import ElementTree

import matplotlib
import pytest

from dcan.report import figures
from dcan.report.learned import Calibration, Fusion, Member, TrainingRecord, Trial
from dcan.report.records import Drift
from dcan.report.scored import Curve

HOSTILE = '</text><script>$\\frac{$"\ud800\x00'
CURVES = {"p": Curve((0.0, 0.5, 1.0), (0.3, 0.1, 0.2)), "fused": Curve((0.0, 1.0), (0.05, 0.07))}
CALIBRATION = Calibration(
    chosen=Fusion(1.5, 8.0, 0.7, 0.3),
    origin="a search",
    trials=tuple(
        Trial(Fusion(s, d, w, t), 0.1 + abs(w - 0.7) + abs(t - 0.3) + s / 100 + d / 1000)
        for s, d, w, t in product((1.0, 1.5), (3.0, 8.0), (0.5, 0.7, 0.9), (0.2, 0.3, 0.4))
    ),
)
DRIFT = (Drift(0, 1, -2), Drift(1, 0, 3))


def member(name: str = "member 1", steps: int = 12) -> Member:
    records = tuple(
        TrainingRecord(
            step,
            1 / (step + 1),
            0.5,
            {"C1": 0.9, "C3": 0.7},
            0.01,
            1.0,
            *((0.4, 0.1 + step / 100) if step % 4 == 0 else (None, None)),
        )
        for step in range(steps)
    )
    return Member(name, records, chosen_step=8)


CHARTS = {
    "threshold": lambda: figures.threshold_curves(CURVES),
    "weight": lambda: figures.weight_curves(CALIBRATION),
    "surface": lambda: figures.weight_threshold_map(CALIBRATION),
    "smoothing": lambda: figures.sigma_depth_map(CALIBRATION),
    "losses": lambda: figures.loss_curves(member()),
    "validation": lambda: figures.validation_curves(member()),
    "schedule": lambda: figures.schedule_curves(member()),
    "drift": lambda: figures.drift_curves(DRIFT),
}
WORDS = {
    "threshold": {"p", "fused", "threshold", "Rand error"},
    "weight": {"best t for each w_f", "t = 0.3", "w_f, weight of the contour", "Rand error"},
    "surface": {"Rand error over w_f and t (sigma 1.5 px, depth 8/255)", "w_f", "t", "0.7", "0.3"},
    "smoothing": {"sigma in pixels", "depth in 1/255", "1.5", "8"},
    "losses": {
        "0.1",
        "1",
        "Losses of member 1",
        "step",
        "validation",
        "fused map",
        "head C3",
        "chosen step",
    },
    "validation": {"Validation of member 1", "Rand error after fusion", "step", "chosen step"},
    "schedule": {"0.01", "learning rate", "w_c, weight of the heads", "step"},
    "drift": {"section z", "shift in pixels", "dy", "dx"},
}


def texts(svg: str) -> set[str]:
    return {node.text or "" for node in ElementTree.fromstring(svg).iter() if tag(node) == "text"}


def tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def markers(svg: str) -> int:
    return len(re.findall(r"<use [^>]*var\(--c\d", svg))


@pytest.mark.parametrize("name", CHARTS)
def test_chart_says_what_it_shows(name: str) -> None:
    assert texts(CHARTS[name]()) >= WORDS[name]


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_one_self_contained_element(name: str) -> None:
    svg = CHARTS[name]()
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    nodes = list(ElementTree.fromstring(svg).iter())
    assert not {tag(node) for node in nodes} & {"script", "style", "metadata", "foreignObject"}
    for node in nodes:
        for key, value in node.attrib.items():
            if key.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,"))
    ids = [node.attrib["id"] for node in nodes if "id" in node.attrib]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_the_same_again_and_under_other_user_settings(name: str) -> None:
    first = CHARTS[name]()
    with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 30, "svg.fonttype": "path"}):
        assert CHARTS[name]() == first


def test_ids_of_different_charts_differ() -> None:
    found = [set(re.findall(r'\bid="([^"]+)"', draw())) for draw in CHARTS.values()]
    assert all(found)
    assert len(set.union(*found)) == sum(len(ids) for ids in found)


def test_points_are_drawn_at_their_values() -> None:
    svg = figures.drift_curves((Drift(0, 0, 4), Drift(1, 2, 4), Drift(2, 4, 4)))
    points = [
        (float(x), float(y))
        for x, y in re.findall(r'<use [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*var\(--c1', svg)
    ][:3]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert (y0 - y1, x1 - x0) == (pytest.approx(y1 - y2), pytest.approx(x2 - x1))


def test_gaps_are_not_drawn() -> None:
    full = figures.threshold_curves({"p": Curve((0.0, 0.5, 1.0), (0.3, 0.2, 0.1))})
    gap = figures.threshold_curves({"p": Curve((0.0, 0.5, 1.0), (0.3, float("nan"), 0.1))})
    assert markers(gap) == markers(full) - 1
    nothing = figures.threshold_curves({"p": Curve((0.0,), (float("nan"),))})
    assert markers(nothing) < markers(gap)


def test_heat_map_blanks_what_was_not_tried() -> None:
    trials = [t for t in CALIBRATION.trials if (t.fusion.w_f, t.fusion.t) != (0.9, 0.4)]
    holed = Calibration(CALIBRATION.chosen, "a search", tuple(trials))
    assert figures.weight_threshold_map(holed) != figures.weight_threshold_map(CALIBRATION)


def test_weight_curves_take_the_best_and_the_chosen_threshold_at_the_chosen_depth() -> None:
    def ys(calibration: Calibration) -> list[float]:
        svg = figures.weight_curves(calibration)
        return [float(y) for y in re.findall(r'<use [^>]*?y="([\d.]+)"[^>]*var\(--c[12]', svg)]

    other_depth = Trial(Fusion(1.5, 3.0, 0.5, 0.2), 0.0001)
    same = Calibration(CALIBRATION.chosen, "", (*CALIBRATION.trials, other_depth))
    assert ys(same) == ys(CALIBRATION)
    better = Trial(Fusion(1.5, 8.0, 0.5, 0.1), 0.0001)
    changed = Calibration(CALIBRATION.chosen, "", (*CALIBRATION.trials, better))
    assert ys(changed) != ys(CALIBRATION)


def test_long_training_is_thinned_but_keeps_its_last_record_and_validation() -> None:
    long = member(steps=10_001)
    assert len(figures.loss_curves(long)) < 1_000_000
    thinned = figures._thinned(long.records)
    assert len(thinned) <= figures.POINTS
    assert thinned[0] is long.records[0]
    assert thinned[-1] is long.records[-1]


def test_training_of_no_records_and_given_no_heads_is_drawn() -> None:
    empty = Member("empty", (), 0)
    assert "Losses of empty" in texts(figures.loss_curves(empty))
    assert "Schedule of empty" in texts(figures.schedule_curves(empty))
    assert "Validation of empty" in texts(figures.validation_curves(empty))


def test_hostile_names_stay_text() -> None:
    for svg in (
        figures.threshold_curves({HOSTILE: CURVES["p"]}),
        figures.loss_curves(member(HOSTILE)),
        figures.schedule_curves(member(HOSTILE)),
    ):
        assert any('</text><script>$\\frac{$"\\ud800\\x00' in text for text in texts(svg))
        assert "<script" not in svg
        svg.encode("utf-8")


def test_long_names_leave_room_for_the_chart() -> None:
    svg = figures.threshold_curves({"a" * 300 + "z" * 300: CURVES["p"]})
    assert f"{'a' * 20}…{'z' * 20}" in texts(svg)
    assert "b" * 40 in texts(figures.threshold_curves({"b" * 40: CURVES["p"]}))


def test_importing_the_report_does_not_import_matplotlib() -> None:
    code = "import sys, dcan.report.page; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
