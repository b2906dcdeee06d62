"""A given membrane map, as the store holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.steps.maps import copy_block, read_map
from dcan.steps.probe import allocate, probe
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Ledger
from dcan.storage.volumes import Store
from tests.steps.conftest import Make, noise

BOX = Box((1, 8, 0), (4, 40, 32))


@pytest.fixture
def given(make: Make, tmp_path: Path) -> Any:
    def mapped(values: np.ndarray, **membrane: Any) -> Workspace:
        np.save(tmp_path / "map.npy", values)
        source = str(tmp_path / "map.npy")
        return make(noise(5, 48, 40), membrane={"source": source, **membrane})

    return mapped


def read(space: Workspace) -> np.ndarray:
    assert space.config.membrane is not None
    return read_map(space, space.config.membrane, BOX)


@pytest.mark.parametrize("white", ["membrane", "neurite"])
def test_bytes_are_taken_as_they_are_or_turned_round(given: Any, white: str) -> None:
    values = noise(5, 48, 40)
    found = read(given(values, white=white))
    wanted = values if white == "membrane" else 255 - values
    assert found.dtype == np.uint8
    assert (found == wanted[BOX.slices]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_rounded_half_up(given: Any, dtype: type) -> None:
    values = np.linspace(0, 1, 5 * 48 * 40).astype(dtype).reshape(5, 48, 40)
    values[1, 8, :3] = 0, 0.5, 1
    found = read(given(values))
    exact = np.floor(values[BOX.slices].astype(np.float64) * 255 + 0.5)
    assert np.abs(found - exact).max() <= (1 if dtype is np.float16 else 0)
    assert found[0, 0, :3].tolist() == [0, 128, 255]


@pytest.mark.parametrize("wrong", [-0.25, 1.5, np.nan, np.inf])
def test_what_is_no_probability_is_named_by_its_voxel(given: Any, wrong: float) -> None:
    values = np.zeros((5, 48, 40), np.float32)
    values[2, 9, 5] = wrong
    with pytest.raises(DcanError, match=rf"holds {wrong} at voxel \(2, 9, 5\)"):
        read(given(values))


def test_sections_without_tissue_are_membrane(make: Make, tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.zeros((5, 48, 40), np.uint8))
    membrane = {"source": str(tmp_path / "map.npy"), "white": "neurite"}
    found = read(make(noise(5, 48, 40), membrane=membrane, volume={"missing": [2]}))
    assert (found[1] == 255).all()
    assert (found[[0, 2]] == 255).all(), "0 of a map of neurites"
    found = read(make(noise(5, 48, 40), membrane=membrane | {"white": "membrane"}))
    assert (found == 0).all()


def test_another_shape_or_type_is_refused(given: Any) -> None:
    with pytest.raises(DcanError, match=r"has shape \[5, 48, 39\], the volume has \[5, 48, 40\]"):
        probe(given(noise(5, 48, 39)))
    with pytest.raises(DcanError, match=r"membrane.source: .* holds uint16: a map of prob"):
        probe(given(noise(5, 48, 40, dtype=np.uint16)))


def test_a_block_without_tissue_is_recorded_as_skipped(make: Make, tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.zeros((5, 48, 40), np.uint8))
    mask = np.zeros((5, 24, 20), bool)
    mask[:, 20, 3] = True  # rows 40 and 41, columns 6 and 7
    np.save(tmp_path / "mask.npy", mask)
    volume = {"mask": str(tmp_path / "mask.npy"), "missing": [4]}
    space = make(noise(5, 48, 40), membrane={"source": str(tmp_path / "map.npy")}, volume=volume)
    probe(space)
    allocate(space)
    assert space.config.membrane is not None
    with Ledger(space.root, "predict", "x").attempt() as (_, pack):
        entries = [copy_block(space, space.config.membrane, pack, box) for box in space.grid]
    found = Store(space.root, "membrane.ome.zarr/0").read(Box.whole((5, 48, 40)))
    assert (found[:4, 40:42, 6:8] == 0).all()
    assert np.count_nonzero(found != 255) == 4 * 4
    tissue = {entry.key: entry.counts["voxels"] for entry in entries if not entry.skipped}
    assert tissue == {"0:4,32:48,0:32": 4 * 16 * 32}
    assert [entry.counts["voxels"] for entry in entries if entry.skipped] == [0] * 7
