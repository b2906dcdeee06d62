"""A process is known by its number and its start."""

from __future__ import annotations

import os
import subprocess
import sys

from dcan.storage.processes import lives, started


def test_this_process_lives_with_its_own_start_alone() -> None:
    assert lives(os.getpid(), started())
    assert lives(os.getpid(), round(started()))
    assert not lives(os.getpid(), started() - 60)
    assert not lives(os.getpid(), started() + 60)


def test_one_that_has_ended_does_not_live_even_before_its_parent_knows() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        begun = started(process.pid)
        assert lives(process.pid, begun)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not lives(process.pid, begun)
    assert not lives(process.pid, begun)


def test_a_number_that_no_process_can_have_does_not_live() -> None:
    for pid in (-1, 999_999_999, 1 << 80):
        assert not lives(pid, started())
