"""Peaks of the steps, each in a process of its own, against what is predicted for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dcan.config import load
from dcan.geometry import Box
from dcan.ops import phantom
from dcan.steps.memory import BLOCKS, MIB, VALIDATED, Load, step_bytes

SHAPE = (8, 1536, 1536)
PEAK = """
import pathlib, sys
from dcan.cli import main
code = main(sys.argv[1:])
print(pathlib.Path("/proc/self/status").read_text())
raise SystemExit(code)
"""
STEPS = {
    **{name: "--batch 0/1" for name in ("ingest", "predict", "flood")},
    "merge": "",
    "fuse": "--batch 0/1",
    "stitch": "",
    "relabel": "--batch 0/1",
    "grow": "--batch 0/1",
    "settle": "",
    "drift": "",
    "overlap": "--batch 0/1",
    "link": "",
    "unite": "--batch 0/1",
    "pyramid": "--store neurites --after unite",
}


def run(program: list[str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=[(8, 768, 1536)])
def peaks(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("memory")
    small = (SHAPE[0], SHAPE[1] // 2, SHAPE[2] // 2)
    membrane = np.tile(phantom.membrane(small, 0, Box.whole(small)), (1, 2, 2))
    np.save(folder / "map.npy", membrane)
    np.save(folder / "wide.npy", membrane / 255)  # float64, which takes most
    values = {
        "volume": {
            "name": "memory",
            "source": str(folder / "map.npy"),
            "voxel_size": [50, 4, 4],
            "missing": list(phantom.missing_sections(small, 0)),
        },
        "membrane": {"source": str(folder / "wide.npy")},
        "segmentation": {"sigma": 1.5, "depth": 8, "w_f": 0.7, "t": 0.3},
        "labels": {"grow": True},
        "blocks": {"shape": list(request.param)},
        "storage": {"shard": [8, 768, 768]},
        "output": str(folder),
    }
    config = folder / "volume.yaml"
    config.write_text(yaml.safe_dump(values))
    for verb in ("probe", "allocate", "calibrate"):
        run(["-m", "dcan.cli"], verb, "-c", str(config))
    found = {}
    for stage, options in STEPS.items():
        said = run(["-c", PEAK], stage, "-c", str(config), *options.split())
        held = re.search(r"VmHWM:\s+(\d+) kB", said)
        assert held
        found[stage] = int(held[1]) * 1024
        if "--batch" in options:
            run(["-m", "dcan.cli"], "seal", "-c", str(config), "--stage", stage)
        if stage == "ingest":
            run(["-m", "dcan.cli"], "survey", "-c", str(config))
    return config, found


def test_no_step_takes_more_than_predicted_nor_much_less(
    peaks: tuple[Path, dict[str, float]],
) -> None:
    path, measured = peaks
    config = load(path)
    held = Load.of(config, SHAPE, 1)
    assert set(measured) == {*BLOCKS, "predict", "link"}
    shares = {}
    for stage, peak in measured.items():
        predicted = step_bytes(stage, config, held, 1)
        assert predicted is not None
        shares[stage] = peak / predicted
    print({stage: (round(peak / MIB), round(shares[stage], 2)) for stage, peak in measured.items()})
    assert max(shares.values()) <= 1
    assert min(shares.values()) > 0.4


@pytest.mark.parametrize(
    ("model", "crop", "batch"),
    [
        ({"kind": "unet", "width": 24}, 256, 6),  # which keeps more of its layers than DCAN
        ({"width": 64}, 32, 1),  # where a checkpoint takes more than a step
    ],
    ids=["layers", "weights"],
)
def test_training_takes_no_more_than_predicted_nor_much_less(
    tmp_path: Path, model: dict[str, object], crop: int, batch: int
) -> None:
    values = {
        "volume": {"name": "trained", "source": "phantom", "voxel_size": [50, 4, 4]},
        "phantom": {"shape": [4, 256, 256], "seed": 1},
        "truth": {"source": "phantom", "kind": "neurites", "sections": "0:4", "validation": "3:4"},
        "model": model,
        "training": {
            **{"steps": 3, "crop": crop, "batch": batch, "precision": "float32", "threads": 1},
            "checkpoint_every": 1,
        },
        "output": str(tmp_path),
    }
    path = tmp_path / "volume.yaml"
    path.write_text(yaml.safe_dump(values))
    before = ("probe", "allocate", "ingest --batch 0/1", "seal --stage ingest", "survey", "truth")
    for verb in before:
        run(["-m", "dcan.cli"], *verb.split(), "-c", str(path))
    said = run(["-c", PEAK], "train-member", "-c", str(path), "--member", "0")
    held = re.search(r"VmHWM:\s+(\d+) kB", said)
    assert held
    config = load(path)
    predicted = step_bytes("train", config, Load.of(config, (4, 256, 256), 1), 1)
    assert predicted
    assert 0.5 < int(held[1]) * 1024 / predicted <= 1, (held[0], predicted >> 10)


def test_the_window_of_a_validation_is_as_large_as_it_is_planned() -> None:
    from dcan.net.model import STRIDE, Architecture
    from dcan.net.networks import reach
    from dcan.net.validation import TILE

    halos = [-(-reach(Architecture(kind=kind)) // STRIDE) * STRIDE for kind in ("dcan", "unet")]
    assert TILE + 2 * max(halos) <= VALIDATED


def test_memory_follows_the_block_and_not_the_volume() -> None:
    from dcan.config import parse

    plain = {"volume": {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4]}}
    config = parse(plain, "test")
    small, large = (Load.of(config, (depth, 16384, 16384), 1) for depth in (64, 4096))
    wide = Load.of(config, (64, 32768, 32768), 1)
    for stage in ("ingest", "flood", "fuse", "relabel", "grow", "overlap", "unite", "pyramid"):
        one = step_bytes(stage, config, small, 1)
        assert one == step_bytes(stage, config, large, 1) == step_bytes(stage, config, wide, 1)
        two = step_bytes(stage, config, small, 2)
        assert one is not None
        assert two is not None
        assert one < two < 2 * one
    for stage in ("merge", "stitch", "settle", "drift"):
        one = step_bytes(stage, config, small, 1)
        assert one == step_bytes(stage, config, large, 1), "a section at a time"
        assert one != step_bytes(stage, config, wide, 1)
