"""What cannot be read as it is stored is refused, in one line that names the file."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.storage.sources import Kind, SourceSpec, content, hint, open_source

SHAPE = (5, 40, 50)
EM = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)

Damage = Callable[[Path], object]


def refusal(spec: SourceSpec, kind: Kind = "image") -> str:
    with pytest.raises(DcanError) as caught:
        open_source(spec, kind)
    message = str(caught.value)
    assert message.startswith("volume.source: ")
    assert "\n" not in message
    return message


def tiff(path: Path, array: NDArray[np.generic] = EM, **options: object) -> Path:
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    return path


def png(path: Path, array: NDArray[np.generic]) -> Path:
    path.write_bytes(imagecodecs.png_encode(array))
    return path


def folder_of(folder: Path, names: str) -> Path:
    for name in names.split():
        png(folder / name, EM[0])
    return folder


PATHS = {
    "nothing there": ("none.tif", r"no file or folder at 'none.tif' \(from .*\): give a TIFF"),
    "empty glob": ("em/*.tif", r"no TIFF or PNG at 'em/\*.tif' \(from .*\): give a TIFF"),
    "inside a file": ("notes.txt/raw", r"no file or folder at 'notes.txt/raw'"),
    "too long": ("x" * 5000, "no file or folder"),
    "extension": ("notes.txt", "'notes.txt' has the unknown extension '.txt': give a TIFF"),
    "archive": ("a.npz", r"'a.npz' is a .npz archive: save its array as .npy"),
    "empty folder": ("empty", "no TIFF or PNG at 'empty'"),
    "empty file": ("zero.tif", r"'zero.tif' is empty \(0 bytes\)"),
    "empty text": ("", "'' is no path"),
    "nul": ("a\0b", "is no path"),
    "http": ("https://example.org/a.zarr", "remote address: copy it to a local disk"),
    "s3": ("s3://bucket/a.zarr", "remote address"),
    "file url": ("file:///a.tif", "remote address"),
    "pipe": ("pipe.tif", "no regular file"),
}


@pytest.mark.parametrize("case", sorted(PATHS))
def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.tif").touch()
    np.savez(tmp_path / "a.npz", EM)
    os.mkfifo(tmp_path / "pipe.tif")
    path, words = PATHS[case]
    message = refusal(SourceSpec(path))
    assert re.search(words, message), message
    for identity in (hint, content):
        with pytest.raises(DcanError) as caught:
            identity(SourceSpec(path, key="truth.source"))
        assert str(caught.value) == message.replace("volume.source", "truth.source", 1)


def test_keys_of_other_formats(tmp_path: Path) -> None:
    path = str(tiff(tmp_path / "a.tif"))
    assert "leave it out, it belongs to HDF5 and Zarr" in refusal(SourceSpec(path, dataset="raw"))
    assert "has its own: leave it out" in refusal(SourceSpec(path, shape=(1, 2, 3)))
    assert "phantom has shape None" in refusal(SourceSpec("phantom"))
    assert "1 or more" in refusal(SourceSpec("phantom", shape=(4, 0, 4)))


NAMES = {
    "a1.png a2.png a4.png": r"section 3 is missing between 'a2.png' and '.*a4.png'.*volume.missing",
    "a1.png a01.png a2.png": r"section 1 is there twice, '.*a0?1.png' and '.*a0?1.png'",
    "a1_c1.png a1_c2.png a2_c1.png a2_c2.png": "section 1 is there twice",
    "a1.png a2.png mask.png": r"mask.png' is not named like 'a1.png'",
    "a.png b.png": r"'.*b.png' and 'a.png' have no number that tells their order",
    "x1.png x1.tif": "holds TIFF and PNG, for instance 'x1.png' and 'x1.tif'",
}


@pytest.mark.parametrize("names", sorted(NAMES))
def test_section_names(tmp_path: Path, names: str) -> None:
    folder_of(tmp_path, names)
    message = refusal(SourceSpec(str(tmp_path)))
    assert re.search(NAMES[names], message), message


def _other_size(folder: Path) -> None:
    png(folder / "3.png", EM[0, :-1])


def _other_type(folder: Path) -> None:
    png(folder / "3.png", EM[0].astype(np.uint16))


def _no_bytes(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"")


def _no_png(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"GIF89a" * 9)


def _colour(folder: Path) -> None:
    png(folder / "3.png", np.stack([EM[0]] * 3, -1))


def _link(folder: Path) -> None:
    (folder / "3.png").unlink()
    (folder / "3.png").symlink_to(folder / "gone.png")


def _few_bits(folder: Path) -> None:
    held = bytearray((folder / "3.png").read_bytes())
    held[24] = 4
    (folder / "3.png").write_bytes(held)


SECTIONS = {
    _other_size: r"3.png, section 2 is 39 x 50 uint8, section 0 is 40 x 50 uint8",
    _other_type: r"3.png, section 2 is 40 x 50 uint16, section 0 is 40 x 50 uint8",
    _no_bytes: r"3.png' is empty \(0 bytes\)",
    _no_png: r"3.png cannot be read \(ValueError: not a PNG file\)",
    _colour: r"3.png holds RGB: give one grey channel",
    _link: r"3.png' is no regular file",
    _few_bits: r"3.png has 4 bits a pixel: convert it to 8 or 16",
}


@pytest.mark.parametrize("damage", SECTIONS, ids=lambda damage: damage.__name__)
def test_sections_of_a_folder(tmp_path: Path, damage: Damage) -> None:
    folder_of(tmp_path, "1.png 2.png 3.png 4.png")
    damage(tmp_path)
    message = refusal(SourceSpec(str(tmp_path)))
    assert re.search(SECTIONS[damage], message), message


def test_a_stack_among_sections(tmp_path: Path) -> None:
    tiff(tmp_path / "1.tif", EM[0])
    tiff(tmp_path / "2.tif", EM)
    assert "2.tif holds 5 sections, beside other files" in refusal(SourceSpec(str(tmp_path)))


COLOUR = np.stack([EM] * 3, -1)
TIFFS: dict[str, tuple[NDArray[np.generic], dict[str, object], str]] = {
    "rgb": (COLOUR, {"photometric": "rgb"}, "section 0 has 3 channels: give one grey channel"),
    "rgb planes": (
        np.moveaxis(COLOUR, -1, 1),
        {"photometric": "rgb", "planarconfig": "separate"},
        "section 0 has 3 channels",
    ),
    "imagej channels": (EM[:4].reshape(2, 2, 40, 50), {"imagej": True}, "begins 2 channels"),
    "imagej time": (
        EM[:4].reshape(2, 2, 40, 50),
        {"imagej": True, "metadata": {"axes": "TZYX"}},
        r"planes along axes of sizes \[2, 2\]",
    ),
    "ome channels": (
        EM[:4].reshape(2, 2, 40, 50),
        {"ome": True, "metadata": {"axes": "CZYX"}},
        "begins 2 channels: give one channel, one time point",
    ),
    "shaped channels": (EM, {"metadata": {"axes": "CYX"}}, "begins 5 channels"),
    "shaped 4-d": (EM[:4].reshape(2, 2, 40, 50), {}, r"planes along axes of sizes \[2, 2\]"),
    "volumetric": (EM, {"volumetric": True, "tile": (16, 16, 16)}, "is a volume of its own"),
    "white is 0": (EM, {"photometric": "miniswhite"}, "says that 0 is white: invert it"),
    "palette": (
        EM,
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
        "has a palette: convert it to grey",
    ),
    "float": (EM.astype(np.float32), {}, "holds float32: images are uint8 or uint16, convert"),
    "signed": (EM.astype(np.int16), {}, "holds int16: images are uint8 or uint16"),
    "bool": (EM > 9, {}, "holds bool: images are uint8 or uint16"),
    "uint32": (EM.astype(np.uint32), {}, "holds uint32: images are uint8 or uint16"),
    "thumbnail": (EM, {"subfiletype": 1}, "is a reduced image or a mask"),
}


@pytest.mark.parametrize("case", sorted(TIFFS))
def test_tiff_layouts(tmp_path: Path, case: str) -> None:
    array, options, words = TIFFS[case]
    message = refusal(SourceSpec(str(tiff(tmp_path / "a.tif", array, **options))))
    assert "a.tif" in message
    assert re.search(words, message), message


def test_pages_of_two_sizes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for section in (EM[0], EM[1], EM[2, :-1]):
            tif.write(section, compression="zlib")
    message = refusal(SourceSpec(str(tmp_path / "a.tif")))
    assert "section 2 is 39 x 50 uint8, section 0 is 40 x 50 uint8" in message


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_cut_anywhere_is_never_a_shorter_volume(
    tmp_path: Path, compression: str | None, bigtiff: bool
) -> None:
    whole = tiff(
        tmp_path / "a.tif", compression=compression, metadata=None, bigtiff=bigtiff
    ).read_bytes()
    cut = tmp_path / "cut.tif"
    for size in [*range(1, len(whole), 251), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        last_tag = size > len(whole) - 16  # the resolution may lie behind the last directory
        if last_tag and compression is None and not bigtiff:
            source = open_source(SourceSpec(str(cut)), "image")
            np.testing.assert_array_equal(source.read(Box.whole(SHAPE)), EM)
        else:
            assert "cut.tif" in refusal(SourceSpec(str(cut)))


def test_descriptions_that_promise_more(tmp_path: Path) -> None:
    text = "ImageJ=1.53t\nimages=9\nslices=9\n"
    path = tiff(tmp_path / "a.tif", EM[0], description=text, metadata=None)
    assert "a.tif declares 9 sections and holds 1" in refusal(SourceSpec(str(path)))
    text = '{"shape": [9, 40, 50]}'
    path = tiff(tmp_path / "b.tif", EM, description=text, metadata=None, compression="zlib")
    assert "b.tif declares 9 sections and holds 5" in refusal(SourceSpec(str(path)))


def test_a_chain_that_returns(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[-1].offset
    held = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", held, last)
    struct.pack_into("<I", held, last + 2 + 12 * entries, first)
    path.write_bytes(held)
    assert "its chain of sections is a ring" in refusal(SourceSpec(str(path)))


def test_a_strip_without_data(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = list(tif.pages[2].tags["StripByteCounts"].value)
        tif.pages[2].tags["StripByteCounts"].overwrite([*counts[:3], 0, *counts[4:]])
    message = refusal(SourceSpec(str(path)))
    assert "a.tif, section 2 cannot be read (ValueError: strip or tile 3 holds no data)" in message


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "lzma"])
def test_a_garbled_strip_is_an_error_where_it_is_read(tmp_path: Path, compression: str) -> None:
    path = tiff(tmp_path / "a.tif", compression=compression, rowsperstrip=8)
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[3].dataoffsets[2], tif.pages[3].databytecounts[2]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)
    source = open_source(SourceSpec(str(path)), "image")
    np.testing.assert_array_equal(source.read(Box((0, 0, 0), (3, 40, 50))), EM[:3])
    np.testing.assert_array_equal(source.read(Box((3, 0, 0), (4, 16, 50))), EM[3:4, :16])
    with pytest.raises(DcanError, match=r"a\.tif, section 3 cannot be read"):
        source.read(Box((2, 10, 10), (5, 20, 20)))


def test_a_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif")
    source = open_source(SourceSpec(str(path)), "image")
    os.truncate(path, path.stat().st_size - 2000)
    with pytest.raises(DcanError, match=r"a\.tif, section 4 cannot be read"):
        source.read(Box.whole(SHAPE))


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_png_is_an_error_where_it_is_read(tmp_path: Path, damage: str) -> None:
    folder_of(tmp_path, "1.png 2.png 3.png")
    held = bytearray((tmp_path / "2.png").read_bytes())
    held[len(held) // 2] ^= 4
    (tmp_path / "2.png").write_bytes(held if damage == "flip" else held[: len(held) // 2])
    source = open_source(SourceSpec(str(tmp_path)), "image")
    assert source.read(Box((0, 0, 0), (1, 40, 50))).any()
    with pytest.raises(DcanError, match=r"2\.png, section 1 cannot be read"):
        source.read(Box.whole(source.shape))


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_floats_are_neither(tmp_path: Path, kind: Kind) -> None:
    np.save(tmp_path / "a.npy", EM.astype(np.float32))
    message = refusal(SourceSpec(str(tmp_path / "a.npy")), kind)
    assert "a.npy' holds float32: " in message
    assert "convert" in message


def test_negative_labels(tmp_path: Path) -> None:
    labels = EM.astype(np.int32)
    labels[3, 20, 30] = -7
    np.save(tmp_path / "a.npy", labels)
    source = open_source(SourceSpec(str(tmp_path / "a.npy")), "labels")
    assert source.read(Box((0, 0, 0), (3, 40, 50))).dtype == np.int32
    with pytest.raises(DcanError, match=r"a\.npy holds label -7 at voxel \(3, 20, 30\)"):
        source.read(Box((2, 10, 10), (5, 40, 50)))


NUMPYS: dict[str, tuple[NDArray[np.generic], str]] = {
    "objects": (np.array([[[{}]]]), r"a\.npy cannot be read \(ValueError"),
    "one axis": (EM[0, 0], r"a\.npy has shape \(50,\): give one channel"),
    "channels": (np.stack([EM, EM]), r"has shape \(2, 5, 40, 50\): give one channel"),
    "no sections": (EM[:0], r"a\.npy cannot be read|give one channel with non-empty axes"),
    "records": (np.zeros(SHAPE, [("a", "u1")]), "images are uint8 or uint16"),
}


@pytest.mark.parametrize("case", sorted(NUMPYS))
def test_numpy_files(tmp_path: Path, case: str) -> None:
    array, words = NUMPYS[case]
    np.save(tmp_path / "a.npy", array)
    message = refusal(SourceSpec(str(tmp_path / "a.npy")))
    assert re.search(words, message), message


def test_a_pickle_called_npy_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "a.npy").write_bytes(f"cos\nsystem\n(S'touch {canary}'\ntR.".encode())
    assert "a.npy cannot be read" in refusal(SourceSpec(str(tmp_path / "a.npy")))
    assert not canary.exists()


def _no_hdf5(path: Path) -> None:
    path.write_bytes(b"no HDF5" * 100)


def _cut(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = EM
    os.truncate(path, 4000)


def _two(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["volumes/raw"] = EM
        file["volumes/labels"] = EM


def _none(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = EM[0]


def _never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", SHAPE, "u1")


def _virtual(path: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[...] = h5py.VirtualSource(path.with_name("gone.h5"), "raw", SHAPE)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("raw", layout)


def _raw_elsewhere(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", SHAPE, "u1", external=[("/etc/passwd", 0, EM.nbytes)])


def _linked(path: Path) -> None:
    with h5py.File(path.with_name("b.h5"), "w") as file:
        file["raw"] = EM
    with h5py.File(path, "w") as file:
        file["raw"] = h5py.ExternalLink("b.h5", "raw")


def _text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = np.full((2, 2, 2), "a", dtype=h5py.string_dtype())


HDF5S = {
    _no_hdf5: (None, r"a\.h5 cannot be read \(OSError"),
    _cut: (None, r"a\.h5 cannot be read"),
    _two: (None, "has 2 3-D datasets: give dataset, one of volumes/labels, volumes/raw"),
    _none: (None, "has 0 3-D datasets: it has no volume"),
    _never_written: (None, "dataset /raw holds no data"),
    _virtual: ("raw", "dataset /raw is stored in other files"),
    _raw_elsewhere: ("raw", "dataset /raw is stored in other files"),
    _linked: ("raw", "dataset /raw is stored in other files"),
    _text: ("raw", "holds object: images are uint8 or uint16"),
}


@pytest.mark.parametrize("write", HDF5S, ids=lambda write: write.__name__)
def test_hdf5_files(tmp_path: Path, write: Damage) -> None:
    write(tmp_path / "a.h5")
    dataset, words = HDF5S[write]
    message = refusal(SourceSpec(str(tmp_path / "a.h5"), dataset=dataset))
    assert re.search(words, message), message


@pytest.mark.parametrize("dataset", ["raw", "volumes", "volumes/raw/deeper", "../a"])
def test_hdf5_datasets_that_are_not_there(tmp_path: Path, dataset: str) -> None:
    _two(tmp_path / "a.h5")
    message = refusal(SourceSpec(str(tmp_path / "a.h5"), dataset=dataset))
    assert f"no dataset {dataset!r} in" in message
    assert "one of volumes/labels, volumes/raw" in message


def test_a_damaged_hdf5_chunk_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        held = file.create_dataset("raw", data=EM, chunks=(1, 40, 50), compression="gzip")
        at = held.id.get_chunk_info_by_coord((3, 0, 0))
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(at.byte_offset)
        file.write(b"\0" * at.size)
    source = open_source(SourceSpec(str(tmp_path / "a.h5")), "image")
    np.testing.assert_array_equal(source.read(Box((0, 0, 0), (3, 40, 50))), EM[:3])
    with pytest.raises(DcanError, match=r"a\.h5, dataset /raw, box 3:4,0:9,0:9 cannot be read"):
        source.read(Box((3, 0, 0), (4, 9, 9)))


def ome(folder: Path, axes: str, array: NDArray[np.generic], path: str = "0") -> Path:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.create_array("0", data=array)
    named = [{"name": axis} for axis in axes]
    group.attrs["ome"] = {"multiscales": [{"axes": named, "datasets": [{"path": path}]}]}
    return folder


OMES: dict[str, tuple[str, NDArray[np.generic], str, str]] = {
    "channels": ("czyx", np.stack([EM, EM]), "0", r"axes c, z, y, x of shape \(2, 5, 40, 50\)"),
    "time": ("tzyx", np.stack([EM, EM]), "0", "give one channel and one time point"),
    "order": ("xyz", EM, "0", r"has axes x, y, z for shape \(5, 40, 50\): give axes \(z, y, x\)"),
    "channel last": ("zyxc", EM[..., None], "0", r"give axes \(z, y, x\)"),
    "axes of another array": ("tczyx", EM, "0", "has axes t, c, z, y, x for shape"),
    "level not there": ("zyx", EM, "7", "no Zarr array at .*7, which its group names"),
    "level outside": ("zyx", EM, "../../other", "no path inside"),
}


@pytest.mark.parametrize("case", sorted(OMES))
def test_ome_groups(tmp_path: Path, case: str) -> None:
    axes, array, path, words = OMES[case]
    message = refusal(SourceSpec(str(ome(tmp_path / "a.zarr", axes, array, path))))
    assert re.search(words, message), message


def test_zarr_groups_and_datasets(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    path = str(tmp_path / "a.zarr")
    assert "is a Zarr group: it has no volume" in refusal(SourceSpec(path))
    group.create_array("em/raw", data=EM)
    group.create_array("em/labels", data=EM)
    listed = "give dataset, one of em/labels, em/raw"
    assert listed in refusal(SourceSpec(path))
    assert f"no Zarr array or group 'raw' in {path}: {listed}" in refusal(SourceSpec(path, "raw"))
    assert "without '..'" in refusal(SourceSpec(path, "em/../../b"))
    assert open_source(SourceSpec(path, "/em/raw/"), "image").shape == SHAPE


def test_dimension_names_of_an_array(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=EM, dimension_names=("x", "y", "z"))
    assert "has axes x, y, z" in refusal(SourceSpec(str(tmp_path / "a.zarr")))


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 100000, '{"node_type": "array"}', '{"zarr_format": 3}', "null", ""]
)
def test_garbled_zarr_metadata(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(text)
    message = refusal(SourceSpec(str(tmp_path / "a.zarr")))
    assert "Zarr metadata of" in message
    assert "cannot be read" in message


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_a_codec_that_runs_code_is_refused(tmp_path: Path, place: str) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=EM, chunks=SHAPE, zarr_format=2, compressors=None)
    path = tmp_path / "a.zarr" / ".zarray"
    held = json.loads(path.read_text())
    held[place] = {"id": "pickle"} if place == "compressor" else [{"id": "pickle"}]
    path.write_text(json.dumps(held))
    canary = tmp_path / "canary"
    (tmp_path / "a.zarr" / "0.0.0").write_bytes(f"cos\nsystem\n(S'touch {canary}'\ntR.".encode())
    assert "uses the codec 'pickle': rewrite it" in refusal(SourceSpec(str(tmp_path / "a.zarr")))
    assert not canary.exists()


def test_a_damaged_zarr_chunk_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=EM, chunks=(1, 40, 50))
    (chunk,) = (tmp_path / "a.zarr" / "c" / "3").rglob("0/0")
    chunk.write_bytes(b"garbage")
    source = open_source(SourceSpec(str(tmp_path / "a.zarr")), "image")
    np.testing.assert_array_equal(source.read(Box((0, 0, 0), (3, 40, 50))), EM[:3])
    with pytest.raises(DcanError, match=r"a\.zarr, box 3:4,0:9,0:9 cannot be read"):
        source.read(Box((3, 0, 0), (4, 9, 9)))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".h5", ".npy", ".zarr"])
def test_noise_raises_only_documented_errors(tmp_path: Path, suffix: str) -> None:
    sound: dict[str, Callable[[Path], object]] = {
        ".tif": lambda p: tiff(p, compression="zlib", rowsperstrip=8),
        ".png": lambda p: png(p, EM[0]),
        ".h5": _two,
        ".npy": lambda p: np.save(p, EM),
        ".zarr": lambda p: zarr.create_array(p, data=EM, chunks=(2, 16, 16), zarr_format=2),
    }
    path = tmp_path / f"a{suffix}"
    sound[suffix](path)
    target = path / ".zarray" if suffix == ".zarr" else path
    held = target.read_bytes()
    rng = np.random.default_rng(5)
    spec = SourceSpec(str(path), dataset="volumes/raw" if suffix == ".h5" else None)
    refused = 0
    for _ in range(60):
        noisy = bytearray(held)
        for at in rng.integers(0, min(len(held), 600), 3):
            noisy[at] = rng.integers(0, 256)
        target.write_bytes(noisy)
        try:
            source = open_source(spec, "image")
            source.read(Box((0, 0, 0), (1, min(9, source.shape[1]), min(9, source.shape[2]))))
        except DcanError:
            refused += 1
    assert refused > 0
