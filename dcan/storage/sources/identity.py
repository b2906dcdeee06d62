"""Which data a source is: a quick hint that it may have changed, and a hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from dcan.errors import DcanError
from dcan.storage.sources.hierarchy import find_level
from dcan.storage.sources.locating import locate
from dcan.storage.sources.spec import SourceSpec, reading

PIECE = 1 << 22


def hint(spec: SourceSpec) -> str:
    """sha256 of name, size and time of the files of a source, and of its parameters.

    Cheap: opens no image and imports no library that would. Of a Zarr only the metadata count,
    so chunks that change behind it go unseen. Names are relative: a volume that moves and keeps
    its times keeps its hint. Raises DcanError as `open_source` does when nothing is there.
    """

    def stated(path: Path) -> list[int]:
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns]

    return _digest(spec, stated, chunks=False)


def content(spec: SourceSpec, report: Callable[[int], None] | None = None) -> str:
    """sha256 of name and bytes of all files of a source, and of its parameters.

    `report` is told how many bytes were read since it was last told. Raises DcanError as `hint`
    does, and when a file cannot be read.
    """

    def hashed(path: Path) -> list[str]:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                if report is not None:
                    report(len(piece))
        return [digest.hexdigest()]

    return _digest(spec, hashed, chunks=True)


def _digest(spec: SourceSpec, of: Callable[[Path], list[int] | list[str]], *, chunks: bool) -> str:
    digest = hashlib.sha256()
    try:
        with reading(repr(spec.path)):
            root, files, parameters = _held(spec, chunks=chunks)
            digest.update(_line(parameters))
            for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
                with reading(str(path)):
                    digest.update(_line([name, *of(path)]))
    except DcanError as error:
        raise DcanError(f"{spec.key}: {error}") from error
    return digest.hexdigest()


def _held(spec: SourceSpec, *, chunks: bool) -> tuple[Path, tuple[Path, ...], list[object]]:
    """Folder, files below it, and the parameters that choose the volume among them."""
    found = locate(spec)
    if found.format == "phantom":
        return found.root, (), ["phantom", spec.shape, spec.seed]
    if found.format == "zarr":
        level = find_level(found.root, spec.dataset)
        return found.root, level.files() if chunks else level.metadata(), [spec.dataset]
    return found.root, found.files, [spec.dataset]


def _line(values: list[object] | list[int | str]) -> bytes:
    return json.dumps(values).encode() + b"\n"
