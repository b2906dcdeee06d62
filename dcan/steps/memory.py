"""How much memory a job of each stage will take, from the configuration and the volume's shape.

The figures are bounds from what the code holds at once, checked against measured peaks in
`tests/steps/test_memory.py`. Bytes; a job has `workers` blocks or sections in hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod

from dcan.config import Config, trains
from dcan.engine.feeding import AHEAD
from dcan.geometry import Triple
from dcan.storage.sources.stacks import CACHE_BYTES

MIB = 1 << 20
PROCESS = 130 * MIB
"""Python with the libraries of storage and engine."""
KERNELS = 110 * MIB
"""Numba and the compiled kernels."""
NETWORK = 480 * MIB
"""Torch, and what it takes to compile its modules where that was not done yet."""
BASIN = 50
"""Pixels of a basin, at least, in a smoothed map; 8 million of 20000 x 20000 pixels."""
FLOODED = 15 + 3 * 6
"""Bytes of the tables for a basin: its minimum, level and pairs, and about three saddles."""
WEIGHTS = 7_900_000
"""Weights of a network of width 64; they follow the square of the width."""
VALIDATED = 512 + 2 * 64
"""Pixels along a window of a validation: `net.validation.TILE` and the network's halo."""
WIDEST = 8
"""Bytes of the widest voxel: pieces that are no larger are voxels, which nothing keeps."""
SEGMENT = 400
"""Pixels of a segment, on the average of a section, at least: 454 of a phantom."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the jobs of a volume hold: sizes in voxels and pixels."""

    block: int
    """Voxels of a block."""
    seen: int
    """Pixels of one section that smoothing reads for a block, around it and its own."""
    core: int
    """Pixels of a block in one section."""
    shard: int
    """Voxels of a shard."""
    section: int
    """Pixels of a whole section."""
    voxels: int
    """Voxels of the volume."""
    itemsize: int
    """Bytes of a voxel of the EM."""
    shifts: int
    """Shifts between two sections that are compared, on means of 2 x 2 pixels."""
    piece: int
    """Bytes of the source that are decoded at once."""
    map_piece: int
    """Bytes of the given map, likewise."""

    @classmethod
    def of(
        cls, config: Config, shape: Triple, itemsize: int, piece: int = 1, map_piece: int = 1
    ) -> Load:
        """The load of a volume of `shape`; a sigma that is still open counts as 4 pixels.

        `piece`, `map_piece`: bytes of the source and of a given map that are decoded at once.
        """
        depth, height, width = config.blocks.within(shape)
        shard = [min(s, n) for s, n in zip(config.storage.shard, shape, strict=True)]
        sigma = config.segmentation.sigma
        # as smoothing reaches; its module would bring numba into the workflow's start
        margin = 2 * (1 + ceil(4 * (4.0 if sigma == "auto" else sigma)))
        seen = min(height + margin, shape[1]) * min(width + margin, shape[2])
        return cls(
            depth * height * width, seen, height * width, prod(shard), prod(shape[1:]),
            prod(shape), itemsize, (config.linking.drift + 1) ** 2, piece, map_piece,
        )  # fmt: skip


def _ingest(load: Load) -> int:
    return load.block * (2 * load.itemsize + 1) + 2 * load.piece


def _kept(piece: int) -> int:
    """What a source keeps of the pieces that it has decoded, of so many bytes each."""
    return max(CACHE_BYTES, piece) if piece > WIDEST else 0


def _flood(load: Load) -> int:
    tables = load.block // BASIN * FLOODED
    return 3 * load.seen + tables + 28 * load.core


def _fuse(load: Load) -> int:
    return 3 * load.seen + load.block // 2 + 28 * load.core


def _relabel(load: Load) -> int:
    return 28 * load.core


def _grow(load: Load) -> int:
    return 3 * load.seen + 60 * load.core


def _overlap(load: Load) -> int:
    return 60 * load.core


def _pyramid(load: Load) -> int:
    return 24 * load.shard


def _merge(load: Load) -> int:
    return load.section // BASIN * FLOODED * 6


def _stitch(load: Load) -> int:
    return load.section // SEGMENT * 200


def _drift(load: Load) -> int:
    return load.section // 4 * 14 + 1024 * load.shifts


def _link(load: Load) -> int:
    return load.voxels // SEGMENT * 60


BLOCKS: dict[str, Callable[[Load], int]] = {
    "ingest": _ingest,
    "flood": _flood,
    "fuse": _fuse,
    "relabel": _relabel,
    "grow": _grow,
    "overlap": _overlap,
    "unite": _grow,
    "pyramid": _pyramid,
    "merge": _merge,
    "stitch": _stitch,
    "settle": _stitch,
    "drift": _drift,
}
"""Bytes for each worker, of its block or section."""


def training_bytes(config: Config) -> int:
    """Bytes that training adds, in a step or at a checkpoint, whichever takes more.

    Always: the weights with their gradients, two moments, average and best, and all but gradients
    and best once more in the last state. A step: what the layers keep for the gradient (U-Net 83
    bytes in float32, DCAN 34 to 69: docs/log.md). A checkpoint: the next state, and its file,
    beside what the window of a validation has left in the heap.
    """
    given, width = config.training, config.model.width
    weights = WEIGHTS * width**2 // 64**2
    step = 96 * given.batch * given.crop**2 * width
    checkpoint = 36 * weights + 24 * VALIDATED**2 * width
    return 40 * weights + max(step, checkpoint)


def window_bytes(config: Config) -> int:
    """Bytes of the activations of one window, in the layers that hold most of them."""
    return 16 * window_side(config) ** 2 * config.model.width


def window_side(config: Config) -> int:
    """Pixels along a window of the network."""
    return config.prediction.tile + 2 * config.prediction.halo


def step_bytes(
    stage: str, config: Config, load: Load, workers: int, processes: int = 1
) -> int | None:
    """Peak bytes of a job of `stage` with `workers`; None for stages that hold next to nothing.

    `processes`: of a training, one a GPU. The labelled sections that training and calibration
    hold beside are not counted.
    """
    if stage in BLOCKS:
        kept = _kept(load.piece) if stage == "ingest" else 0
        return PROCESS + KERNELS + kept + workers * BLOCKS[stage](load)
    if stage == "link":
        return PROCESS + KERNELS + _link(load)
    held = _beside_network(stage, config, load, workers)
    if held is None:
        return None
    return (PROCESS + KERNELS + NETWORK + held) * (processes if stage == "train" else 1)


def _beside_network(stage: str, config: Config, load: Load, workers: int) -> int | None:
    """Bytes of a stage with the network, beside what it takes to have one."""
    if stage == "train" and trains(config):
        return training_bytes(config)
    if stage == "predict" and config.membrane:
        held = 12 * load.block + 25 * load.core + 2 * load.map_piece  # of a map in float64
        return _kept(load.map_piece) + workers * held
    if stage in ("resolve", "calibrate") and not config.membrane:
        return window_bytes(config)
    if stage == "predict":
        blocks = max(2, workers)  # one is read while the other is written
        waiting = (AHEAD + blocks) * 4 * window_side(config) ** 2
        return window_bytes(config) + waiting + blocks * 3 * load.block
    return None
