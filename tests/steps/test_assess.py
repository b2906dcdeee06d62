"""Evaluation section by section: the numbers of whole stacks in memory, and where to look."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from dcan.config import parse
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.ops import contingency, phantom
from dcan.ops.definitions import HEADLINES, MISTAKES
from dcan.ops.fusion import fused_map
from dcan.ops.metrics import THRESHOLDS, score_stack, volume_scores, worst
from dcan.ops.sections import segment
from dcan.ops.targets import NEURITE, target
from dcan.ops.warping import mistakes
from dcan.steps import assess, probe
from dcan.steps.pictures import overlays
from dcan.steps.report import report
from dcan.steps.truth import fingerprint_of
from dcan.steps.vouching import vouch
from dcan.steps.workspace import Workspace
from dcan.storage.volumes import Store
from tests.steps.test_blockwise import run

SHAPE = (6, 90, 100)
OFFSET = (0, 7, 11)
HELD = [2, 3, 5]


@pytest.fixture(scope="module")
def evaluated() -> Iterator[tuple[Workspace, Any, Any]]:
    """A volume with a given map, its truth a crop of it: workspace, truth, metrics.json."""
    membrane = phantom.membrane(SHAPE, 5, Box.whole(SHAPE))
    truth = phantom.render(SHAPE, 5, Box.whole(SHAPE)).neurites[:, 7:87, 11:95]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "map.npy", membrane)
        np.save(folder / "truth.npy", truth)
        raw = {
            "volume": {
                "name": "v",
                "source": str(folder / "map.npy"),
                "voxel_size": [50, 4, 4],
                "missing": [4],
            },
            "membrane": {"source": str(folder / "map.npy")},
            "truth": {
                "source": str(folder / "truth.npy"),
                "kind": "neurites",
                "sections": "0:2",
                "offset": list(OFFSET),
            },
            "evaluation": {"sections": "2:6"},
            "segmentation": {"sigma": 1, "depth": 8, "w_f": 0.7, "t": 0.4, "min_size": 5},
            "linking": {"iou": 0.3, "containment": 0.8, "beside": 1},
            "labels": {"grow": True},
            "blocks": {"shape": [2, 48, 64]},
            "storage": {"shard": [2, 48, 32]},
            "output": str(folder / "results"),
        }
        space = Workspace.of(parse(raw, "test"))
        probe.probe(space)
        space = Workspace.of(space.config)
        probe.allocate(space)
        run(space, 2, Random(0))
        assess.evaluate(space)
        yield space, truth, json.loads((space.root / "metrics.json").read_text())


def stacks(space: Workspace, truth: Any) -> dict[str, Any]:
    """What is scored, whole, as arrays."""
    crop = Box((0, 7, 11), (6, 87, 95)).slices
    whole = Box.whole(SHAPE)
    membrane = Store(space.root, "membrane.ome.zarr/0").read(whole)[crop][HELD]
    fusion = assess.fusion_of(space)
    contour = np.stack([segment(section, fusion).contour for section in membrane])
    return {
        "truth": np.stack([target(section, "neurites") == NEURITE for section in truth[HELD]]),
        "p": ((255 - membrane.astype(np.float64)) / 255).astype(np.float32),
        "fused": np.float32(1) - fused_map(membrane, contour, fusion.w_f),
        "segments": (Store(space.root, probe.SEGMENTS).read(whole)[crop][HELD] > 0).astype("f4"),
        "neurites": Store(space.root, probe.NEURITES).read(whole)[crop],
    }


def test_the_numbers_are_those_of_the_stacks_in_memory(evaluated: Any) -> None:
    space, truth, found = evaluated
    given = stacks(space, truth)
    assert found["sections"] == HELD
    for name in ("p", "fused", "segments"):
        thresholds = (0.0,) if name == "segments" else THRESHOLDS
        scores = score_stack(given["truth"], given[name], thresholds=thresholds)
        assert found[name]["curves"] == scores.as_dict()
        assert found[name]["warping_mistakes"] == scores.mistakes
        assert list(scores.mistakes) == list(MISTAKES)
        assert found[name]["rand_error"] == scores.best[HEADLINES["rand_error"]] > 0
    assert sum(found["fused"]["warping_mistakes"].values()) > 0


def test_faults_are_found_in_the_volume(evaluated: Any) -> None:
    space, truth, found = evaluated
    neurites = stacks(space, truth)["neurites"]
    held = contingency.count(truth[HELD], neurites[HELD])
    assert {key: found["neurites"][key] for key in volume_scores(held)} == volume_scores(held)
    whole = Store(space.root, probe.NEURITES).read(Box.whole(SHAPE))
    listed = worst(held, 10, (len(HELD), *truth.shape[1:]))
    for name, faults in (("worst_splits", listed.splits), ("worst_merges", listed.merges)):
        assert len(faults) > 0
        said = found["neurites"][name]
        assert [fault["label"] for fault in said] == [fault.label for fault in faults]
        for fault, (row, y, x) in zip(said, (fault.at for fault in faults), strict=True):
            assert fault["at"] == [HELD[row], y + OFFSET[1], x + OFFSET[2]]
    for fault in found["neurites"]["worst_merges"]:
        assert whole[tuple(fault["at"])] == fault["label"]


@pytest.mark.parametrize("other", [None, 0.2, 0.8])
def test_pictures_show_the_mistakes_of_the_fused_map_where_the_truth_is(
    evaluated: Any, other: float | None
) -> None:
    space, truth, scored = evaluated
    found = copy.deepcopy(scored)
    if other is not None:
        found["fused"]["thresholds"]["warping_error"] = other
    given = stacks(space, truth)
    threshold = found["fused"]["thresholds"]["warping_error"]
    shown = overlays(space, found)
    assert [one.section for one in shown] == HELD
    counted = np.zeros(1 + len(MISTAKES), int)
    for one in shown:
        row = HELD.index(one.section)
        expected = np.zeros(SHAPE[1:], np.uint8)
        wrong = mistakes(given["truth"][row], given["fused"][row], threshold)
        expected[7:87, 11:95] = wrong
        assert one.mistakes is not None
        assert (one.mistakes == expected).all()
        counted += np.bincount(wrong.ravel(), minlength=len(counted))
        assert one.truth is not None
        assert one.truth.shape == SHAPE[1:]
        assert one.truth[7:87, 11:95].any()
        assert not one.truth[:7].any()
    if other is None:
        assert counted[1:].tolist() == list(found["fused"]["warping_mistakes"].values())


def test_pictures_of_a_large_section_are_of_its_middle(
    evaluated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, _, found = evaluated
    full = overlays(space, found)[0]
    monkeypatch.setattr("dcan.steps.pictures.LARGEST", 40)
    part = overlays(space, found)[0]
    for name in ("em", "segments", "neurites", "truth", "mistakes"):
        assert (getattr(part, name) == getattr(full, name)[25:65, 30:70]).all()


def test_without_metrics_there_is_no_truth_to_show(evaluated: Any) -> None:
    space, _, _ = evaluated
    shown = overlays(space, {"absent": "no sections are held out"})
    assert [one.section for one in shown] == [0, 2, 5]
    assert all(one.truth is None and one.mistakes is None for one in shown)


def test_the_page_shows_faults_with_their_place_and_mistakes(evaluated: Any) -> None:
    space, _, found = evaluated
    report(space)
    page = (space.root / "report.html").read_text(encoding="utf-8")
    at = ", ".join(map(str, found["neurites"]["worst_splits"][0]["at"]))
    assert f"<td>{at}</td>" in page
    assert page.count("Warping mistakes of the fused map</figcaption>") == len(HELD)


@pytest.mark.parametrize(("z", "refused"), [(3, True), (1, False)])
def test_sections_that_values_were_chosen_on_are_not_scored(
    evaluated: tuple[Workspace, Any, Any], z: int, *, refused: bool
) -> None:
    space = evaluated[0]
    kept = space.receipt("calibrate")
    em = Store(space.root, "em.ome.zarr/0").read(Box((z, 7, 11), (z + 1, 87, 95)))[0]
    values = {**kept.values, "sections": [fingerprint_of(em)]}
    vouch(space, "calibrate", kept.fingerprint, values, entries=kept.entries)
    try:
        if refused:
            with pytest.raises(DcanError, match=r'"2:6", .* section 3 \(calibration.json\)'):
                assess.evaluate(space)
        else:
            assess.evaluate(space)
    finally:
        vouch(space, "calibrate", kept.fingerprint, kept.values, entries=kept.entries)
