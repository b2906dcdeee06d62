"""Processes that train one network together: the weights of one process alone, to rounding."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from dcan.errors import DcanError
from dcan.net.model import Architecture
from dcan.net.state import TrainingState, handed, received
from dcan.net.team import fitting
from dcan.net.train import Material, Record, train
from tests.net.test_train import ARCHITECTURE, MATERIAL, RECIPE, section

TOGETHER = dataclasses.replace(RECIPE, batch=4, workers=1)
UNEVEN = Material([*MATERIAL.sections, section((20, 20), 5)], MATERIAL.validation)
"""The smallest section leaves much of a sample unknown, so processes have unequal shares."""


def trained(devices: list[str]) -> list[Record]:
    averaged = dataclasses.replace(TOGETHER, average=0.9)
    return list(train(ARCHITECTURE, averaged, UNEVEN, devices=devices))


def last(records: list[Record]) -> TrainingState:
    state = records[-1].state
    assert isinstance(state, TrainingState)
    return state


def test_two_train_what_one_does() -> None:
    alone, together = trained(["cpu"]), trained(["cpu", "cpu"])
    one, two = last(alone), last(together)
    for group in ("weights", "average", "best"):
        first, second = getattr(one, group), getattr(two, group)
        assert first.keys() == second.keys() == one.weights.keys()
        for name, tensor in first.items():
            assert torch.allclose(tensor, second[name], atol=2e-5), (group, name)
    assert any(not torch.equal(t, two.weights[name]) for name, t in one.weights.items())
    assert any(not torch.equal(t, two.average[name]) for name, t in two.weights.items())
    for single, shared in zip(alone, together, strict=True):
        assert np.isclose(single.loss, shared.loss, atol=1e-5)
        assert (single.validation is None) == (shared.validation is None)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("count", "batch", "used"), [(3, 4, 2), (4, 4, 4), (8, 6, 6), (5, 1, 1)])
def test_a_batch_is_dealt_out_evenly(count: int, batch: int, used: int) -> None:
    devices = [f"cuda:{i}" for i in range(count)]
    assert fitting(devices, batch) == devices[:used]


@pytest.fixture
def endless() -> Iterator[Iterator[Record]]:
    """A training that two are in the middle of."""
    long = dataclasses.replace(TOGETHER, steps=10**6, log_every=1)
    records = train(ARCHITECTURE, long, UNEVEN, devices=["cpu", "cpu"])
    next(records)
    yield records
    records.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_one_that_is_killed_ends_the_training_with_a_line(endless: Iterator[Record]) -> None:
    (other,) = multiprocessing.active_children()
    other.kill()
    with pytest.raises(DcanError, match=r"the process that trained on cpu ended \(status -9\)"):
        list(itertools.islice(endless, 1000))


def test_a_loss_that_is_not_finite_ends_all() -> None:
    wild = dataclasses.replace(TOGETHER, learning_rate=1e30, steps=50)
    with pytest.raises(DcanError, match="training diverged"):
        list(train(ARCHITECTURE, wild, UNEVEN, devices=["cpu", "cpu"]))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stopped", [False, True])
def test_the_first_leaves_a_group_when_nobody_is_left_to_wait_for(
    endless: Iterator[Record], monkeypatch: pytest.MonkeyPatch, *, stopped: bool
) -> None:
    """The end of a group waits for the others under NCCL, and they wait in the next sum."""
    left: list[int] = []
    destroy = torch.distributed.destroy_process_group

    def counted() -> None:
        left.append(len(multiprocessing.active_children()))
        destroy()

    monkeypatch.setattr(torch.distributed, "destroy_process_group", counted)
    if stopped:
        endless.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(OSError, match="full"):
            endless.throw(OSError("full"))  # type: ignore[attr-defined]
    assert left == [0]
    assert not torch.distributed.is_initialized()


def test_a_state_is_gone_on_from_by_all() -> None:
    half = next(r.state for r in trained(["cpu"]) if r.state is not None and r.step < RECIPE.steps)
    averaged = dataclasses.replace(TOGETHER, average=0.9)
    alone, together = (
        last(list(train(ARCHITECTURE, averaged, UNEVEN, half, devices)))
        for devices in (["cpu"], ["cpu", "cpu"])
    )
    for name, tensor in alone.average.items():
        assert torch.allclose(tensor, together.average[name], atol=2e-5), name


def test_a_state_is_handed_on_as_arrays() -> None:
    state = last(trained(["cpu"]))
    arrays, _ = given = handed(state)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    found = received(given)
    assert (found.step, found.best, found.average) == (state.step, {}, {})
    for group in ("weights", "optimiser"):
        first, second = getattr(state, group), getattr(found, group)
        assert first.keys() == second.keys() != set()
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


ALL = """
import dataclasses
import itertools
from dcan.net.train import train
from tests.net.test_team import ARCHITECTURE, TOGETHER, UNEVEN
long = dataclasses.replace(TOGETHER, steps=10**6, log_every=1)
if __name__ == "__main__":
    for _ in train(ARCHITECTURE, long, UNEVEN, devices=["cpu", "cpu"]):
        print("step", flush=True)
"""


def test_nobody_outlives_the_first() -> None:
    with subprocess.Popen([sys.executable, "-c", ALL], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "step\n"
        others = psutil.Process(first.pid).children(recursive=True)
        assert others
        os.kill(first.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(each.is_running() and each.status() != "zombie" for each in others):
        assert time.monotonic() < deadline
        time.sleep(0.2)


EARLY = """
from dcan.errors import DcanError
from dcan.net import team
team.GRACE = 0.5
def never(rank, meeting, device, parent):
    raise {error}
if __name__ == "__main__":
    with team.followed(never, (), ["cpu", "cpu"]) as meeting:
        with team.joined(team.Team(0, 2), meeting, "cpu"):
            print("together")
"""


@pytest.mark.parametrize(("error", "traced"), [('DcanError("no room")', 0), ('OSError("odd")', 1)])
def test_one_that_never_comes_is_not_waited_for(tmp_path: Path, error: str, traced: int) -> None:
    script = tmp_path / "early.py"
    script.write_text(EARLY.format(error=error))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "together" not in done.stdout
    said = "no room" if traced == 0 else "OSError: odd"
    assert f"the process that trained on cpu ended ({said})" in done.stderr
    assert (done.stderr.count("Traceback") > 0) == (traced > 0)


def test_more_devices_than_samples_are_not_used() -> None:
    single = dataclasses.replace(TOGETHER, batch=1, steps=2)
    found = list(train(Architecture(2), single, UNEVEN, devices=["cpu", "cpu"]))
    assert found[-1].step == 2
