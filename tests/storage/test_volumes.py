"""Volumes on disk: whole shards, vouched for byte by byte, in OME-Zarr 0.5."""

from __future__ import annotations

import json
import pickle
import random
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Grid, Triple
from dcan.storage.objects import Stored, crc32c
from dcan.storage.pyramids import SMALLEST, coarsen, finer, level_shapes, multiscales
from dcan.storage.volumes import Store, array_metadata, group_metadata, put_metadata

QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE: Triple = (5, 70, 50)
SHARD: Triple = (2, 32, 16)

Array = NDArray[Any]


def store(
    root: Path,
    shape: Triple = SHAPE,
    shard: Triple = SHARD,
    dtype: str = "uint8",
    fill: int = 0,
    path: str = "em.ome.zarr/0",
    *,
    level: int = 1,
) -> Store:
    put_metadata(root, path, array_metadata(shape, dtype, shard, fill, level))
    return Store(root, path)


def noise(shape: Triple = SHAPE, dtype: str = "uint8") -> Array:
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, shape, dtype=dtype, endpoint=True)


def whole(shape: Triple = SHAPE) -> Box:
    return Box.whole(shape)


def shard_files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("c/*/*/*")}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("shard", [SHARD, (5, 70, 50), (1, 10, 70), (16, 1024, 1024), (3, 17, 11)])
def test_what_was_written_is_read(tmp_path: Path, dtype: str, shard: Triple) -> None:
    held, voxels = store(tmp_path, shard=shard, dtype=dtype), noise(dtype=dtype)
    held.write(whole(), voxels)
    found = Store(tmp_path, held.path)
    assert found.shape == SHAPE
    assert found.dtype == dtype
    assert (found.read(whole()) == voxels).all()
    assert (zarr.open_array(tmp_path / held.path, mode="r")[:] == voxels).all()


@pytest.mark.parametrize("level", [-1, 3])
def test_zarr_reads_what_was_written_at_any_level(tmp_path: Path, level: int) -> None:
    held, voxels = store(tmp_path, level=level), noise() // 64
    held.write(whole(), voxels)
    assert (zarr.open_array(tmp_path / held.path, mode="r")[:] == voxels).all()


@pytest.mark.parametrize("shard", [SHARD, (16, 1024, 1024), (3, 17, 11)])
def test_what_zarr_wrote_is_read(tmp_path: Path, shard: Triple) -> None:
    held, voxels = store(tmp_path, shard=shard, dtype="uint16"), noise(dtype="uint16")
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_array(tmp_path / held.path, mode="r+")[:] = voxels
    assert (held.read(whole()) == voxels).all()


def test_a_chunk_that_is_not_there_is_damage_and_not_zeros(tmp_path: Path) -> None:
    held = store(tmp_path)
    zarr.open_array(tmp_path / held.path, mode="r+")[:] = np.zeros(SHAPE, np.uint8)
    assert not shard_files(tmp_path), "Zarr leaves out what holds nothing but fill values"
    zarr.open_array(tmp_path / held.path, mode="r+")[1:2, :, :] = 7
    assert (held.read(Box((1, 0, 0), (2, 70, 50))) == 7).all()
    with pytest.raises(DcanError, match=r"c/0/0/0 has no chunk 0:1,0:32,0:16\)"):
        held.read(Box((0, 0, 0), (2, 9, 9)))


@QUIET
@given(st.data())
def test_any_box_reads_its_voxels(tmp_path: Path, data: st.DataObject) -> None:
    held, voxels = store(tmp_path), noise()
    if not (tmp_path / "em.ome.zarr/0/c").exists():
        held.write(whole(), voxels)
    pairs = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in SHAPE]
    box = Box(*zip(*pairs, strict=True))  # type: ignore[arg-type]
    found = held.read(box)
    assert found.shape == box.shape
    assert (found == voxels[box.slices]).all()


@pytest.mark.parametrize("key", ["-1:2,0:5,0:5", "0:6,0:5,0:5", "0:2,0:71,0:5", "0:2,-3:20,0:5"])
def test_a_box_outside_is_a_defect(tmp_path: Path, key: str) -> None:
    held = store(tmp_path)
    held.write(whole(), noise())
    with pytest.raises(ValueError, match=re.escape(key)):
        held.read(Box.parse(key))


