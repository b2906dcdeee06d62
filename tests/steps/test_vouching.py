"""What every stage does around its work: whom it waits for."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from dcan.errors import DcanError
from dcan.steps import vouching
from dcan.steps.vouching import working
from dcan.steps.workspace import Workspace
from dcan.storage import claims
from tests.steps.conftest import Make, noise


@pytest.fixture
def space(make: Make) -> Workspace:
    return make(noise(2, 8, 8))


@pytest.fixture
def held(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The claim of a process that lives."""
    monkeypatch.setattr(vouching, "WAIT", 0.2)
    monkeypatch.setattr(claims, "PAUSE", 0.05)
    path = space.root / "receipts" / "flood" / "batch-0-of-1.claim"
    path.parent.mkdir(parents=True)
    parent = os.getppid()
    started = psutil.Process(parent).create_time()
    holder = {"host": socket.gethostname(), "pid": parent, "started": started, "job": "7"}
    path.write_text(json.dumps(holder))
    return path


def test_a_job_of_slurm_waits_for_one_that_outlived_its_run(
    space: Workspace, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    threading.Timer(1, held.unlink).start()
    began = time.monotonic()
    with working(space, "flood", "batch-0-of-1"):
        assert time.monotonic() - began > 0.9


def test_elsewhere_it_leaves_soon_and_names_the_holder(
    space: Workspace, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    refusal = pytest.raises(DcanError, match="Slurm job 7: wait for it")
    with refusal, working(space, "flood", "batch-0-of-1"):
        pytest.fail("two are at it")
