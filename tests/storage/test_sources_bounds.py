"""Small files that declare terabytes are refused at once, before memory is taken."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from dcan.storage.sources import SourceSpec, open_source
from dcan.storage.sources.spec import PIECE_BOUND, RATIO_BOUND, check_piece

HUGE = 100_000

BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {}

OPEN_ALL = """
import json, sys, time
from dcan.errors import DcanError
from dcan.storage.sources import SourceSpec, open_source
results = {}
for path in sys.argv[1:]:
    start, message = time.monotonic(), "accepted"
    try:
        open_source(SourceSpec(path), "image")
    except DcanError as error:
        message = str(error)
    results[path] = message, time.monotonic() - start
# ru_maxrss would count what the parent held when it forked
status = open("/proc/self/status").read()
print(json.dumps([results, int(status.split("VmHWM:")[1].split()[0])]))
"""


def bomb(name: str, words: str) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def keep(write: Callable[[Path], object]) -> Callable[[Path], object]:
        BOMBS[name] = write, words
        return write

    return keep


def _declare(path: Path, **tags: int) -> None:
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in tags.items():
            tif.pages[0].tags[name].overwrite(value, dtype="I")


@bomb("plain.tif", "section 0 cannot be read (ValueError: truncated: 10000000000 bytes declared")
def _plain(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((60, 60), np.uint8), photometric="minisblack")
    _declare(path, ImageWidth=HUGE, ImageLength=HUGE, RowsPerStrip=HUGE)


@bomb("deflate.tif", "declares 10000000000 bytes in one piece, which its 25 stored bytes")
def _deflate(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((60, 60), np.uint8), photometric="minisblack", compression=8)
    _declare(path, ImageWidth=HUGE, ImageLength=HUGE, RowsPerStrip=HUGE)


@bomb("tiles.tif", "declares 17179869184 bytes in one piece")
def _tiles(path: Path) -> None:
    tifffile.imwrite(
        path, np.zeros((60, 60), np.uint8), photometric="minisblack", compression=8, tile=(64, 64)
    )
    _declare(path, TileWidth=1 << 17, TileLength=1 << 17)


@bomb("many tiles.tif", "declares 9663676416 bytes in one piece")
def _many_tiles(path: Path) -> None:
    section = np.zeros((96, 96), np.uint8)
    tifffile.imwrite(path, section, photometric="minisblack", compression=8, tile=(32, 32))
    side = 1 << 15
    _declare(path, ImageWidth=3 * side, ImageLength=3 * side, TileWidth=side, TileLength=side)


@bomb("strips.tif", "4294967295 strips or tiles declared, 1 listed")
def _strips(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((60, 60), np.uint8), photometric="minisblack", compression=8)
    _declare(path, ImageWidth=HUGE, ImageLength=(1 << 32) - 1, RowsPerStrip=1)


@bomb("offsets.tif", "1 strips or tiles declared, 0 listed")
def _offsets(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((60, 60), np.uint8), photometric="minisblack", compression=8)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["StripOffsets"].offset
    held = bytearray(path.read_bytes())
    struct.pack_into("<I", held, at + 4, (1 << 32) - 1)
    path.write_bytes(held)


@bomb("imagej.tif", "declares 100000000 sections and holds 1")
def _imagej(path: Path) -> None:
    text = "ImageJ=1.53t\nimages=100000000\nslices=100000000\n"
    section = np.zeros((60, 60), np.uint8)
    tifffile.imwrite(path, section, photometric="minisblack", description=text, metadata=None)


@bomb("grey.png", "declares 9223372028264841218 bytes")
def _png(path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", (1 << 31) - 1, (1 << 31) - 1, 16, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc + b"\0" * 99)


@bomb("array.npy", "mmap length is greater than file size")
def _npy(path: Path) -> None:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({HUGE}, {HUGE}, {HUGE})}}\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())


@bomb("chunk.h5", "declares 3900000000 bytes in one piece")
def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        shape = (1, 60_000, 65_000)
        held = file.create_dataset("raw", (2, *shape[1:]), "u1", chunks=shape, compression="gzip")
        held.id.write_direct_chunk((0, 0, 0), zlib.compress(b"\0" * 99))


def _zarr(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    zarr.create_array(path, data=np.ones((4, 8, 8), np.uint8), chunks=(2, 4, 4), shards=(4, 8, 8))
    held = json.loads((path / "zarr.json").read_text())
    change(held)
    (path / "zarr.json").write_text(json.dumps(held))


@bomb("chunk.zarr", "declares 1000000000000000 bytes in one piece")
def _chunk(path: Path) -> None:
    def change(held: dict[str, object]) -> None:
        held["shape"] = [HUGE] * 3
        held["chunk_grid"]["configuration"]["chunk_shape"] = [HUGE] * 3
        held["codecs"] = [{"name": "bytes"}]

    _zarr(path, change)


@bomb("inner chunk.zarr", "declares 1000000000000000 bytes in one piece")
def _inner(path: Path) -> None:
    def change(held: dict[str, object]) -> None:
        held["shape"] = [HUGE] * 3
        held["chunk_grid"]["configuration"]["chunk_shape"] = [HUGE] * 3
        held["codecs"][0]["configuration"]["chunk_shape"] = [HUGE] * 3

    _zarr(path, change)


@bomb("shard index.zarr", "declares 16000000000000000 bytes in one piece")
def _index(path: Path) -> None:
    def change(held: dict[str, object]) -> None:
        held["shape"] = [HUGE] * 3
        held["chunk_grid"]["configuration"]["chunk_shape"] = [HUGE] * 3
        held["codecs"][0]["configuration"]["chunk_shape"] = [1, 1, 1]

    _zarr(path, change)


@bomb("compressed shard.zarr", "declares 1000000000000000 bytes in one piece")
def _shard(path: Path) -> None:
    def change(held: dict[str, object]) -> None:
        held["shape"] = [HUGE] * 3
        held["chunk_grid"]["configuration"]["chunk_shape"] = [HUGE] * 3
        held["codecs"][0]["configuration"]["chunk_shape"] = [HUGE // 100] * 3
        held["codecs"].append({"name": "gzip", "configuration": {"level": 1}})

    _zarr(path, change)


@bomb("metadata.zarr", "zarr.json has more than 16777216 bytes")
def _metadata(path: Path) -> None:
    path.mkdir()
    with (path / "zarr.json").open("wb") as file:
        file.truncate(3 << 30)


def test_bombs_are_refused_in_time_and_memory(tmp_path: Path) -> None:
    for name, (write, _) in BOMBS.items():
        write(tmp_path / name)
    paths = [str(tmp_path / name) for name in BOMBS]
    run = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, *paths], check=True, capture_output=True, text=True
    )
    results, peak = json.loads(run.stdout)
    assert peak < 1 << 20, f"{peak} KiB"
    assert sorted(results) == sorted(paths)
    for path, (message, seconds) in results.items():
        assert seconds < 5, path
        assert path in message, message
        assert BOMBS[Path(path).name][1] in message, message


def test_the_bound_is_on_both_size_and_ratio() -> None:
    check_piece("a", PIECE_BOUND, 1)
    check_piece("a", 2 * PIECE_BOUND, 2 * PIECE_BOUND // RATIO_BOUND)
    with pytest.raises(
        Exception, match="a declares 2147483648 bytes in one piece, which its 65535"
    ):
        check_piece("a", 2 * PIECE_BOUND, 2 * PIECE_BOUND // RATIO_BOUND - 1)


def test_a_huge_volume_in_small_pieces_is_legal(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(HUGE,) * 3, chunks=(16, 64, 64), dtype="u1", zarr_format=2
    )
    assert open_source(SourceSpec(str(tmp_path / "a.zarr")), "image").shape == (HUGE,) * 3
