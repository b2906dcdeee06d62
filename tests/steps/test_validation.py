"""Which sections are calibrated on, and by which networks: never by one that has seen them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.net.networks import layout
from dcan.net.predict import predict_section
from dcan.steps.calibrate import calibrate
from dcan.steps.resolve import predictor, resolve
from dcan.steps.train import train_member, weights
from dcan.steps.truth import fingerprint_of
from dcan.steps.validation import Validation
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import load_state, load_weights
from tests.steps.conftest import Make, noise
from tests.steps.test_truth import prepared, saved

TRAINING = {"steps": 2, "crop": 16, "batch": 1, "threads": 1, "validate_every": 1}
SIZE = (32, 40)
PRESENT = [0, 1, 3, 4, 5, 6]


def labels(tmp_path: Path, depth: int, **more: Any) -> dict[str, Any]:
    ids = noise(depth, *SIZE, seed=1) % 5 // 4 * 255
    return {"source": saved(tmp_path / "ids.npy", 255 - ids), "kind": "membranes", **more}


def trained(space: Workspace) -> Workspace:
    prepared(space)
    if space.config.model.weights is None:
        for member in range(space.config.training.members):
            train_member(space, member)
    weights(space)
    resolve(space)
    return space


def networks(space: Workspace) -> list[set[str]]:
    """The hashes of the sections that each member says it was trained on."""
    paths = sorted((space.root / "models").glob("member-?.safetensors"))
    return [set(load_weights(path, layout).meta.sections) for path in paths]


def made(
    make: Make,
    tmp_path: Path,
    em: np.ndarray | None = None,
    name: str = "made",
    weights: str | None = None,
    **training: Any,
) -> Workspace:
    """A volume of seven labelled sections, one of them missing."""
    return make(
        noise(7, *SIZE) if em is None else em,
        volume={"missing": [2], "name": name if weights is None else "given"},
        truth=labels(tmp_path, 7, sections="0:7"),
        training=TRAINING | training,
        model={"width": 2, "weights": weights},
        prediction={"tile": 32, "halo": 64, "threads": 1},
    )


def test_a_section_is_calibrated_by_the_members_that_left_it_out(
    make: Make, tmp_path: Path
) -> None:
    space = trained(made(make, tmp_path, folds=3, members=3))
    calibrate(space)
    record = json.loads((space.root / "calibration.json").read_text())
    assert [section["z"] for section in record["sections"]] == PRESENT
    assert [section["members"] for section in record["sections"]] == [[0], [0], [1], [1], [2], [2]]
    assert record["seen_in_training"] == 0
    em, learned = noise(7, *SIZE), networks(space)
    assert [len(known) for known in learned] == [4, 4, 4]
    for section in record["sections"]:
        sha256 = fingerprint_of(em[section["z"]])
        assert section["sha256"] == sha256
        assert [i for i in range(3) if sha256 not in learned[i]] == section["members"]
    check_maps(space, [[0], [0], [1], [1], [2], [2]])
    # the same networks given as weights, in another order: their own records tell
    folder = tmp_path / "weights"
    folder.mkdir()
    for member in range(3):
        name = f"member-{member}.safetensors"
        shutil.copy(space.root / "models" / name, folder / f"{9 - member}.safetensors")
    given = made(make, tmp_path, folds=3, weights=str(folder))
    check_maps(trained(given), [[2], [2], [1], [1], [0], [0]])


def check_maps(space: Workspace, by: list[list[int]]) -> None:
    """Each section's map is that of these members, and not that of the ensemble."""
    validation = Validation(space)
    assert validation.by == [tuple(members) for members in by]
    for section, found, members in zip(validation.sections, validation.maps, by, strict=True):
        shown = (section.em, section.table, 32, 64)
        assert (found == predict_section(predictor(space, members), *shown)).all()
        assert (found != predict_section(predictor(space), *shown)).any()


def test_a_member_learns_nothing_from_the_fold_that_it_leaves_out(
    make: Make, tmp_path: Path
) -> None:
    states = []
    for changed in ([], [5, 6], [0, 1, 3, 4]):
        em = noise(7, *SIZE)
        em[changed] = 255 - em[changed]
        space = made(make, tmp_path, em=em, name=f"changed-{len(changed)}", folds=3, members=3)
        prepared(space)
        train_member(space, 2)  # leaves out sections 5 and 6
        path = space.root / "models" / "member-2.state.safetensors"
        states.append(load_state(path)[0])
    names = [name for name in states[0] if name.startswith("weights.")]
    assert names
    same, other = ([(states[0][n] == state[n]).all() for n in names] for state in states[1:])
    assert all(same)
    assert not all(other)


