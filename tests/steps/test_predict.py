"""The membrane map: the same bits whoever computes which block, on devices that are shared out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from dcan.config import write
from dcan.engine.leases import lease
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.model import Architecture
from dcan.net.networks import build, initialise, reach
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor, predict_section
from dcan.steps import ingest, probe
from dcan.steps import predict as predicting
from dcan.steps.devices import device, devices
from dcan.steps.predict import predict
from dcan.steps.resolve import predictor, resolve
from dcan.steps.sealing import seal
from dcan.steps.train import weights
from dcan.steps.workspace import Part, Workspace
from dcan.storage.attempts import attempts
from dcan.storage.checkpoints import Meta, save_weights
from dcan.storage.volumes import Store
from tests.steps.conftest import Make, noise

ARCHITECTURE = Architecture(2)


@pytest.fixture(autouse=True)
def _own_leases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def ready(make: Make, tmp_path: Path) -> Make:
    """A workspace in which all is done that comes before predict, with drawn weights."""

    def workspace(em: np.ndarray, **sections: Any) -> Workspace:
        model = build(ARCHITECTURE)
        initialise(model, 0)
        with torch.no_grad():
            for head in model.heads:
                head.convolution.bias.fill_(1.0)
        meta = Meta(
            architecture=ARCHITECTURE.plain(),
            recipe={"precision": "float32"},
            step=0,
            validation_loss=None,
            sections=(),
            halo=reach(ARCHITECTURE),
            versions={},
        )
        path = tmp_path / "drawn.safetensors"
        save_weights(path, model.state_dict(), meta)
        prediction = {"tile": 32, "halo": 56, "threads": 1, "precision": "float32"}
        given = {
            **{"model": {"weights": str(path)}, "prediction": prediction},
            **{"segmentation": {"sigma": 1, "depth": 4, "w_f": 0.7, "t": 0.3}},
        }
        space = make(em, **{**given, **sections})
        probe.probe(space)
        probe.allocate(space)
        ingest.ingest(space, Part(0, 1), 1)
        seal(space, "ingest")
        ingest.survey(space)
        weights(space)
        resolve(space)
        return space

    return workspace


def stored(space: Workspace) -> np.ndarray:
    return Store(space.root, "membrane.ome.zarr/0").read(Box.whole(space.shape))


@pytest.mark.parametrize(("gpus", "workers", "batches"), [(1, 1, (0,)), (2, 3, (1, 0))])
def test_any_devices_workers_and_batches_give_the_map_of_whole_sections(
    ready: Make,
    monkeypatch: pytest.MonkeyPatch,
    gpus: int,
    workers: int,
    batches: tuple[int, ...],
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "2")
    em = noise(5, 70, 40)
    space = ready(em)
    since = time.monotonic()
    for batch in batches:
        predict(space, Part(batch, len(batches)), workers, gpus)
    elapsed = time.monotonic() - since
    network = predictor(space)
    wanted = [predict_section(network, s, section_table(histogram(s)), 32, 56) for s in em]
    assert np.ptp(wanted) > 20
    assert np.array_equal(stored(space), wanted)
    records = [
        json.loads((space.root / "benchmarks" / f"predict-{batch}.json").read_text())
        for batch in batches
    ]
    assert sum(record["voxels"] for record in records) == em.size
    for record in records:
        assert record["devices"] == ["cpu"] * gpus
        assert record["voxels_per_second"] == record["voxels"] / record["seconds"] > 0
        assert 0 < record["busy"] <= 1
    tried = (space.root / "receipts" / "predict").glob("*.attempts")
    held = sum(last.gpu or 0.0 for *_, last in map(attempts, tried))
    assert sum(gpus * record["seconds"] for record in records) <= held + 0.01
    assert held < gpus * elapsed


def test_a_job_takes_a_device_that_no_other_has_and_says_which(
    ready: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "2")
    space = ready(noise(2, 32, 32))
    path = space.root / "config.yaml"
    write(space.config, path)
    with lease(["simulated-0", "simulated-1"], 1):
        done = subprocess.run(
            [sys.executable, "-m", "dcan.cli", "predict", "-c", str(path)],
            env={**os.environ},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "on simulated-1" in done.stderr
    assert "simulated-0" not in done.stderr


def test_a_network_that_cannot_be_made_ends_the_job_and_gives_its_device_back(
    ready: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "1")

    def refusing(*_: Any, **__: Any) -> Predictor:
        raise DcanError("too little memory")

    monkeypatch.setattr(predicting, "predictor", refusing)
    space = ready(noise(4, 64, 64))
    with pytest.raises(DcanError, match="too little memory"):
        predict(space, Part(0, 1), 2)
    with lease(["simulated-0"], 1, 0):
        pass


def test_a_block_that_fails_ends_the_job_and_gives_its_device_back(
    ready: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "1")

    def failing(em: torch.Tensor) -> torch.Tensor:
        return em[0, 0] * torch.nan

    monkeypatch.setattr(
        predicting, "predictor", lambda *_, **__: Predictor([failing], 8, threads=1)
    )
    with pytest.raises(DcanError, match="not finite"):
        predict(ready(noise(4, 64, 64)), Part(0, 1), 2)
    with lease(["simulated-0"], 1, 0):
        pass


def test_one_device_is_leased_for_maps_of_sections(
    ready: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "2")
    space, every = ready(noise(2, 32, 32)), ["simulated-0", "simulated-1"]
    with (
        lease(every[:1], 1),
        device(space),
        pytest.raises(DcanError, match="no 1 of 2"),
        lease(every, 1, 0),
    ):
        pass


def test_more_gpus_than_can_be_seen_and_simulated_ones_beside_real(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DCAN_SIMULATED_GPUS", "1")
    with pytest.raises(DcanError, match="2 GPUs are asked for and 1 can be seen"):
        devices({"device": "cpu"}, 2).__enter__()
    # a volume that was resolved for GPUs is never computed on the processor
    with pytest.raises(DcanError, match="1 GPUs are asked for and 0 can be seen"):
        devices({"device": "cuda", "name": "none such"}, 1).__enter__()


def test_blocks_are_on_the_jobs_own_devices_whatever_scheduler_there_is(ready: Make) -> None:
    nobody = {"engine": {"scheduler": "tcp://127.0.0.1:9"}}
    space = ready(noise(2, 32, 32))
    away = Workspace.of(
        space.config.model_copy(update={"engine": type(space.config.engine)(**nobody["engine"])})
    )
    predict(away, Part(0, 1), 1)
    assert np.ptp(stored(away)) > 0


def test_memory_is_flat_over_a_thousand_blocks(
    ready: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    own = psutil.Process()

    def stub(em: torch.Tensor) -> torch.Tensor:
        held.append(own.memory_info().rss)
        return torch.sigmoid(em[0, 0])

    monkeypatch.setattr(predicting, "predictor", lambda *_, **__: Predictor([stub], 8, threads=1))
    blocks = {"blocks": {"shape": [1, 128, 128]}, "storage": {"shard": [1, 128, 128]}}
    prediction = {"tile": 128, "halo": 8, "threads": 1}
    space = ready(noise(1000, 128, 128), **blocks, prediction=prediction)
    predict(space, Part(0, 1), 2)
    assert len(held) == 1000
    assert np.ptp(stored(space)) > 100
    # The tiles are 16 MB together, their windows 83 MB. Journal and scheduler keep some 6 kB
    # of each block.
    assert max(held[500:]) - max(held[100:200]) < 12e6
