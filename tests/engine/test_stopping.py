"""SIGTERM: nothing new begins, what is under way is kept, and the end comes in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dcan.engine.blocks import AHEAD

START = """
import sys, time
from dcan.engine import stopping
from dcan.engine.blocks import run
from dcan.errors import Stopped
stopping.GRACE, stopping.END = 1, 3
def body():
    {body}
try:
    with stopping.on_sigterm():
        body()
except Stopped as end:
    print("ended:", end, flush=True)
    sys.exit(1)
"""

BLOCKS = """
    def work(item):
        print("begun", item, flush=True)
        time.sleep({seconds})
        return item
    def items():
        for item in range(400):
            print("drawn", item, flush=True)
            yield item
    for kept in run("fuse", work, items(), workers=2):
        print("kept", kept, flush=True)
"""

SWALLOWED = """
    try:
        print("begun", flush=True)
        time.sleep(60)
    except Exception:
        time.sleep(60)
"""

WRAPPED = """
    try:
        print("begun", flush=True)
        time.sleep(60)
    except BaseException as error:
        raise SystemError("a function returned a result with an exception set") from error
"""

STUCK = """
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""


@pytest.fixture
def stopped(request: pytest.FixtureRequest) -> Iterator[tuple[list[str], int, float]]:
    """Lines, exit status and seconds of a process that gets SIGTERM, twice, once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(body=request.param)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while not lines[-1].startswith("begun"):
            lines.append(process.stdout.readline())
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[0]
        yield ("".join(lines) + rest).splitlines(), process.returncode, time.monotonic() - began
    finally:
        process.kill()
        process.communicate()


def numbers(lines: list[str], word: str) -> list[str]:
    return sorted(line.split()[1] for line in lines if line.startswith(word))


@pytest.mark.parametrize("stopped", [BLOCKS.format(seconds=0.5)], indirect=True, ids=["body"])
def test_blocks_under_way_are_kept_and_no_other_begins(
    stopped: tuple[list[str], int, float],
) -> None:
    lines, status, seconds = stopped
    assert numbers(lines, "begun") == numbers(lines, "kept")
    assert 1 <= len(numbers(lines, "kept")) <= 2
    assert len(numbers(lines, "drawn")) <= 2 * (1 + AHEAD)
    assert lines[-1].startswith("ended: stopped by SIGTERM")
    assert "give the same snakemake command again" in lines[-1]
    assert status == 1
    assert seconds < 3


@pytest.mark.parametrize("stopped", [BLOCKS.format(seconds=60)], indirect=True, ids=["body"])
def test_a_long_block_is_waited_for_no_longer_than_its_grace(
    stopped: tuple[list[str], int, float],
) -> None:
    lines, status, seconds = stopped
    assert numbers(lines, "kept") == []
    assert lines[-1].startswith("ended: stopped by SIGTERM")
    assert status == 1
    assert 0.9 < seconds < 2.8


@pytest.mark.parametrize("stopped", [SWALLOWED, WRAPPED], indirect=True, ids=["python", "compiled"])
def test_outside_of_blocks_it_ends_at_once_and_nothing_takes_it_for_a_failure(
    stopped: tuple[list[str], int, float],
) -> None:
    lines, status, seconds = stopped
    assert lines[-1].startswith("ended: stopped by SIGTERM")
    assert status == 1
    assert seconds < 0.9


@pytest.mark.parametrize("stopped", [STUCK], indirect=True, ids=["body"])
def test_a_process_that_does_not_end_is_ended_without_a_word(
    stopped: tuple[list[str], int, float],
) -> None:
    lines, status, seconds = stopped
    assert lines == ["begun"]
    assert status == 1
    assert 2.5 < seconds < 5
