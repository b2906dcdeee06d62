"""Two jobs never share a device, and a killed job's is free at once: with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcan.engine import leases
from dcan.engine.leases import lease
from dcan.errors import DcanError

HOLD = """
import sys, time
from dcan.engine.leases import lease
with lease(["one", "two"], int(sys.argv[1])) as held:
    print(*held, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def job(count: int = 1) -> subprocess.Popen[str]:
    """A process that holds devices until it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def held(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_jobs_take_different_devices_and_the_next_waits_for_one() -> None:
    with job() as first, job() as second:
        assert sorted(held(first) + held(second)) == ["one", "two"]
        with pytest.raises(DcanError, match="no 1 of 2 GPUs came"), lease(["one", "two"], 1, 0):
            pass
        third = job()
        time.sleep(0.5)
        assert third.poll() is None
        first.communicate("\n")
        found = held(third)
        assert len(found) == 1
        third.communicate("\n")
        second.communicate("\n")


def test_a_killed_jobs_device_is_free_at_once() -> None:
    with job(2) as process:
        assert held(process) == ["one", "two"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with lease(["one", "two"], 2, 0) as found:
            assert found == ["one", "two"]


def test_a_child_that_outlives_its_parent_holds_nothing() -> None:
    with lease(["one"], 1, 0):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with lease(["one"], 1, 0) as found:
            assert found == ["one"]
    finally:
        child.kill()
        child.wait()


def test_who_waits_for_two_holds_none_meanwhile() -> None:
    with (
        lease(["one", "two"], 1, 0) as first,
        pytest.raises(DcanError, match="no 2 of 2"),
        lease(["one", "two"], 2, 0.2),
    ):
        pass
    assert first == ["one"]
    with lease(["one", "two"], 1, 0), job() as other:
        assert held(other) == ["two"]
        other.communicate("\n")


def test_more_devices_than_there_are_is_refused_at_once() -> None:
    with pytest.raises(DcanError, match="2 GPUs are asked for and 1 can be seen"), lease(["a"], 2):
        pass


def test_a_folder_that_is_not_this_users_to_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.folder().write_text("in the way")
    with (
        pytest.raises(DcanError, match=r"cannot be kept in .*File exists: set TMPDIR"),
        lease("a", 1),
    ):
        pass
    leases.folder().unlink()
    leases.folder().symlink_to("/proc/1")
    with pytest.raises(DcanError, match=r"leased in|cannot be kept"), lease("a", 1):
        pass
    leases.folder().unlink()
    leases.folder().mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(leases, "folder", lambda: tmp_path)
    with pytest.raises(DcanError, match="it belongs to another user"), lease("a", 1):
        pass


def test_a_file_system_without_locks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(DcanError, match=r"cannot be leased in .*not implemented: set TMPDIR"),
        lease(["a", "b"], 1),
    ):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_are_not_paths(tmp_path: Path) -> None:
    with lease(["../../escape", "GPU/0"], 2, 0) as found:
        assert found == ["../../escape", "GPU/0"]
    assert [path.parent for path in tmp_path.rglob("*.lock")] == [leases.folder()] * 2
