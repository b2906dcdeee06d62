"""From the path in the configuration to the files that are there. Opens no image."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from dcan.errors import DcanError
from dcan.storage.sources.spec import SourceSpec

Format = Literal["phantom", "tiff", "png", "hdf5", "zarr", "npy"]

FORMATS: dict[str, Format] = {
    **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8"), "tiff"),
    ".png": "png",
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), "hdf5"),
    ".npy": "npy",
}
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
GIVE = "give a TIFF, a folder or glob of TIFF or PNG, HDF5 with dataset, Zarr, or .npy"


@dataclass(frozen=True, slots=True)
class Found:
    """A source on disk: its format, the folder its names are relative to, its files.

    The files of a stack are in the order of their sections; a Zarr lists none here.
    """

    format: Format
    root: Path
    files: tuple[Path, ...] = ()


def locate(spec: SourceSpec) -> Found:
    """What the path of a source means.

    An existing file or folder is meant as it is written, whatever signs its name holds; else a
    path with `*`, `?` or `[` is a glob. Raises DcanError when nothing is there, when it is of no
    known format, and for keys that do not belong to the format.
    """
    found = _locate(spec.path)
    if spec.dataset is not None and found.format not in ("hdf5", "zarr"):
        raise DcanError(
            f"dataset {spec.dataset!r} is given, but {spec.path!r} is {found.format}: leave it "
            "out, it belongs to HDF5 and Zarr"
        )
    if spec.shape is not None and found.format != "phantom":
        raise DcanError(f"shape is given, but {spec.path!r} has its own: leave it out")
    return found


def _locate(path: str) -> Found:
    if path == "phantom":
        return Found("phantom", Path())
    if not path or "\0" in path:
        raise DcanError(f"{path!r} is no path: {GIVE}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        raise DcanError(f"{path!r} is a remote address: copy it to a local disk and give its path")
    if os.path.isdir(path):
        return _folder(Path(path))
    if os.path.exists(path):
        return _file(Path(path))
    if glob.has_magic(path):
        return _sections(path, [Path(name) for name in glob.glob(path)])
    raise DcanError(f"no file or folder at {path!r} (from {os.getcwd()}): {GIVE}")


def _file(path: Path) -> Found:
    if path.suffix.lower() == ".npz":
        raise DcanError(f"{str(path)!r} is a .npz archive: save its array as .npy and give that")
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise DcanError(f"{str(path)!r} has the unknown extension {path.suffix!r}: {GIVE}")
    _check_file(path)
    return Found(form, path.parent, (path,))


def _folder(path: Path) -> Found:
    if any((path / name).is_file() for name in ZARR_METADATA):
        return Found("zarr", path)
    return _sections(str(path), list(path.iterdir()))


def _sections(path: str, entries: Sequence[Path]) -> Found:
    """The stack of one file a section; hidden files and other extensions are not part of it."""
    images = [
        entry
        for entry in entries
        if not entry.name.startswith(".") and FORMATS.get(entry.suffix.lower()) in ("tiff", "png")
    ]
    formats = {FORMATS[image.suffix.lower()] for image in images}
    if not images:
        raise DcanError(f"no TIFF or PNG at {path!r} (from {os.getcwd()}): {GIVE}")
    if len(formats) > 1:
        raise DcanError(
            f"{path!r} holds TIFF and PNG, for instance {_two(images)}: give a glob of one of them"
        )
    root = Path(os.path.commonpath([image.parent for image in images]))
    files = in_order(root, images)
    for file in files:
        _check_file(file)
    return Found(formats.pop(), root, files)


def _two(images: Sequence[Path]) -> str:
    first = min(images)
    return f"{first.name!r} and {next(i for i in images if i.suffix != first.suffix).name!r}"


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DcanError(f"{str(path)!r} is no regular file: give a file that can be read")
    if path.stat().st_size == 0:
        raise DcanError(f"{str(path)!r} is empty (0 bytes): restore it from its original")


def in_order(root: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """Files by their section number: the last number in their names, below `root`, that varies.

    Raises DcanError when the names hold different counts of numbers, when no number varies, and
    when the numbers do not run on by 1: each error names a file.
    """
    if len(files) == 1:
        return tuple(files)
    numbers = {
        file: [int(n) for n in re.findall(r"[0-9]+", str(file.relative_to(root).with_suffix("")))]
        for file in sorted(files)
    }
    first, *others = numbers
    for file in others:
        if len(numbers[file]) != len(numbers[first]):
            raise DcanError(
                f"{str(file)!r} is not named like {first.name!r}: the names of a stack differ in "
                "one number, give a glob that takes the sections alone"
            )
    varying = [
        i for i, values in enumerate(zip(*numbers.values(), strict=True)) if len(set(values)) > 1
    ]
    if not varying:
        raise DcanError(
            f"{str(others[0])!r} and {first.name!r} have no number that tells their order: number "
            "the sections, one file each"
        )
    column = varying[-1]
    ordered = sorted(files, key=lambda file: numbers[file][column])
    for before, after in pairwise(ordered):
        _check_step(before, after, numbers[before][column], numbers[after][column])
    return tuple(ordered)


def _check_step(before: Path, after: Path, low: int, high: int) -> None:
    if high == low:
        raise DcanError(
            f"section {low} is there twice, {str(before)!r} and {str(after)!r}: keep one of them"
        )
    if high > low + 1:
        raise DcanError(
            f"section {low + 1} is missing between {before.name!r} and {str(after)!r}: restore "
            "it, or put a blank section there and list it in volume.missing"
        )