def test_each_stored_object_is_listed_with_size_and_checksum(tmp_path: Path) -> None:
    held, voxels = store(tmp_path), noise()
    listed: list[Stored] = []
    for box in Grid(SHAPE, (2, 64, 32)):
        listed += held.write(box, voxels[box.slices])
    assert {s.path for s in listed} == shard_files(tmp_path)
    assert len(listed) == len(held.shards) == 3 * 3 * 4
    for stored in listed:
        data = (tmp_path / stored.path).read_bytes()
        assert (stored.size, stored.checksum) == (len(data), crc32c(data))
        assert stored.fault(tmp_path, bytes_too=True) is None
    (first,) = held.write(Box((2, 32, 16), (4, 64, 32)), voxels[2:4, 32:64, 16:32])
    assert first.path == "em.ome.zarr/0/c/1/1/1"


def test_other_shards_are_not_touched(tmp_path: Path) -> None:
    held = store(tmp_path)
    held.write(whole(), noise())
    before = {path: (tmp_path / path).stat() for path in shard_files(tmp_path)}
    box = Box((0, 0, 0), (2, 32, 32))
    written = {s.path for s in held.write(box, np.zeros(box.shape, np.uint8))}
    assert len(written) == 2
    for path, stat in before.items():
        changed = (tmp_path / path).stat().st_ino != stat.st_ino
        assert changed == (path in written)


@QUIET
@given(st.data())
def test_boxes_that_cut_a_shard_are_refused_and_only_those(
    tmp_path: Path, data: st.DataObject
) -> None:
    held = store(tmp_path, (4, 6, 6), (2, 3, 4))
    pairs = [sorted(data.draw(st.tuples(*[st.integers(0, n + 1)] * 2))) for n in (4, 6, 6)]
    box = Box(*zip(*pairs, strict=True))  # type: ignore[arg-type]
    legal = box.size == 0 or all(
        a % s == 0 and (b == n or (b % s == 0 and b < n))
        for a, b, s, n in zip(box.start, box.stop, (2, 3, 4), (4, 6, 6), strict=True)
    )
    if legal:
        held.write(box, np.ones(box.shape, np.uint8))
        return
    before = shard_files(tmp_path)
    with pytest.raises(DcanError, match="cuts shards of") as caught:
        held.write(box, np.ones(box.shape, np.uint8))
    assert box.key in str(caught.value)
    assert "make blocks.shape a multiple of storage.shard" in str(caught.value)
    assert shard_files(tmp_path) == before


def test_a_box_that_leaves_the_volume_by_as_much_as_it_cuts_is_refused(tmp_path: Path) -> None:
    held = store(tmp_path, (4, 6, 6), (2, 6, 6))
    with pytest.raises(DcanError, match="cuts shards of"):
        held.write(Box((1, 0, 0), (5, 6, 6)), np.ones((4, 6, 6), np.uint8))


@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((2, 32, 16), np.uint16),
        np.zeros((2, 32, 16), np.float32),
        np.zeros((2, 32, 15), np.uint8),
        np.zeros((32, 16), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_voxels_that_do_not_fit_are_refused(tmp_path: Path, voxels: Array) -> None:
    held = store(tmp_path)
    with pytest.raises(DcanError, match="do not fit box 0:2,0:32,0:16 of em"):
        held.write(Box((0, 0, 0), (2, 32, 16)), voxels)
    assert shard_files(tmp_path) == set()


@pytest.mark.parametrize("fill", [0, 255])
def test_shards_of_nothing_but_the_fill_value_are_stored(tmp_path: Path, fill: int) -> None:
    held = store(tmp_path, fill=fill)
    listed = held.write(whole(), np.full(SHAPE, fill, np.uint8))
    assert {s.path for s in listed} == shard_files(tmp_path)
    assert len(listed) == len(held.shards)
    assert (held.read(whole()) == fill).all()
    (tmp_path / listed[0].path).unlink()
    with pytest.raises(DcanError):
        held.read(whole())


DAMAGES = ["delete", "empty", "truncate", "flip"]


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "delete":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncate":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[9] ^= 8  # of the first section; the last ones of a ragged shard are read by nobody
        path.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("number", [0, -1], ids=["whole", "ragged"])
def test_damage_is_a_fault_and_is_read_by_nobody_and_heals(
    tmp_path: Path, how: str, number: int
) -> None:
    held, voxels = store(tmp_path), noise()
    listed = held.write(whole(), voxels)
    hit, box = listed[number], list(held.shards)[number]
    damage(tmp_path / hit.path, how)
    assert str(tmp_path / hit.path) in (hit.fault(tmp_path, bytes_too=True) or "")
    assert all(s.fault(tmp_path, bytes_too=True) is None for s in listed if s != hit)
    with pytest.raises(DcanError, match=re.escape(f"store {tmp_path / held.path}, box {box.key}")):
        held.read(box)
    assert held.write(box, voxels[box.slices]) == (hit,)
    assert (held.read(whole()) == voxels).all()


def test_every_flipped_bit_and_every_cut_is_noticed_by_reading(tmp_path: Path) -> None:
    held, voxels = store(tmp_path), noise() // 64
    box = next(iter(held.shards))
    (stored,) = held.write(box, voxels[box.slices])
    path = tmp_path / stored.path
    data = path.read_bytes()
    chance = random.Random(0)
    for bit in chance.sample(range(8 * len(data)), 200):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DcanError):
            held.read(box)
    for length in chance.sample(range(len(data)), 40):
        path.write_bytes(data[:length])
        with pytest.raises(DcanError):
            held.read(box)


