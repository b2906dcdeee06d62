"""Labelled sections: the right pixels with the right targets, split as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.net.normalise import histogram, section_table
from dcan.ops.targets import objects, target
from dcan.steps.ingest import ingest, survey
from dcan.steps.probe import allocate, probe
from dcan.steps.sealing import seal
from dcan.steps.truth import fingerprint_of, labelled, truth
from dcan.steps.workspace import Part, Workspace
from tests.steps.conftest import Make, noise


def prepared(space: Workspace) -> Workspace:
    probe(space)
    allocate(space)
    ingest(space, Part(0, 1), 1)
    seal(space, "ingest")
    survey(space)
    truth(space)
    return space


def saved(path: Path, values: np.ndarray) -> str:
    np.save(path, values)
    return str(path)


def test_a_labelled_crop_lies_where_its_offset_says(make: Make, tmp_path: Path) -> None:
    em = noise(6, 40, 48)
    ids = noise(4, 16, 20, seed=1) % 3 + 1
    given = {
        "source": saved(tmp_path / "ids.npy", ids),
        "kind": "neurites",
        "sections": "1:5",
        "validation": "4:5",
        "offset": [1, 8, 24],
    }
    space = prepared(make(em, truth=given, volume={"missing": []}))
    learned = list(labelled(space, lambda fold: fold is None))
    kept_back = list(labelled(space, lambda fold: fold == 0))
    assert (len(learned), len(kept_back)) == (3, 1)
    for z, section in zip((1, 2, 3), learned, strict=True):
        crop = em[z, 8:24, 24:44]
        assert (section.volume, section.z) == (0, z)
        assert (section.em == crop).all()
        assert section.sha256 == fingerprint_of(crop)
        assert (section.target == target(ids[z - 1], "neurites")).all()
        # normalised by the whole section, as prediction is
        assert (section.table == section_table(histogram(em[z]))).all()
    assert (kept_back[0].em == em[4, 8:24, 24:44]).all()


def test_other_volumes_are_trained_on_with_their_own_images(make: Make, tmp_path: Path) -> None:
    other, ids = noise(3, 24, 24, seed=2), noise(3, 24, 24, seed=3) % 2 * 255
    volume = {
        "source": saved(tmp_path / "other.npy", other),
        "truth": {
            "source": saved(tmp_path / "labels.npy", ids),
            "kind": "membranes",
            "sections": "0:3",
        },
    }
    space = prepared(make(noise(4, 40, 40), training={"volumes": [volume]}))
    learned = list(labelled(space, lambda fold: fold is None))
    assert [(s.em == other[s.z]).all() for s in learned] == [True, True]
    assert (learned[0].target == (ids[0] > 0)).all()


def test_labels_that_leave_the_volume_are_refused(make: Make, tmp_path: Path) -> None:
    given = {
        "source": saved(tmp_path / "ids.npy", noise(4, 40, 40)),
        "kind": "neurites",
        "sections": "0:4",
        "offset": [0, 8, 0],
    }
    with pytest.raises(DcanError, match=r"truth.source has 40 voxels along y from 8"):
        probe(make(noise(4, 40, 40), truth=given))


def test_gray_labels_are_no_membranes(make: Make, tmp_path: Path) -> None:
    given = {
        "source": saved(tmp_path / "gray.npy", noise(4, 20, 20)),
        "kind": "membranes",
        "sections": "0:4",
    }
    with pytest.raises(DcanError, match="binary"):
        prepared(make(noise(4, 20, 20), truth=given))


def test_targets_of_instances() -> None:
    ids = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [0, 0, 3, 3]])
    # 0 membrane, 1 neurite, 2 unknown; a neighbour of id 0 says nothing
    assert target(ids, "neurites").tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0]]
    found = objects(np.array([[1, 0, 1], [1, 0, 2]], np.uint8))
    assert found.tolist() == [[1, 0, 2], [1, 0, 0]]
