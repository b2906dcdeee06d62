"""Prediction at full width: end to end against the network alone, precisions, backends, peers.

All on what `resolve` finds here, in one run and interleaved. The weights are drawn: they decide
no time. The matrix peak is that of torch's product of two matrices in the same precision.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stages import spent
from dcan.config import parse
from dcan.geometry import Box
from dcan.net.device import DTYPES
from dcan.net.model import Architecture
from dcan.net.networks import build, initialise, reach
from dcan.ops import phantom
from dcan.steps import ingest, predict, probe
from dcan.steps.mask import tissue_tiles
from dcan.steps.resolve import predictor, ready, resolve
from dcan.steps.sealing import seal
from dcan.steps.train import weights
from dcan.steps.workspace import Part, Workspace
from dcan.storage.checkpoints import Meta, save_weights

NETWORK = Architecture()
PEER = Architecture(kind="unet")
ROUNDS = 3
HALO = 64
PEAK = {"cpu": 3072, "cuda": 8192}  # side of the matrices
SIZES = {"cpu": ((3, 1024, 1024), 512), "cuda": ((32, 4096, 4096), 1024)}  # volume, tile


def drawn(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Weights from a seed."""
    model = build(architecture)
    initialise(model, 0)
    return dict(model.state_dict())


class Prediction:
    """A phantom's workspace that is ready for predict."""

    def __init__(self, folder: Path) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        shape, self.tile = SIZES[self.device]
        np.save(folder / "em.npy", phantom.render(shape, 0, Box.whole(shape)).em)
        meta = Meta(
            architecture=NETWORK.plain(),
            recipe={"precision": "float32"},
            step=0,
            validation_loss=None,
            sections=(),
            halo=reach(NETWORK),
            versions={},
        )
        save_weights(folder / "drawn.safetensors", drawn(NETWORK), meta)
        raw = {
            "volume": {
                **{"name": "bench", "source": str(folder / "em.npy"), "voxel_size": [50, 4, 4]},
                "missing": list(phantom.missing_sections(shape, 0)),
            },
            "model": {"weights": str(folder / "drawn.safetensors")},
            "prediction": {"tile": self.tile, "halo": HALO},
            "segmentation": {"sigma": 1.5, "depth": 8, "w_f": 0.7, "t": 0.3},
            "blocks": {"shape": [1, 1024, 1024]},
            "storage": {"shard": [1, 1024, 1024]},
            "output": str(folder),
        }
        space = Workspace.of(parse(raw, "the benchmark"))
        probe.probe(space)
        self.space = Workspace.of(space.config)
        probe.allocate(self.space)
        ingest.ingest(self.space, Part(0, 1), 1)
        seal(self.space, "ingest")
        ingest.survey(self.space)
        weights(self.space)
        resolve(self.space)
        self.record = dict(self.space.receipt("resolve").values)

    def end_to_end(self) -> None:
        """Read, predict, write and record every block, from nothing."""
        shutil.rmtree(self.space.root / "receipts" / "predict", ignore_errors=True)
        predict.predict(self.space, Part(0, 1), 2)

    def windows(self) -> list[Any]:
        """What the network sees of the whole volume, in memory."""
        whole = Box.whole(self.space.shape)
        return [seen for _, seen in predict._windows(self.space, tissue_tiles(self.space, whole))]

    def side(self, architecture: Architecture, **changed: str) -> Callable[[Any], object]:
        """One window through a network, by another backend or in another precision."""
        network = ready(architecture, [drawn(architecture)], self.record | changed)
        return lambda window: network.tile(window, HALO)


def operations(architecture: Architecture, side: int) -> float:
    """Floating point operations of one window, a product and a sum counted as two."""
    with torch.device("meta"):
        model = build(architecture)
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.empty(1, 1, side, side))
    return float(counter.get_total_flops())


def product(precision: str, device: str) -> Callable[[], object]:
    """The product of two matrices, whose speed is the peak."""
    side = PEAK[device]
    one, two = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))

    def multiply() -> None:
        torch.mm(one, two)
        if device == "cuda":
            torch.cuda.synchronize()

    return multiply


def whole(folder: Path) -> None:
    """End to end, against the network alone on the same windows."""
    bench = Prediction(folder)
    network, windows = predictor(bench.space), bench.windows()
    network.tile(windows[0], HALO)

    def alone() -> None:
        for window in windows:
            network.tile(window, HALO)

    pairs = [(spent(alone).wall, spent(bench.end_to_end).wall) for _ in range(ROUNDS + 1)][1:]
    one, two = (median(each) for each in zip(*pairs, strict=True))
    shown = ", ".join(str(bench.record[key]) for key in ("name", "backend", "precision"))
    voxels = len(windows) * bench.tile**2
    share = 1 - bench.tile**2 / (bench.tile + 2 * HALO) ** 2
    print(
        f"\nprediction at full width, {shown}: {voxels / two / 1e6:.3f} Mvoxel/s read, predicted "
        f"and written\n  {one / two:.1%} of the network alone on the same windows (aim 85%); the "
        f"halo is {share:.1%} of a window of {bench.tile} + 2 x {HALO}"
    )
    precisions(bench, windows[0])


def precisions(bench: Prediction, window: Any) -> None:
    """One window by each backend in each precision, and by the U-Net."""
    backends = (
        ["torch", "openvino"] if find_spec("openvino") and bench.device == "cpu" else ["torch"]
    )
    sides = {
        (backend, precision, "dcan"): bench.side(NETWORK, backend=backend, precision=precision)
        for backend in backends
        for precision in ("float32", "bfloat16")
    }
    best = str(bench.record["precision"])
    sides["torch", best, "unet"] = bench.side(PEER, backend="torch", precision=best)
    peaks = {precision: product(precision, bench.device) for precision in ("float32", "bfloat16")}
    torch.set_num_threads(int(bench.record["threads"]))
    rounds = [
        {
            **{key: spent(lambda s=side: s(window)).wall for key, side in sides.items()},
            **{key: spent(multiply).wall for key, multiply in peaks.items()},
        }
        for _ in range(ROUNDS + 1)
    ][1:]
    taken = {key: median(each[key] for each in rounds) for key in rounds[0]}
    reference = taken["torch", "float32", "dcan"]
    print(
        f"  {'network':8} {'backend':9} {'precision':9} {'TFLOP/s':>8} {'of peak':>8} {'speed':>7}"
    )
    for backend, precision, kind in sides:
        network = NETWORK if kind == "dcan" else PEER
        rate = operations(network, window.shape[-1]) / taken[backend, precision, kind]
        peak = 2 * PEAK[bench.device] ** 3 / taken[precision]
        speed = reference / taken[backend, precision, kind]
        numbers = f"{rate / 1e12:8.3f} {rate / peak:8.1%} {speed:6.2f}x"
        print(f"  {kind:8} {backend:9} {precision:9} {numbers}")