def test_equal_voxels_are_equal_bytes(tmp_path: Path) -> None:
    one, other = store(tmp_path / "a"), store(tmp_path / "b")
    everything = one.write(whole(), noise())
    by_block: list[Stored] = []
    for box in reversed(list(other.shards)):
        by_block += other.write(box, noise()[box.slices])
    assert sorted(everything) == sorted(by_block)
    assert sorted(one.write(whole(), noise())) == sorted(everything)


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    held, voxels = store(tmp_path), noise()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda box: held.write(box, voxels[box.slices]), held.shards))
    assert (held.read(whole()) == voxels).all()
    assert all("part" not in p.name for p in tmp_path.rglob("*"))


def test_a_store_travels_to_another_process(tmp_path: Path) -> None:
    held = store(tmp_path)
    held.write(whole(), noise())
    assert (pickle.loads(pickle.dumps(held)).read(whole()) == noise()).all()
    assert pickle.loads(pickle.dumps(held)) == held


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process cannot write longer files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("side", [20, 200], ids=["by the buffer", "past it"])
def test_a_file_system_that_refuses_is_one_line(tmp_path: Path, side: int) -> None:
    shape = (4, 2 * side, 2 * side)
    held, voxels = store(tmp_path, shape, (4, side, side)), noise(shape)
    voxels[:, :, :side], voxels[:, side:] = 0, 0  # so that one shard is long, c/0/0/1
    with (
        files_of_at_most(5 * side**2 // 2),
        pytest.raises(DcanError, match=r"cannot write .*/c/0/0/1: File too large"),
    ):
        held.write(whole(shape), voxels)
    assert f"{held.path}/c/0/0/1" not in shard_files(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_chunks_are_taken_one_by_one_and_none_may_be_missing(tmp_path: Path) -> None:
    held, voxels = store(tmp_path), noise()
    chunks = held.chunks(whole())
    assert {chunk.shape[0] for chunk in chunks} == {1}
    alive: set[int] = set()

    class Chunk(bytes):
        """Bytes that say when nobody holds them."""

        def __del__(self) -> None:
            alive.discard(id(self))

    def encoded(boxes: list[Box]) -> Iterator[bytes]:
        for box in boxes:
            assert len(alive) <= 1
            chunk = Chunk(held.encode(voxels[box.slices]))
            alive.add(id(chunk))
            yield chunk
            del chunk

    with pytest.raises(ValueError, match="zip"):
        held.write_chunks(whole(), encoded(chunks[:-1]))
    last_layer = {path for path in held.objects(whole()) if "/c/2/" in path}
    assert shard_files(tmp_path) == set(held.objects(whole())) - last_layer
    assert sorted(held.write_chunks(whole(), encoded(chunks))) == sorted(
        held.write(whole(), voxels)
    )
    assert (held.read(whole()) == voxels).all()


def test_the_chunks_of_a_shard_are_stored_in_their_order_whoever_encoded_them(
    tmp_path: Path,
) -> None:
    held, voxels = store(tmp_path), noise()
    chunks = held.chunks(whole())
    with ThreadPoolExecutor(4) as pool:
        encoded = pool.map(lambda box: held.encode(voxels[box.slices]), chunks)
        found = held.write_chunks(whole(), encoded)
    assert found == held.write(whole(), voxels)


@pytest.mark.parametrize("codecs", ["no shards", "gzip", "index first", "plain index"])
def test_an_array_that_is_coded_otherwise_is_no_store(tmp_path: Path, codecs: str) -> None:
    held = store(tmp_path)
    file = tmp_path / held.path / "zarr.json"
    node = json.loads(file.read_text())
    (sharding,) = node["codecs"]
    if codecs == "no shards":
        node["codecs"] = sharding["configuration"]["codecs"]
    elif codecs == "gzip":
        sharding["configuration"]["codecs"][1] = {"name": "gzip", "configuration": {"level": 1}}
    elif codecs == "index first":
        sharding["configuration"]["index_location"] = "start"
    else:
        del sharding["configuration"]["index_codecs"][1]
    file.write_text(json.dumps(node))
    assert zarr.open_array(file.parent, mode="r").shape == SHAPE
    with pytest.raises(DcanError, match=r"cannot be opened \(it is not stored as shards"):
        _ = Store(tmp_path, held.path).shape


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "\xff", "{", "null", '{"zarr_format": 9}', "[" * 9999]
)
def test_a_store_without_metadata_is_refused_by_name(tmp_path: Path, text: str) -> None:
    held = store(tmp_path)
    file = tmp_path / held.path / "zarr.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DcanError, match=re.escape(f"store {tmp_path / held.path} cannot be")):
        _ = Store(tmp_path, held.path).shape
    file.unlink()
    with pytest.raises(DcanError, match=re.escape(f"store {tmp_path / held.path} cannot be")):
        _ = Store(tmp_path, held.path).shape


