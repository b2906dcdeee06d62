"""The hint follows name, size and time; the content follows the bytes; neither opens an image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from dcan.storage.sources import SourceSpec, content, hint

EM = np.random.default_rng(1).integers(0, 256, (5, 40, 50)).astype(np.uint8)


def numpy_file(path: Path, array: np.ndarray = EM) -> SourceSpec:
    np.save(path, array)
    os.utime(path, ns=(10**18, 10**18))
    return SourceSpec(str(path))


def test_touched_changed_renamed(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    spec = numpy_file(path)
    first, held = hint(spec), content(spec)
    assert hint(spec) == first
    os.utime(path, ns=(10**18, 10**18 + 1))
    assert hint(spec) != first
    assert content(spec) == held
    os.utime(path, ns=(10**18, 10**18))
    assert hint(spec) == first
    numpy_file(path, EM[::-1])
    assert hint(spec) == first, "same name, size and time"
    assert content(spec) != held
    numpy_file(path, EM[:4])
    assert hint(spec) != first
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    spec = numpy_file(moved / "a.npy")
    assert (hint(spec), content(spec)) == (first, held), "the folder is not part of it"
    spec = numpy_file(moved / "b.npy")
    assert hint(spec) != first
    assert content(spec) != held


def test_every_section_of_a_folder_counts(tmp_path: Path) -> None:
    for z in range(3):
        (tmp_path / f"{z}.png").write_bytes(b"not opened: " + bytes([z]))
    (tmp_path / "notes.txt").write_text("a")
    spec = SourceSpec(str(tmp_path))
    first, held = hint(spec), content(spec)
    (tmp_path / "notes.txt").write_text("another")
    assert (hint(spec), content(spec)) == (first, held)
    assert content(SourceSpec(str(tmp_path / "*.png"))) == held
    (tmp_path / "1.png").write_bytes(b"not opened: " + bytes([9]))
    assert content(spec) != held
    (tmp_path / "3.png").write_bytes(b"one more")
    assert hint(spec) != first


def test_swapped_sections_are_another_volume(tmp_path: Path) -> None:
    for z in range(2):
        (tmp_path / f"{z}.png").write_bytes(bytes([z]))
    held = content(SourceSpec(str(tmp_path)))
    for z in range(2):
        (tmp_path / f"{z}.png").write_bytes(bytes([1 - z]))
    assert content(SourceSpec(str(tmp_path))) != held


def test_the_dataset_is_part_of_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = file["b"] = EM
    path = str(tmp_path / "a.h5")
    for identity in (hint, content):
        assert identity(SourceSpec(path, "a")) != identity(SourceSpec(path, "b"))
        assert identity(SourceSpec(path, "a")) == identity(SourceSpec(path, "a", key="truth"))


def test_a_zarr_is_hinted_by_metadata_and_known_by_its_array_alone(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_array("em/raw", data=EM, chunks=(2, 16, 16))
    group.create_array("labels", data=EM, chunks=(2, 16, 16))
    spec = SourceSpec(str(tmp_path / "a.zarr"), "em/raw")
    first, held = hint(spec), content(spec)
    chunk = tmp_path / "a.zarr" / "labels" / "c" / "0" / "0" / "0"
    chunk.write_bytes(b"another")
    assert (hint(spec), content(spec)) == (first, held), "labels beside it are not part of it"
    chunk = tmp_path / "a.zarr" / "em" / "raw" / "c" / "1" / "1" / "1"
    chunk.write_bytes(b"another")
    assert hint(spec) == first
    assert content(spec) != held
    chunk.unlink()
    lost = content(spec)
    assert lost != held
    metadata = tmp_path / "a.zarr" / "em" / "raw" / "zarr.json"
    metadata.write_text(metadata.read_text() + " ")
    assert hint(spec) != first
    assert content(spec) != lost


def test_chunks_behind_a_linked_folder_count(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=EM, chunks=(2, 16, 16))
    shutil.move(tmp_path / "a.zarr" / "c", tmp_path / "elsewhere")
    (tmp_path / "a.zarr" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "a.zarr")
    spec = SourceSpec(str(tmp_path / "a.zarr"))
    held = content(spec)
    (tmp_path / "elsewhere" / "1" / "1" / "1").write_bytes(b"another")
    assert content(spec) != held


def test_the_phantom_is_its_parameters() -> None:
    kinds = [SourceSpec("phantom", shape=(4, 64, 64), seed=seed) for seed in (0, 1)]
    kinds.append(SourceSpec("phantom", shape=(5, 64, 64), seed=0))
    for identity in (hint, content):
        assert len({identity(spec) for spec in kinds}) == 3
        assert identity(kinds[0]) == identity(SourceSpec("phantom", shape=(4, 64, 64)))


def test_progress_is_told_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcan.storage.sources.identity.PIECE", 1000)
    spec = numpy_file(tmp_path / "a.npy")
    told: list[int] = []
    assert content(spec, told.append) == content(spec)
    assert sum(told) == (tmp_path / "a.npy").stat().st_size
    assert max(told) == 1000


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with open(folder + b"/a.npy", "wb") as file:
        np.save(file, EM)
    assert content(SourceSpec(os.fsdecode(folder + b"/a.npy")))


def test_a_hint_imports_nothing_heavy(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=EM)
    numpy_file(tmp_path / "a.npy")
    (tmp_path / "1.tif").write_bytes(b"not opened")
    program = """
import sys
from dcan.storage.sources import SourceSpec, hint
for path in sys.argv[1:]:
    hint(SourceSpec(path))
heavy = {"zarr", "h5py", "tifffile", "imagecodecs", "numba", "torch", "dask"}
print(sorted(heavy & set(sys.modules)))
"""
    paths = [str(tmp_path / name) for name in ("a.zarr", "a.npy", "1.tif")]
    run = subprocess.run(
        [sys.executable, "-c", program, *paths], check=True, capture_output=True, text=True
    )
    assert run.stdout == "[]\n"
