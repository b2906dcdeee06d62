"""The phantom as files: image, truth and, if wanted, a membrane map, a page for each section."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tifffile

from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.ops import phantom
from dcan.steps.vouching import Progress

_STRIP = 1 << 21
"""Pixels of a strip, about: what is made at a time, whatever the size of a section."""


def write_phantom(
    folder: Path,
    shape: Triple,
    seed: int,
    *,
    membrane: bool = False,
    report: Callable[[int, int], None],
) -> list[Path]:
    """Write em.tif (uint8), neurites.tif (uint32) and, if wanted, membrane.tif (uint8).

    Multi-page BigTIFF, axes (z, y, x). Neurites are compressed (zlib); image and map are not,
    since noise hardly shrinks. Memory holds a strip and the compressed neurites of a section.
    `report` gets (sections done, sections) after each section. The files take their names
    when all are complete. Returns their paths.

    Raises DcanError when one of the files exists, or for a shape that the phantom refuses.
    """
    names = ["em.tif", "neurites.tif", *(["membrane.tif"] if membrane else [])]
    paths = [folder / name for name in names]
    phantom.check(shape)
    if folder.exists() and not folder.is_dir():
        raise DcanError(f"{folder} is a file: choose a folder for the phantom")
    for path in paths:
        if path.exists():
            raise DcanError(f"{path} exists: remove it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    partial = [path.with_name(path.name + ".partial") for path in paths]
    try:
        _write(partial, shape, seed, report)
        for path, final in zip(partial, paths, strict=True):
            path.rename(final)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
    return paths


def make(out: str, shape: list[int], seed: int, *, membrane: bool = False) -> str:
    """Write a phantom to the folder `out`; the paths of its files, a line each."""
    depth, height, width = shape
    progress: list[Progress] = []

    def said(done: int, total: int) -> None:
        if not progress:
            progress.append(Progress("phantom", total))
        progress[0](done)

    paths = write_phantom(Path(out), (depth, height, width), seed, membrane=membrane, report=said)
    return "".join(f"{path}\n" for path in paths)


def _write(paths: list[Path], shape: Triple, seed: int, report: Callable[[int, int], None]) -> None:
    depth, height, width = shape
    rows = min(height, max(1, _STRIP // width))
    with ExitStack() as stack:
        em, neurites, *rest = [
            stack.enter_context(tifffile.TiffWriter(path, bigtiff=True, byteorder="<"))
            for path in paths
        ]
        for z in range(depth):
            tops = range(0, height, rows)
            strips = [Box((z, y, 0), (z + 1, min(y + rows, height), width)) for y in tops]
            truth: list[bytes] = []
            page = {"shape": (height, width), "rowsperstrip": rows, "metadata": None}
            em.write(_images(shape, seed, strips, truth), dtype=np.uint8, **page)
            neurites.write(iter(truth), dtype=np.uint32, compression="zlib", **page)
            for writer in rest:
                maps = (phantom.membrane(shape, seed, strip).tobytes() for strip in strips)
                writer.write(maps, dtype=np.uint8, **page)
            report(z + 1, depth)


def _images(shape: Triple, seed: int, strips: list[Box], truth: list[bytes]) -> Iterator[bytes]:
    """The image of each strip; its neurites, made with it, are left compressed in `truth`."""
    for strip in strips:
        rendered = phantom.render(shape, seed, strip)
        truth.append(zlib.compress(rendered.neurites.astype("<u4").tobytes(), 1))
        yield rendered.em.tobytes()
