"""How a TIFF file is laid out: its chain of image directories, and what their texts declare."""

from __future__ import annotations

import json
import re
import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from dcan.errors import DcanError

GIVE = "give one channel, one time point, axes (z, y, x)"


def image_directories(path: Path) -> tuple[int, ...]:
    """Offsets of the image directories of the main chain, at least one (TIFF 6.0, section 2).

    Raises DcanError when the chain leaves the file or returns to itself.
    """
    found: dict[int, None] = {}
    with path.open("rb") as file:
        order = {b"II": "<", b"MM": ">"}[file.read(2)]
        big = _number(file, 2, order + "H") == 43
        entry, count, link = (
            (20, order + "Q", order + "Q") if big else (12, order + "H", order + "I")
        )
        offset = _number(file, 8 if big else 4, link)
        while offset:
            if offset in found:
                raise DcanError(f"{path}: its chain of sections is a ring: give a sound file")
            found[offset] = None
            try:
                entries = _number(file, offset, count)
                offset = _number(file, offset + struct.calcsize(count) + entries * entry, link)
            except (struct.error, OverflowError, OSError) as error:
                raise DcanError(
                    f"{path}: its chain of sections breaks at section {len(found) - 1}: the file "
                    "is truncated, restore it from its original"
                ) from error
    if not found:
        raise DcanError(f"{path} holds no image: give a TIFF with one channel")
    return tuple(found)


def _number(file: BinaryIO, offset: int, form: str) -> int:
    file.seek(offset)
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def declared_sections(what: str, *descriptions: str) -> int:
    """Sections that start at a page by its descriptions; 1 when these say nothing of it.

    Reads OME-XML, ImageJ's key=value lines, and the JSON shape that tifffile writes. Raises
    DcanError for several channels, or sections along more than one axis.
    """
    for text in descriptions:
        if "<OME" in text[:1000] or "<ome:OME" in text[:1000]:
            return _of_ome(what, text)
        if text.startswith("ImageJ="):
            return _of_imagej(what, text)
        if text.startswith('{"shape":'):
            return _of_shape(what, text)
    return 1


def _of_imagej(what: str, text: str) -> int:
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    size = {key: int(lines.get(key, 1)) for key in ("images", "channels", "slices", "frames")}
    if size["channels"] != 1:
        raise DcanError(f"{what} begins {size['channels']} channels: {GIVE}")
    return max(size["images"], _one_axis(what, [size["frames"], size["slices"]]))


def _of_shape(what: str, text: str) -> int:
    described = json.loads(text)
    shape, axes = [int(n) for n in described["shape"]], str(described.get("axes", ""))
    if len(axes) == len(shape):
        channels = prod(n for n, axis in zip(shape, axes, strict=True) if axis in "CS")
        if channels != 1:
            raise DcanError(f"{what} begins {channels} channels: {GIVE}")
        shape = [n for n, axis in zip(shape, axes, strict=True) if axis not in "YXS"]
        return _one_axis(what, shape)
    return _one_axis(what, shape[:-2])


def _of_ome(what: str, text: str) -> int:
    """One image whose planes are the directories in order; no plane in another file."""
    images = re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    if len(images) != 1:
        raise DcanError(f"{what} begins {len(images)} OME images: give a file with one")
    size = {axis: int(n) for axis, n in re.findall(r"\bSize([A-Z])\s*=\s*[\"'](\d+)", images[0])}
    if size["C"] != 1:
        raise DcanError(f"{what} begins {size['C']} channels: {GIVE}")
    for element in re.findall(r"<(?:\w+:)?TiffData\b[^>]*>", text):
        at = dict(re.findall(r"\b(\w+)\s*=\s*[\"'](\d+)", element))
        if at.get("IFD", "0") != at.get("FirstZ" if size["T"] == 1 else "FirstT", "0"):
            raise DcanError(f"{what} begins OME planes out of order: save them in order of z")
    return _one_axis(what, [size["T"], size["Z"]])


def _one_axis(what: str, sizes: list[int]) -> int:
    long = [n for n in sizes if n != 1]
    if len(long) > 1:
        raise DcanError(f"{what} begins planes along axes of sizes {sizes}: {GIVE}")
    return prod(long)
