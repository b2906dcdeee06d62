"""The stages through files, cut, ordered, repeated and threaded at random: the same arrays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dcan.config import parse
from dcan.geometry import Box
from dcan.ops.sections import Fusion, segment
from dcan.ops.smoothing import smooth
from dcan.steps import calibrate, drift, grow, ingest, link, predict, probe, stitch
from dcan.steps import segment as fusing
from dcan.steps.sealing import seal
from dcan.steps.workspace import Part, Workspace
from dcan.storage.volumes import Store

FUSION = Fusion(1.0, 8.0, 700, 400, 5)
BATCHED = {
    "ingest": ingest.ingest,
    "predict": predict.predict,
    "flood": fusing.flood_blocks,
    "fuse": fusing.fuse_blocks,
    "relabel": stitch.relabel_blocks,
    "grow": grow.grow_blocks,
    "overlap": stitch.overlap_blocks,
    "unite": stitch.unite_blocks,
}


def run(space: Workspace, workers: int, random: Random) -> None:
    """Every stage of the segmentation, each in batches in any order, one of them twice."""

    def batched(stage: str) -> None:
        count = random.randint(1, 3)
        batches = [*range(count), random.randrange(count)]
        random.shuffle(batches)
        for batch in batches:
            BATCHED[stage](space, Part(batch, count), workers)
        seal(space, stage)

    batched("ingest")
    ingest.survey(space)
    calibrate.calibrate(space)
    batched("predict")
    batched("flood")
    fusing.merge_sections(space, workers)
    batched("fuse")
    stitch.stitch_sections(space, workers)
    batched("relabel")
    batched("grow")
    grow.settle_sections(space, workers)
    drift.drift(space, workers)
    batched("overlap")
    link.link_sections(space)
    batched("unite")


MEMBRANE = "membrane.ome.zarr/0"


def segmented(
    volume: Volume, folder: Path, cut: dict[str, Any], workers: int, random: Random
) -> dict[str, NDArray[Any]]:
    """Membrane, segments and grown neurites of a map under one cut."""
    np.save(folder / "map.npy", volume.membrane)
    if volume.mask is not None:
        np.save(folder / "mask.npy", volume.mask)
    raw = {
        "volume": {
            "name": "v",
            "source": str(folder / "map.npy"),
            "voxel_size": [50, 4, 4],
            "mask": None if volume.mask is None else str(folder / "mask.npy"),
        },
        "membrane": {"source": str(folder / "map.npy")},
        "segmentation": {"sigma": 1, "depth": 8, "w_f": 0.7, "t": 0.4, "min_size": 5},
        "labels": {"grow": True},
        "output": str(folder / "results"),
        **cut,
    }
    space = Workspace.of(parse(raw, "test"))
    probe.probe(space)
    space = Workspace.of(space.config)
    probe.allocate(space)
    run(space, workers, random)
    whole = Box.whole(space.shape)
    stores = (MEMBRANE, probe.SEGMENTS, probe.NEURITES)
    return {name: Store(space.root, name).read(whole) for name in stores}


@dataclass
class Volume:
    """A membrane map, its mask and where that has tissue."""

    membrane: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None
    tissue: NDArray[np.bool_]


def made(shape: tuple[int, int, int], factor: int | None, seed: int) -> Volume:
    """A map of any seed; under a mask as many times coarser, which leaves section 1 empty."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, shape, np.uint8)
    membrane = np.stack([(smooth(z, 1.0) // 256).astype(np.uint8) for z in noise])
    membrane = np.where(membrane > 128, 255, membrane).astype(np.uint8)
    membrane[:, 0, :2] = 0, 200  # a section of one value would be taken for a gap
    if factor is None:
        return Volume(membrane, None, np.ones(shape, np.bool_))
    height, width = shape[1:]
    mask = (rng.random((shape[0], -(-height // factor), -(-width // factor))) < 0.8).astype("u1")
    mask[0, 0] = 7
    mask[1] = 0
    membrane[1] = 3  # it holds no tissue, so it need not be declared
    tissue = np.kron(mask > 0, np.ones((1, factor, factor), np.bool_))[:, :height, :width]
    return Volume(membrane, mask, tissue)


@st.composite
def cuts(draw: Any) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """A shape, and a cut of it into shards and blocks of whole shards."""
    shape = tuple(draw(st.integers(2, most)) for most in (4, 40, 40))
    shard = [draw(st.integers(least, most)) for least, most in ((1, 3), (6, 16), (6, 16))]
    block = [draw(st.integers(1, 3)) * s for s in shard]
    return shape, {"blocks": {"shape": block}, "storage": {"shard": shard}}


# an example takes a second: to shrink one would take minutes
@settings(max_examples=12, deadline=None, phases=(Phase.reuse, Phase.generate))
@given(
    cuts(),
    st.sampled_from((None, 1, 2)),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
)
def test_no_cut_order_or_number_of_workers_changes_a_bit(
    cut: Any, factor: int | None, workers: int, seed: int, random: Random
) -> None:
    shape, parts = cut
    volume = made(shape, factor, seed)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = segmented(volume, Path(one), parts, workers, random)
        alone = {"blocks": {"shape": list(shape)}, "storage": {"shard": list(shape)}}
        expected = segmented(volume, Path(other), alone, 1, Random(0))
    for name, labels in expected.items():
        assert (found[name] == labels).all(), name
    height, width = shape[1:]
    masked = np.where(volume.tissue, volume.membrane, 255).astype(np.uint8)
    assert (found[MEMBRANE] == masked).all()
    for z, (section, tissue) in enumerate(zip(masked, volume.tissue, strict=True)):
        labels = segment(section, FUSION, tissue).labels
        named = np.where(labels > 0, labels + np.uint64(z * height * width), 0)
        assert (found[probe.SEGMENTS][z] == named).all()
        assert not found[probe.NEURITES][z][~tissue].any()