def test_a_group_is_no_store(tmp_path: Path) -> None:
    put_metadata(tmp_path, "g", group_metadata({}))
    with pytest.raises(DcanError, match="cannot be opened"):
        _ = Store(tmp_path, "g").shape


def test_flipped_bits_in_metadata_are_refused_or_open(tmp_path: Path) -> None:
    held = store(tmp_path)
    file = tmp_path / held.path / "zarr.json"
    data = file.read_bytes()
    for bit in random.Random(2).sample(range(8 * len(data)), 300):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            _ = Store(tmp_path, held.path).shape
        except DcanError as error:
            assert str(file.parent) in str(error)  # noqa: PT017  (either is right)


def test_metadata_is_written_again_where_it_is_another(tmp_path: Path) -> None:
    held = store(tmp_path)
    file = tmp_path / held.path / "zarr.json"
    text = file.read_text()
    for damaged in (b"", b"\xff\xfe", text.encode()[:-1]):
        file.write_bytes(damaged)
        stored = put_metadata(tmp_path, held.path, text)
        assert file.read_text() == text
        assert stored == Stored(f"{held.path}/zarr.json", len(text), crc32c(text.encode()))


def test_stored_objects_stay_with_their_metadata_and_go_with_another(tmp_path: Path) -> None:
    """Objects of another cut, shape or dtype are not this array's, whatever vouches for them."""
    held = store(tmp_path)
    listed = held.write(whole(), noise())
    assert store(tmp_path).read(whole()).any()
    assert all(stored.fault(tmp_path) is None for stored in listed)
    store(tmp_path, shard=(2, 64, 16))
    assert shard_files(tmp_path) == set()
    assert all(stored.fault(tmp_path) for stored in listed)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((3, 1, 1), [(3, 1, 1)]),
        ((3, 512, 512), [(3, 512, 512)]),
        ((3, 513, 5), [(3, 513, 5), (3, 257, 3)]),
        ((1, 1025, 2049), [(1, 1025, 2049), (1, 513, 1025), (1, 257, 513), (1, 129, 257)]),
    ],
)
def test_levels_halve_until_a_section_is_small(shape: Triple, levels: list[Triple]) -> None:
    assert level_shapes(shape) == levels
    assert max(levels[-1][1:]) <= SMALLEST


IMAGES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))


