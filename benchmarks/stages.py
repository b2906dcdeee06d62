"""The block stages flood to relabel, end to end: read, compute, write, receipts.

The volume is a phantom's membrane map, given as a file. `kernels` are the functions of
`dcan.ops` that the stages call, on the same blocks, with everything in memory.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcan.config import parse
from dcan.engine.blocks import over
from dcan.geometry import Box
from dcan.ops import phantom
from dcan.ops.frames import Frame, Membrane
from dcan.ops.fusion import components, fuse, inside_table
from dcan.ops.merging import merge
from dcan.ops.numbering import named_columns
from dcan.ops.sections import Fusion
from dcan.ops.smoothing import depth_levels, reach, smooth
from dcan.ops.stitching import BlockSegments, stitch
from dcan.ops.watershed import flood
from dcan.steps import calibrate, ingest, predict, probe, segment
from dcan.steps import stitch as names
from dcan.steps.sealing import seal
from dcan.steps.workspace import Part, Workspace
from dcan.storage.volumes import CHUNK

SHAPE = (16, 4096, 4096)
BLOCK = (16, 2048, 2048)
STAGES = ("flood", "merge", "fuse", "stitch", "relabel")


@dataclass(frozen=True)
class Spent:
    """Seconds of one run: CPU of all threads, and on the clock."""

    cpu: float
    wall: float


def spent(work: Callable[[], object]) -> Spent:
    """What one call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)


@njit(nogil=True)
def _arithmetic(state: int) -> int:
    for _ in range(400_000_000):
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
    return state


def arithmetic(threads: int) -> Spent:
    """Twice the same arithmetic, which touches no memory: what the machine gives two threads."""
    return spent(lambda: list(over(_arithmetic, (1, 2), threads)))


class BlockStages:
    """A workspace that is ready for flood, and the map that it holds."""

    def __init__(self, folder: Path, fusion: Fusion) -> None:
        logging.getLogger("distributed").setLevel(logging.ERROR)
        box = Box.whole(SHAPE)
        self.membrane: Membrane = phantom.membrane(SHAPE, 0, box)
        np.save(folder / "map.npy", self.membrane)
        source = str(folder / "map.npy")
        raw = {
            "volume": {
                "name": "bench",
                "source": source,
                "voxel_size": [50, 4, 4],
                "missing": list(phantom.missing_sections(SHAPE, 0)),
            },
            "membrane": {"source": source},
            "segmentation": {
                "sigma": fusion.sigma,
                "depth": fusion.depth,
                "w_f": fusion.w_f / 1000,
                "t": fusion.t / 1000,
                "min_size": fusion.min_size,
            },
            "blocks": {"shape": list(BLOCK)},
            "output": str(folder),
        }
        space = Workspace.of(parse(raw, "the benchmark"))
        probe.probe(space)
        self.fusion, self.space = fusion, Workspace.of(space.config)
        probe.allocate(self.space)
        ingest.ingest(self.space, Part(0, 1), 1)
        seal(self.space, "ingest")
        ingest.survey(self.space)
        predict.predict(self.space, Part(0, 1), 1)
        seal(self.space, "predict")
        calibrate.calibrate(self.space)

    def end_to_end(self, workers: int) -> Spent:
        """The five stages from nothing."""
        for stage in STAGES:
            shutil.rmtree(self.space.root / "tables" / stage, ignore_errors=True)
            shutil.rmtree(self.space.root / "receipts" / stage, ignore_errors=True)
            (self.space.root / "receipts" / f"{stage}.json").unlink(missing_ok=True)
        return spent(lambda: self._stages(workers))

    def _stages(self, workers: int) -> None:
        part = Part(0, 1)
        segment.flood_blocks(self.space, part, workers)
        seal(self.space, "flood")
        segment.merge_sections(self.space, workers)
        segment.fuse_blocks(self.space, part, workers)
        seal(self.space, "fuse")
        names.stitch_sections(self.space, workers)
        names.relabel_blocks(self.space, part, workers)
        seal(self.space, "relabel")

    def kernels(self, threads: int) -> Spent:
        """The same work on arrays, whole sections on each thread."""
        return spent(
            lambda: list(
                over(lambda z: self._section(self.membrane[z]), self.space.present, threads)
            )
        )

    def _section(self, section: Membrane) -> None:
        frames = [Frame(box, SHAPE) for box in segment.column(self.space, 0)]
        floods = [flood(self._levels(section, frame), frame) for frame in frames]
        regions = merge(floods, depth_levels(self.fusion.depth))
        inside = inside_table(self.fusion.w_f, self.fusion.t)
        masks, found = [], []
        for frame, flooded in zip(frames, floods, strict=True):
            part = regions.select(flooded.terminals)
            core = np.ascontiguousarray(section[frame.core.slices[1:]])
            fused = fuse(self._levels(section, frame), core, frame, part, inside)
            masks.append(fused.inside)
            found.append(BlockSegments.of(fused, frame))
        named, _ = stitch(found, self.fusion.min_size, 0)
        for mask, table in zip(masks, named, strict=True):
            labels = components(mask)[0]
            for y in range(0, len(labels), CHUNK):
                named_columns(labels[y : y + CHUNK], table, CHUNK)

    def _levels(self, section: Membrane, frame: Frame) -> NDArray[Any]:
        margin = 1 + reach(self.fusion.sigma)
        read = frame.core.grow((0, margin, margin)).intersect(Box.whole(SHAPE))
        _, ys, xs = frame.window.within(read)
        return smooth(section[read.slices[1:]], self.fusion.sigma)[ys, xs]
