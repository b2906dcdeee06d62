"""Every format gives the array that was written, whatever box is asked for, from any thread."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcan.geometry import Box
from dcan.storage.sources import Source, SourceSpec, decoded, open_source
from dcan.storage.sources.stacks import Pieces

SHAPE = (12, 37, 45)
VOLUME = np.random.default_rng(7).integers(0, 65536, SHAPE).astype(np.uint16)
BYTES = (VOLUME >> 8).astype(np.uint8)

Writer = Callable[[Path], tuple[SourceSpec, NDArray[np.generic]]]
WRITERS: dict[str, Writer] = {}


def writer(name: str) -> Callable[[Writer], Writer]:
    def keep(write: Writer) -> Writer:
        WRITERS[name] = write
        return write

    return keep


def _tiff(name: str, array: NDArray[np.generic], **options: object) -> None:
    @writer(name)
    def write(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
        path = folder / "stack.tif"
        tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
        return SourceSpec(str(path)), array


_tiff("tiff plain", VOLUME)
_tiff("tiff plain strips", BYTES, rowsperstrip=5)
_tiff("tiff big-endian plain", VOLUME, byteorder=">")
_tiff("tiff big-endian deflate", VOLUME, byteorder=">", compression="zlib", predictor=True)
_tiff("tiff deflate strips", BYTES, compression="zlib", rowsperstrip=5)
_tiff("tiff lzw", VOLUME, compression="lzw", rowsperstrip=8, predictor=True)
_tiff("tiff zstd tiles", VOLUME, compression="zstd", tile=(16, 32))
_tiff("tiff packbits", BYTES, compression="packbits")
_tiff("tiff no description", BYTES, compression="zlib", metadata=None)
_tiff("bigtiff plain", VOLUME, bigtiff=True)
_tiff("bigtiff tiles", BYTES, bigtiff=True, tile=(16, 16))
_tiff("imagej", BYTES, imagej=True, metadata={"axes": "ZYX"})
_tiff("ome-tiff", VOLUME, ome=True, metadata={"axes": "ZYX"}, compression="zlib")
_tiff("tiff one section", BYTES[0], compression="zlib")


@writer("imagej over 4 GiB: one directory")
def _one_directory(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    text = f"ImageJ=1.53t\nimages={SHAPE[0]}\nslices={SHAPE[0]}\n"
    path = folder / "stack.tif"
    tifffile.imwrite(path, BYTES[0], description=text, metadata=None, byteorder=">")
    with path.open("ab") as file:
        held = tifffile.TiffFile(path).pages[0].dataoffsets[0] + BYTES[0].nbytes
        file.truncate(held)
        file.seek(held)
        file.write(BYTES[1:].tobytes())
    return SourceSpec(str(path)), BYTES


@writer("tiff page by page")
def _page_by_page(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    with tifffile.TiffWriter(folder / "stack.tif") as tif:
        for z, section in enumerate(BYTES):
            tif.write(section, compression="zlib" if z % 2 else None)
    return SourceSpec(str(folder / "stack.tif")), BYTES


@writer("tiff folder")
def _tiff_folder(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    for z, section in enumerate(VOLUME):
        order = ">" if z % 2 else "<"
        tifffile.imwrite(folder / f"s2_{z + 95}_v1.tif", section, byteorder=order)
    (folder / "notes.txt").write_text("not a section")
    (folder / "._s2_95_v1.tif").write_bytes(b"a resource fork")
    return SourceSpec(str(folder)), VOLUME


@writer("png folder, 8 bits, unpadded")
def _png_folder(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    for z, section in enumerate(BYTES):
        (folder / f"{z + 1}.png").write_bytes(imagecodecs.png_encode(section))
    return SourceSpec(str(folder)), BYTES


@writer("png folder, an earlier number runs backwards")
def _two_numbers(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    for z, section in enumerate(BYTES):
        name = f"scan{50 - z}_z{z + 1}.png"
        (folder / name).write_bytes(imagecodecs.png_encode(section))
    return SourceSpec(str(folder)), BYTES


@writer("png glob, 16 bits")
def _png_glob(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    for z, section in enumerate(VOLUME):
        (folder / f"z{z:03}.png").write_bytes(imagecodecs.png_encode(section))
    (folder / "mask.png").write_bytes(b"")
    return SourceSpec(str(folder / "z*.png")), VOLUME


@writer("png glob over folders")
def _png_folders(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    for z, section in enumerate(BYTES):
        (folder / f"section {z}").mkdir()
        (folder / f"section {z}" / "em.png").write_bytes(imagecodecs.png_encode(section))
    return SourceSpec(str(folder / "section *" / "em.png")), BYTES


@writer("hdf5 gzip")
def _hdf5(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    with h5py.File(folder / "cremi.hdf", "w") as file:
        file.create_dataset(
            "volumes/raw", data=VOLUME.astype(">u2"), chunks=(3, 16, 16), compression="gzip"
        )
        file["volumes/labels"] = VOLUME.astype(np.uint64)
    return SourceSpec(str(folder / "cremi.hdf"), dataset="volumes/raw"), VOLUME


@writer("hdf5, its only volume")
def _hdf5_only(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    with h5py.File(folder / "a.h5", "w") as file:
        file["group/raw"] = BYTES
        file["resolution"] = np.array([30, 4, 4])
    return SourceSpec(str(folder / "a.h5")), BYTES


def _group(folder: Path, version: str, order: str = "0 1") -> None:
    form = 2 if version == "0.4" else 3
    group = zarr.open_group(folder, mode="w", zarr_format=form)
    for level, step in (("0", 1), ("1", 2)):
        data = VOLUME[None, None, :, ::step, ::step]
        group.create_array(level, data=data, chunks=(1, 1, 4, 16, 16))
    levels = [
        {"path": p, "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 30, s, s]}]}
        for p, s in (("0", 4), ("1", 8))
    ]
    axes = [{"name": a, "type": "space" if a in "zyx" else "other"} for a in "tczyx"]
    datasets = [levels[int(i)] for i in order.split()]
    multiscales = [{"axes": axes, "datasets": datasets, "version": version}]
    group.attrs.update(
        {"multiscales": multiscales}
        if form == 2
        else {"ome": {"version": version, "multiscales": multiscales}}
    )


@writer("ome-zarr 0.4")
def _ome_4(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    _group(folder / "em.ome.zarr", "0.4")
    return SourceSpec(str(folder / "em.ome.zarr")), VOLUME


@writer("ome-zarr 0.5, coarse level listed first")
def _ome_5(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    _group(folder / "em", "0.5", order="1 0")
    return SourceSpec(str(folder / "em")), VOLUME


@writer("ome-zarr group inside a group")
def _ome_inside(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    zarr.open_group(folder / "all.zarr", mode="w", zarr_format=3)
    _group(folder / "all.zarr" / "em", "0.5")
    return SourceSpec(str(folder / "all.zarr"), dataset="em"), VOLUME


@writer("zarr 2, big-endian, blosc")
def _zarr_2(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    array = zarr.create_array(
        folder / "a.zarr", shape=SHAPE, chunks=(5, 16, 16), dtype=">u2", zarr_format=2
    )
    array[...] = VOLUME
    return SourceSpec(str(folder / "a.zarr")), VOLUME


@writer("zarr 3, sharded")
def _zarr_3(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    zarr.create_array(
        folder / "a.zarr", data=VOLUME, chunks=(4, 8, 8), shards=(8, 32, 32), zarr_format=3
    )
    return SourceSpec(str(folder / "a.zarr")), VOLUME


@writer("zarr group, its only volume")
def _zarr_only(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    group.create_array("deep/raw", data=BYTES, chunks=(5, 16, 16))
    group.create_array("resolution", data=np.array([30, 4, 4]))
    return SourceSpec(str(folder / "a.zarr")), BYTES


@writer("npy, column order, big-endian")
def _npy(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    np.save(folder / "a.npy", np.asfortranarray(VOLUME.astype(">u2")))
    return SourceSpec(str(folder / "a.npy")), VOLUME


@writer("npy, one section")
def _npy_section(folder: Path) -> tuple[SourceSpec, NDArray[np.generic]]:
    np.save(folder / "a.npy", BYTES[0])
    return SourceSpec(str(folder / "a.npy")), BYTES[0]


@pytest.fixture(scope="module", params=sorted(WRITERS))
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Source, NDArray[np.generic]]:
    spec, array = WRITERS[request.param](tmp_path_factory.mktemp("source"))
    return open_source(spec, "image"), array.reshape((-1, *array.shape[-2:]))


def boxes(shape: tuple[int, ...]) -> st.SearchStrategy[Box]:
    pairs = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in shape]
    return st.tuples(*pairs).map(lambda p: Box(tuple(a for a, _ in p), tuple(b for _, b in p)))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_box_is_what_was_written(
    opened: tuple[Source, NDArray[np.generic]], data: st.DataObject
) -> None:
    source, array = opened
    assert source.shape == array.shape
    assert source.dtype == array.dtype
    assert source.dtype.isnative
    box = data.draw(boxes(array.shape))
    read = source.read(box)
    assert read.shape == box.shape
    assert read.dtype == source.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array[box.slices])


def test_a_read_array_belongs_to_the_caller(opened: tuple[Source, NDArray[np.generic]]) -> None:
    source, array = opened
    whole = Box.whole(source.shape)
    read = source.read(whole)
    read[...] = 1
    np.testing.assert_array_equal(source.read(whole), array)


def test_threads_and_pickled_copies_read_alike(
    opened: tuple[Source, NDArray[np.generic]],
) -> None:
    source, array = opened
    rng = np.random.default_rng(3)
    corners = np.sort(rng.integers(0, np.array(array.shape) + 1, (40, 2, 3)), axis=1)
    asked = [Box(tuple(map(int, a)), tuple(map(int, b))) for a, b in corners]
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        for held in (source, copy):
            for box, read in zip(asked, pool.map(held.read, asked), strict=True):
                np.testing.assert_array_equal(read, array[box.slices])


def test_a_box_outside_is_a_defect(opened: tuple[Source, NDArray[np.generic]]) -> None:
    source, array = opened
    with pytest.raises(ValueError, match="outside a volume"):
        source.read(Box((0, 0, 0), (array.shape[0] + 1, 1, 1)))


def test_files_are_those_that_hold_it(opened: tuple[Source, NDArray[np.generic]]) -> None:
    source, _ = opened
    files = source.files()
    assert files
    assert len(set(files)) == len(files)
    assert all(path.is_file() for path in files)


@pytest.mark.parametrize(
    "name", ["a b.tif", "it's.tif", '"$(id)";{x}.tif', "größe-脳.tif", "[12]*?.tif", "-n.tif"]
)
def test_odd_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite(name, BYTES, photometric="minisblack")
    source = open_source(SourceSpec(name), "image")
    np.testing.assert_array_equal(source.read(Box.whole(SHAPE)), BYTES)


def test_a_bracketed_folder_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "em [2]"
    folder.mkdir()
    for z in range(3):
        (folder / f"{z}.png").write_bytes(imagecodecs.png_encode(BYTES[z]))
    assert open_source(SourceSpec(str(folder)), "image").shape == (3, 37, 45)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_labels_keep_their_type(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = tmp_path / f"labels{suffix}"
    array = (VOLUME % 100).astype(dtype)
    if suffix == ".npy":
        np.save(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["labels"] = array
    source = open_source(SourceSpec(str(path)), "labels")
    read = source.read(Box.whole(source.shape))
    assert read.dtype == source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, array)


def test_one_bit_labels_are_bool(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BYTES > 99, photometric="minisblack", compression="zlib")
    source = open_source(SourceSpec(str(tmp_path / "a.tif")), "labels")
    assert source.dtype == bool
    np.testing.assert_array_equal(source.read(Box.whole(SHAPE)), BYTES > 99)


def test_ids_of_a_palette_are_labels_and_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(path, BYTES, photometric="palette", colormap=colours, compression="zlib")
    source = open_source(SourceSpec(str(path)), "labels")
    np.testing.assert_array_equal(source.read(Box.whole(SHAPE)), BYTES)


def test_a_chunk_that_zarr_leaves_out_is_its_fill_value(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=SHAPE, chunks=SHAPE, dtype="u1", fill_value=9)
    source = open_source(SourceSpec(str(tmp_path / "a.zarr")), "image")
    assert (source.read(Box.whole(SHAPE)) == 9).all()


def test_pieces_stay_within_their_limit() -> None:
    pieces = Pieces(1000)
    decoded: list[int] = []

    def decode(key: int) -> NDArray[np.uint8]:
        decoded.append(key)
        return np.full(400, key, np.uint8)

    for key in (1, 2, 1, 3, 1, 2):
        assert pieces.fetch(key, lambda key=key: decode(key))[0] == key
        assert pieces.nbytes <= 1000
    assert decoded == [1, 2, 3, 2]
    assert pieces.fetch("large", lambda: np.zeros(5000, np.uint8)).nbytes == 5000
    assert pieces.nbytes == 5000


@pytest.mark.parametrize(("cache", "times"), [(1 << 20, 1), (1, 4)])
def test_the_cache_spares_decoding_a_strip_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: int, times: int
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", BYTES, compression="zlib", rowsperstrip=10, photometric="minisblack"
    )
    source = open_source(SourceSpec(str(tmp_path / "a.tif")), "image", cache)
    fetched: list[object] = []
    monkeypatch.setattr(
        "dcan.storage.sources.tiff._decode",
        lambda file, page, index, tile, keep=None: (
            fetched.append(index) or np.zeros(tile.shape, "u1")
        ),
    )
    for left in range(0, 40, 10):
        source.read(Box((0, 5, left), (2, 15, left + 10)))
    assert fetched == [0, 1, 0, 1] * times


def test_the_phantom_is_a_source() -> None:
    phantom = pytest.importorskip("dcan.ops.phantom")
    shape, box = (6, 64, 80), Box((2, 5, 7), (5, 30, 64))
    spec = SourceSpec("phantom", shape=shape, seed=4)
    image, labels = open_source(spec, "image"), open_source(spec, "labels")
    rendered = phantom.render(shape, 4, box)
    assert image.shape == labels.shape == shape
    assert image.files() == ()
    assert (image.dtype, labels.dtype) == (np.uint8, np.uint32)
    np.testing.assert_array_equal(image.read(box), rendered.em)
    np.testing.assert_array_equal(labels.read(box), rendered.neurites)


def test_the_shared_stacks_are_as_their_own_reader_has_them() -> None:
    folder = Path(__file__).parents[2] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data beside the project")
    path = folder / "isbi2012" / "train-volume.tif"
    source = open_source(SourceSpec(str(path)), "image")
    np.testing.assert_array_equal(source.read(Box.whole(source.shape)), tifffile.imread(path))


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("tiff plain", (1, 1)),
        ("tiff deflate strips", (5, SHAPE[2])),
        ("tiff zstd tiles", (16, 32)),
        ("tiff page by page", SHAPE[1:]),
        ("png glob, 16 bits", SHAPE[1:]),
        ("zarr 3, sharded", None),
    ],
)
def test_what_is_decoded_at_once_is_known(
    tmp_path: Path, name: str, piece: tuple[int, int] | None
) -> None:
    spec, _ = WRITERS[name](tmp_path)
    source = open_source(spec, "image")
    assert decoded(source) == ((1, *piece) if piece else source.piece)