@given(IMAGES, st.sampled_from(["uint8", "uint16"]))
def test_an_image_is_coarsened_by_the_mean_of_the_pixels_there_are(
    size: tuple[int, int, int, int], dtype: str
) -> None:
    *shape, seed = size
    top = np.iinfo(dtype).max
    fine = np.random.default_rng(seed).integers(top - 9, top, shape, dtype, endpoint=True)
    found = coarsen(fine, "image")
    assert found.dtype == dtype
    assert found.shape == (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    for z, y, x in np.ndindex(found.shape):
        pixels = fine[z, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(int)
        assert found[z, y, x] == (2 * pixels.sum() + pixels.size) // (2 * pixels.size)


@given(IMAGES)
def test_labels_are_coarsened_to_ids_that_were_there(size: tuple[int, int, int, int]) -> None:
    *shape, seed = size
    fine = np.random.default_rng(seed).integers(0, 2**64 - 1, shape, np.uint64, endpoint=True)
    found = coarsen(fine, "labels")
    assert found.dtype == np.uint64
    for z, y, x in np.ndindex(found.shape):
        assert found[z, y, x] == fine[z, 2 * y, 2 * x]


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 4)] * 3))
def test_a_level_is_made_block_by_block_as_at_once(shape: Triple, step: Triple) -> None:
    fine = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    above: Triple = (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    coarse = coarsen(fine, "image")
    for box in Grid(above, step):
        below = finer(box, shape)
        assert (coarsen(fine[below.slices], "image") == coarse[box.slices]).all()


def scale_of(dataset: dict[str, Any]) -> list[float]:
    (scale,) = [t for t in dataset["coordinateTransformations"] if t["type"] == "scale"]
    return list(scale["scale"])


def check_multiscales(root: Path, path: str) -> dict[str, Any]:
    """The rules of OME-Zarr 0.5 for a multiscale group, https://ngff.openmicroscopy.org/0.5."""
    node = json.loads((root / path / "zarr.json").read_text())
    assert node["zarr_format"] == 3
    assert node["node_type"] == "group"
    ome: dict[str, Any] = node["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["z", "y", "x"]
    assert {axis["type"] for axis in scales["axes"]} == {"space"}
    # a UDUNITS-2 name that the specification lists
    assert {axis["unit"] for axis in scales["axes"]} == {"nanometer"}
    before: list[float] = [0, 0, 0]
    for dataset in scales["datasets"]:
        array = zarr.open_array(root / path / dataset["path"], mode="r")
        assert array.ndim == 3
        assert array.metadata.dimension_names == ("z", "y", "x")
        kinds = [t["type"] for t in dataset["coordinateTransformations"]]
        assert kinds in (["scale"], ["scale", "translation"]), "exactly one scale, and it first"
        scale = scale_of(dataset)
        assert len(scale) == 3
        assert all(s >= b for s, b in zip(scale, before, strict=True)), "from fine to coarse"
        before = scale
    return ome


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    shapes = level_shapes((2, 1100, 1030))
    for path, kind in (("em.ome.zarr", "image"), ("em.ome.zarr/labels/neurites", "labels")):
        attributes = multiscales("neurites", (50, 4, 6), len(shapes), kind)  # type: ignore[arg-type]
        put_metadata(tmp_path, path, group_metadata(attributes))
        for level, shape in enumerate(shapes):
            dtype = "uint8" if kind == "image" else "uint64"
            store(tmp_path, shape, (2, 64, 64), dtype, path=f"{path}/{level}")
    return tmp_path


def test_an_image_has_the_metadata_of_ome_zarr(pyramid: Path) -> None:
    ome = check_multiscales(pyramid, "em.ome.zarr")
    assert "image-label" not in ome
    datasets = ome["multiscales"][0]["datasets"]
    assert [d["path"] for d in datasets] == ["0", "1", "2"]
    assert [scale_of(d) for d in datasets] == [[50, 4, 6], [50, 8, 12], [50, 16, 24]]
    moved = [d["coordinateTransformations"][1]["translation"] for d in datasets]
    # the centre of a mean of n pixels lies (n - 1) / 2 pixels from that of the first
    assert moved == [[0, 0, 0], [0, 2, 3], [0, 6, 9]]


def test_labels_have_the_metadata_of_ome_zarr(pyramid: Path) -> None:
    ome = check_multiscales(pyramid, "em.ome.zarr/labels/neurites")
    source = pyramid / "em.ome.zarr/labels/neurites" / ome["image-label"]["source"]["image"]
    assert source.resolve() == pyramid / "em.ome.zarr"
    datasets = ome["multiscales"][0]["datasets"]
    moved = [d["coordinateTransformations"][1]["translation"] for d in datasets]
    assert moved == [[0, 0, 0]] * 3, "the first pixel is where it was"
    array = zarr.open_array(pyramid / "em.ome.zarr/labels/neurites/0", mode="r")
    assert array.dtype.kind in "ui", "labels are integers"


def test_arrays_are_sharded_compressed_and_checked(tmp_path: Path) -> None:
    node = json.loads(array_metadata((40, 3000, 900), "uint64", (16, 1024, 1024), 0, 3))
    assert node["zarr_format"] == 3
    assert node["chunk_grid"]["configuration"]["chunk_shape"] == [16, 1024, 900]
    (sharding,) = node["codecs"]
    assert sharding["name"] == "sharding_indexed"
    inner = sharding["configuration"]
    assert inner["chunk_shape"] == [1, 512, 450], "a section at a time, in equal parts"
    assert [codec["name"] for codec in inner["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert inner["codecs"][1]["configuration"]["level"] == 3
    assert "crc32c" in [codec["name"] for codec in inner["index_codecs"]]
