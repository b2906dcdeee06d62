"""Where the values of fusion and linking come from, and what makes a search again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.ops.joining import Neurites
from dcan.ops.linking import NEVER, Linking
from dcan.ops.sections import Fusion
from dcan.steps import sources
from dcan.steps.calibrate import calibrate
from dcan.steps.calibrate_links import _stacks, linking_of, plain
from dcan.steps.link import counts_of
from dcan.steps.workspace import Workspace
from tests.steps.conftest import Make, noise
from tests.steps.test_truth import prepared

VALUES = {"sigma": 1.5, "depth": 8.0, "w_f": 0.7, "t": 0.3}
DEFAULTS = {"iou": 0.3, "containment": 0.8, "beside": 1}


def calibrated(space: Workspace) -> dict[str, Any]:
    calibrate(space)
    found: dict[str, Any] = json.loads((space.root / "calibration.json").read_text())
    assert space.receipt("calibrate").values["chosen"] == found["chosen"]
    return found


def test_without_truth_linking_has_its_defaults(make: Make) -> None:
    found = calibrated(make(noise(2, 32, 32), segmentation=VALUES))
    assert found["chosen"] == VALUES | DEFAULTS
    assert found["linking"] == {"chosen": DEFAULTS, "from": "the defaults"}


def test_values_of_the_configuration_win(make: Make) -> None:
    given = {"iou": 0.5, "containment": None}
    found = calibrated(make(noise(2, 32, 32), segmentation=VALUES, linking=given))
    assert found["chosen"] == VALUES | given | {"beside": 1}
    given = {"iou": 0.5, "containment": 0.6, "beside": 2}
    found = calibrated(make(noise(2, 32, 32), segmentation=VALUES, linking=given))
    assert found["linking"] == {"chosen": given, "from": "the configuration"}


def test_a_calibration_is_borrowed_whole_or_from_before_linking(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    borrowed = {"segmentation": {"calibration": str(path)}}
    path.write_text(json.dumps({"chosen": VALUES}))
    assert calibrated(make(noise(2, 32, 32), **borrowed))["chosen"] == VALUES | DEFAULTS
    links = {"iou": 0.4, "containment": None, "beside": 4}
    path.write_text(json.dumps({"chosen": VALUES | links}))
    assert calibrated(make(noise(2, 32, 32), **borrowed))["chosen"] == VALUES | links
    one = calibrated(make(noise(2, 32, 32), **borrowed, linking={"containment": 0.9}))
    assert one["chosen"] == VALUES | links | {"containment": 0.9}


def test_a_calibration_is_borrowed_by_its_name_in_models(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready.calibration.json"
    monkeypatch.setattr(sources, "MODELS", tmp_path)
    ready.write_text(json.dumps({"chosen": VALUES}))
    named = {"segmentation": {"calibration": "ready"}}
    found = calibrated(make(noise(2, 32, 32), **named))
    assert (found["chosen"], found["from"]) == (VALUES | DEFAULTS, "ready")
    ready.unlink()
    with pytest.raises(DcanError, match=r"'ready': No such file.*the name of one in models/"):
        calibrated(make(noise(2, 32, 32), **named))


def test_another_rule_of_linking_searches_no_fusion_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "receipt", lambda _, stage: SimpleNamespace(identity=stage))
    one, other = (make(noise(2, 32, 32), linking={"iou": iou}) for iou in (0.1, 0.2))
    assert one.fingerprint("calibrate") != other.fingerprint("calibrate")
    assert one.fingerprint("calibrate", "linking") == other.fingerprint("calibrate", "linking")
    smaller = make(noise(2, 32, 32), segmentation={"min_size": 3})
    assert smaller.fingerprint("calibrate", "linking") != one.fingerprint("calibrate", "linking")


@pytest.mark.parametrize("rule", [Linking(300, 800, 1), Linking(0, NEVER, 0), Linking(1000, 0, 9)])
def test_a_rule_is_kept_as_plain_values(rule: Linking) -> None:
    assert linking_of(json.loads(json.dumps(plain(rule)))) == rule


def test_counts_of_neurites() -> None:
    names = np.array([1, 1, 1, 2, 5, 5, 7], np.uint64)
    pieces = np.array([3, 1, 2, 1])
    assert counts_of(Neurites(names, pieces, 2, 1, 3)) == {
        "segments": 7,
        "neurites": 4,
        "mutual": 2,
        "branches": 1,
        "refused": 3,
        "orphans": 2,
        "pieces_median": 1,
        "pieces_most": 3,
    }
    assert counts_of(Neurites(names[:0], pieces[:0], 0, 0, 0))["pieces_most"] == 0


@pytest.mark.parametrize("rows", [0, 5])
def test_neurites_of_a_crop_are_read_where_its_offset_says(
    make: Make, tmp_path: Path, rows: int
) -> None:
    ids = noise(4, 16, 20, seed=1) % 3 + 1
    np.save(tmp_path / "ids.npy", ids)
    given = {
        "source": str(tmp_path / "ids.npy"),
        "kind": "neurites",
        "sections": "1:5",
        "validation": "3:5",
        "offset": [1, 8, 24],
    }
    space = prepared(make(noise(6, 40, 48), truth=given))
    inside = np.ones((16, 20), bool)
    inside[:rows] = False  # no tissue there
    tissue = inside if rows else None
    maps = {(0, z): (noise(1, 16, 20, seed=z)[0], tissue) for z in (3, 4)}
    (found,) = _stacks(space, maps, Fusion(sigma=0.0, depth=1.0, w_f=700, t=500, min_size=1))
    assert len(found.pairs) == 1
    assert set(found.sections.tolist()) == {3, 4}
    for label in (1, 2, 3):
        assert (
            found.truth.count[found.truth.truth == label].sum() == (ids[2:4, rows:] == label).sum()
        )
