"""A whole run over a volume of any size, on this machine: time, memory and bytes by stage.

    python -m benchmarks.scale FOLDER Z Y X [--cores N] [--stub] [--until STAGE]

The image is one tile of a phantom laid side by side, chunks that are links to those of one tile,
so that it takes no space and any size can be asked for. Sections differ within the depth of the
tile and repeat beyond it. The map is laid out likewise and given, or with `--stub` predicted by a
network of one convolution: tiles, halos, normalisation and storage, with next to no arithmetic.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import yaml
import zarr
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dcan.config import load
from dcan.geometry import Box, Triple
from dcan.ops import phantom
from dcan.steps.jobs import stages
from dcan.steps.record import benchmarks

ROOT = Path(__file__).parents[1]
TILE: Triple = (16, 1024, 1024)
NAME = "scale"
TERAVOXEL = 10**12


def laid_out(path: Path, tile: NDArray[np.uint8], shape: Triple) -> None:
    """Write a Zarr of `shape` that repeats `tile`; both in whole tiles."""
    array = zarr.create_array(path, shape=shape, chunks=TILE, dtype=tile.dtype, compressors=None)
    array[tuple(slice(0, length) for length in TILE)] = tile
    first = path / "c" / "0" / "0" / "0"
    for z, y, x in product(*(range(a // b) for a, b in zip(shape, TILE, strict=True))):
        chunk = path / "c" / str(z) / str(y) / str(x)
        chunk.parent.mkdir(parents=True, exist_ok=True)
        if chunk == first:
            continue
        try:
            os.link(first, chunk)
        except OSError as error:  # a file has 65,000 names at most on ext4: another for the next
            if error.errno != errno.EMLINK:
                raise
            shutil.copyfile(first, chunk)
            first = chunk


def stub() -> bytes:
    """An ONNX network that takes what is dark in the mean of 5 x 5 pixels for membrane."""
    kernel = np.full((1, 1, 5, 5), -4 / 25, np.float32)
    window = ["y", "x"]
    node = helper.make_node("Conv", ["em", "kernel", "bias"], ["map"], pads=[2, 2, 2, 2])
    places = [helper.make_tensor_value_info(n, 1, [1, 1, *window]) for n in ("em", "map")]
    bias = numpy_helper.from_array(np.array([-2], np.float32), "bias")
    weights = [numpy_helper.from_array(kernel, "kernel"), bias]
    graph = helper.make_graph([node], "stub", places[:1], places[1:], weights)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def mapped(folder: Path, shape: Triple, stubbed: bool) -> dict[str, object]:
    """Where the map comes from, as the configuration says it."""
    if not stubbed:
        tile = phantom.membrane(TILE, 0, Box.whole(TILE))
        laid_out(folder / "map.zarr", tile, shape)
        return {"membrane": {"source": str(folder / "map.zarr")}}
    (folder / "stub.onnx").write_bytes(stub())
    read = {"halo": 2, "normalisation": "section-mean-deviation", "output": "sigmoid"}
    return {
        "model": {"weights": str(folder / "stub.onnx"), "onnx": read, "width": 1},
        "prediction": {"tile": 1024, "halo": 64},
    }


def prepared(folder: Path, shape: Triple, stubbed: bool) -> Path:
    """The sources and the configuration of a run in `folder`."""
    if any(a % b for a, b in zip(shape, TILE, strict=True)):
        raise SystemExit(f"shape {shape}: give whole tiles of {TILE}")
    config = folder / "scale.yaml"
    if config.exists():
        begun = load(str(config))
        if (begun.volume.shape, begun.membrane is None) != (shape, stubbed):
            kind = "without" if begun.membrane else "with"
            raise SystemExit(
                f"{folder} holds a run of {begun.volume.shape} {kind} --stub: give the same, or "
                "another folder"
            )
        return config
    if folder.exists():
        raise SystemExit(f"{folder} exists, without a run to go on with: give another folder")
    folder.mkdir(parents=True)
    box = Box.whole(TILE)
    laid_out(folder / "em.zarr", phantom.render(TILE, 0, box).em, shape)
    missing = sorted(z for z in range(shape[0]) if z % TILE[0] in phantom.missing_sections(TILE, 0))
    given = {
        "volume": {
            "name": NAME,
            "source": str(folder / "em.zarr"),
            "voxel_size": [50, 4, 4],
            "shape": list(shape),
            "missing": missing,
        },
        **mapped(folder, shape, stubbed),
        "segmentation": {"sigma": 1.5, "depth": 8, "w_f": 0.7, "t": 0.3},
        "output": str(folder / "results"),
    }
    config.write_text(yaml.safe_dump(given, sort_keys=False))
    return config


@dataclass(frozen=True)
class Took:
    """The jobs of a stage: seconds on the clock and of cores, MiB of the largest."""

    jobs: int
    wall: float
    cpu: float
    memory: float


def took(root: Path, stage: str) -> Took | None:
    """What Snakemake has benchmarked of a stage."""
    rows = [row for _, row in benchmarks(root, stage)]
    if not rows:
        return None
    wall, cpu = (sum(row.get(key, 0.0) for row in rows) for key in ("s", "cpu_time"))
    return Took(len(rows), wall, cpu, max(row.get("max_rss", 0.0) for row in rows))


def size(path: Path) -> int:
    """Bytes that the files below a folder take."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def report(config: Path, shape: Triple) -> str:
    """Stages and stores, and each of them for a teravoxel in proportion."""
    loaded = load(str(config))
    root, factor = Path(loaded.output) / NAME, TERAVOXEL / prod(shape)
    lines = [
        f"{shape}, {prod(shape) / 1e9:.2f} Gvoxel",
        f"{'stage':18} {'jobs':>4} {'clock s':>8} {'core s':>8} {'MiB':>6} {'core s/Mvoxel':>14} "
        f"{'core h a teravoxel':>19}",
    ]
    for stage in stages(loaded):
        if found := took(root, stage):
            lines.append(
                f"{stage:18} {found.jobs:4} {found.wall:8.1f} {found.cpu:8.1f} {found.memory:6.0f} "
                f"{found.cpu * 1e6 / prod(shape):14.4f} {found.cpu * factor / 3600:19.1f}"
            )
    for part in sorted(path for path in root.iterdir() if path.is_dir()):
        taken = size(part)
        lines.append(
            f"{part.name:18} {taken / 1e9:8.2f} GB {taken / prod(shape):6.3f} bytes a voxel "
            f"{taken * factor / 1e12:6.2f} TB a teravoxel"
        )
    return "\n".join(lines)


def main() -> None:
    """Run, or go on with, a volume of the given size, and report."""
    parser = argparse.ArgumentParser("benchmarks.scale")
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("shape", type=int, nargs=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--stub", action="store_true", help="predict the map, by a stub network")
    parser.add_argument("--until", help="the last stage; all without")
    given = parser.parse_args()
    z, y, x = given.shape
    config = prepared(given.folder, (z, y, x), given.stub)
    command = ["snakemake", "--configfile", str(config), "--cores", str(given.cores)]
    command += ["--until", given.until] if given.until else []
    subprocess.run(command, cwd=ROOT, check=True)
    print(report(config, (z, y, x)))


if __name__ == "__main__":
    main()