def test_folds_are_runs_of_sections_over_all_volumes(make: Make, tmp_path: Path) -> None:
    space = prepared(made(make, tmp_path, folds=4, members=4))
    (volume,) = space.receipt("truth").values["volumes"]
    assert volume["sections"] == PRESENT
    assert volume["folds"] == [0, 0, 1, 2, 2, 3]


def test_without_folds_the_validation_sections_are_kept_from_all(
    make: Make, tmp_path: Path
) -> None:
    space = trained(made(make, tmp_path, members=2))
    calibrate(space)
    record = json.loads((space.root / "calibration.json").read_text())
    assert [(s["z"], s["members"]) for s in record["sections"]] == [(6, [0, 1])]
    assert "one section tells nothing of the error's spread: calibrate on more" in record["remarks"]
    assert record["standard_error"] is None


def test_sections_that_all_networks_have_seen_are_said_to_be_seen(
    make: Make, tmp_path: Path
) -> None:
    first = trained(made(make, tmp_path))
    given = str(first.root / "models")
    truth = labels(tmp_path, 7, sections="0:7", validation="3:5")
    again = make(
        noise(7, *SIZE),
        volume={"missing": [2], "name": "again"},
        truth=truth,
        model={"width": 2, "weights": given},
        prediction={"tile": 32, "halo": 64, "threads": 1},
    )
    prepared(again)
    weights(again)
    resolve(again)
    calibrate(again)
    record = json.loads((again.root / "calibration.json").read_text())
    assert [(s["z"], s["members"], s["seen"]) for s in record["sections"]] == [
        (3, [], True),
        (4, [], True),
    ]
    assert record["seen_in_training"] == 2
    assert any("2 of the 2 sections were seen in training" in r for r in record["remarks"])


def other(tmp_path: Path, em: np.ndarray) -> dict[str, Any]:
    """A training volume of another name that holds `em`."""
    return {
        "source": saved(tmp_path / "other.npy", em),
        "truth": {
            "source": saved(tmp_path / "labels.npy", np.full(em.shape, 255, np.uint8)),
            "kind": "membranes",
            "sections": "0:3",
        },
    }


@pytest.mark.parametrize("shared", [True, False])
def test_sections_to_be_evaluated_are_not_calibrated_on(
    make: Make, tmp_path: Path, *, shared: bool
) -> None:
    em, elsewhere = noise(4, *SIZE), noise(3, *SIZE, seed=9)
    if shared:
        elsewhere[2] = em[3]  # the same pixels under another name, kept back there
    space = make(
        em,
        truth=labels(tmp_path, 4, sections="0:2"),
        evaluation={"sections": "2:4"},
        training={"volumes": [other(tmp_path, elsewhere)]},
    )
    if shared:
        with pytest.raises(DcanError, match=r'sections is "2:4".*section 3 \(validation\)'):
            prepared(space)
    else:
        assert len(Validation(prepared(space)).sections) == 1


@pytest.mark.parametrize("z", [1, 3])
def test_a_borrowed_calibration_was_not_chosen_on_what_is_evaluated(
    make: Make, tmp_path: Path, z: int
) -> None:
    em = noise(4, *SIZE)
    values = {"sigma": 1.5, "depth": 8.0, "w_f": 0.7, "t": 0.3}
    sha256 = fingerprint_of(em[z])
    chosen_on = [{"volume": 0, "z": 0, "sha256": sha256, "members": [0], "seen": False}]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"chosen": values, "sections": chosen_on}))
    space = make(
        em,
        truth=labels(tmp_path, 4, sections="0:2"),
        evaluation={"sections": "2:4"},
        segmentation={"calibration": str(path)},
    )
    prepared(space)
    if z == 3:
        with pytest.raises(DcanError, match=r"section 3 \(segmentation.calibration"):
            calibrate(space)
    else:
        calibrate(space)
        assert space.receipt("calibrate").values["chosen"]["sigma"] == 1.5
        record = json.loads((space.root / "calibration.json").read_text())
        assert record["sections"] == chosen_on


@pytest.mark.parametrize(
    ("folds", "kept", "origin"),
    [(1, [6], "validation sections"), (3, PRESENT, "labelled sections")],
)
def test_a_given_map_is_calibrated_on_what_folds_say_and_says_so(
    make: Make, tmp_path: Path, folds: int, kept: list[int], origin: str
) -> None:
    space = make(
        noise(7, *SIZE),
        volume={"missing": [2]},
        truth=labels(tmp_path, 7, sections="0:7"),
        membrane={"source": saved(tmp_path / "map.npy", noise(7, *SIZE, seed=4))},
        training={"folds": folds},
    )
    calibrate(prepared(space))
    record = json.loads((space.root / "calibration.json").read_text())
    assert [section["z"] for section in record["sections"]] == kept
    assert (record["from"], record["weights"], record["seen_in_training"]) == (origin, [], 0)
