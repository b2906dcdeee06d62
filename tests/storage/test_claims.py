"""Claims: one worker at a time, and a dead one never stands in the way."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from dcan.errors import DcanError
from dcan.storage import claims
from dcan.storage.claims import claim

HOLDER = """
import sys, time
from pathlib import Path
from dcan.storage.claims import claim
with claim(Path(sys.argv[1]), "ingest of x", 0):
    print("held", flush=True)
    sys.stdin.readline()
"""

RACER = """
import sys, time
from pathlib import Path
from dcan.errors import DcanError
from dcan.storage.claims import claim
for line in sys.stdin:
    path, start = line.split()
    time.sleep(max(0, float(start) - time.time()))
    try:
        with claim(Path(path), "ingest of x", 0):
            print("won", flush=True)
            sys.stdin.readline()
    except DcanError:
        print("lost", flush=True)
        sys.stdin.readline()
"""

Process = subprocess.Popen[str]


def python(code: str, *arguments: object) -> Process:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: Process, text: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


@contextmanager
def ending(*processes: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts" / "ingest" / "batch-0-of-1.claim"


def held(path: Path, **changed: Any) -> None:
    """A claim as another would have left it; by default of a living process."""
    parent = psutil.Process(1)
    plain = {"host": socket.gethostname(), "pid": 1, "started": parent.create_time(), "job": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain | changed))


def refused(path: Path, wait: float = 0) -> str:
    with pytest.raises(DcanError) as caught, claim(path, "ingest of x", wait):
        pytest.fail("two hold the claim")
    return str(caught.value)


def test_a_claim_says_who_holds_it_and_is_gone_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with claim(path, "ingest of x"):
        holder = json.loads(path.read_text())
        assert holder["pid"] == os.getpid()
        assert holder["host"] == socket.gethostname()
        assert holder["started"] == pytest.approx(psutil.Process().create_time())
        assert holder["job"] == "77"
    assert not path.exists()


def test_is_gone_after_a_body_that_fails(path: Path) -> None:
    with pytest.raises(KeyError), claim(path, "ingest of x"):
        raise KeyError
    assert not path.exists()


def test_a_second_process_is_refused_naming_host_and_process(path: Path) -> None:
    holder = python(HOLDER, path)
    with ending(holder):
        assert line(holder) == "held"
        refusal = refused(path)
        assert f"process {holder.pid} on {socket.gethostname()}" in refusal
        assert refusal.startswith("ingest of x is being worked on by ")
        say(holder)
        holder.wait(10)
    with claim(path, "ingest of x", 0):
        pass


def test_this_process_is_refused_too(path: Path) -> None:
    with claim(path, "ingest of x", 0):
        assert f"process {os.getpid()} " in refused(path)
        with claim(path.with_name("batch-1-of-2.claim"), "ingest of x", 0):
            pass
        assert path.exists()


def test_a_refusal_names_the_slurm_job(path: Path) -> None:
    held(path, job="123")
    assert "Slurm job 123" in refused(path)


def test_a_killed_holder_frees_its_claim_at_once(path: Path) -> None:
    holder = python(HOLDER, path)
    with ending(holder):
        assert line(holder) == "held"
        holder.send_signal(signal.SIGKILL)
        time.sleep(0.2)
        assert path.exists()
        with claim(path, "ingest of x", 0):  # a zombie until its parent looks
            assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "changed",
    [
        {"pid": 2**22 + 1},
        {"started": 1.0},
        {"pid": None},
        {"started": None},
        {"pid": "x"},
        {"pid": 10**30},
        {"pid": -1},
    ],
    ids=str,
)
def test_the_claim_of_a_dead_process_is_taken_over(path: Path, changed: dict[str, Any]) -> None:
    held(path, **changed)
    with claim(path, "ingest of x", 0):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", '{"host": "a', "[]", "3", "\0\0\0", "[" * 9999, "\udcff"])
def test_a_torn_claim_is_nobodys(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with claim(path, "ingest of x", 0):
        pass


def test_another_host_lives_while_it_touches_its_claim(path: Path) -> None:
    held(path, host="another-host")
    assert "on another-host" in refused(path)
    old = time.time() - claims.SILENCE + 20
    os.utime(path, (old, old))
    assert "on another-host" in refused(path)
    old = time.time() - claims.SILENCE - 20
    os.utime(path, (old, old))
    with claim(path, "ingest of x", 0):
        pass


def test_a_silent_holder_on_another_host_is_waited_for_until_its_claim_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PAUSE", 0.05)
    monkeypatch.setattr(claims, "SILENCE", 1.5)
    held(path, host="another-host")
    began = time.monotonic()
    with claim(path, "ingest of x", 0.3):
        assert 1 < time.monotonic() - began < 5
    held(path, host="another-host")
    threading.Timer(0.2, os.utime, [path]).start()
    began = time.monotonic()
    assert "on another-host" in refused(path, 0.4)
    assert time.monotonic() - began < 1


def test_silence_is_measured_by_the_clock_of_the_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(path, host="another-host")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * claims.SILENCE)
    assert "on another-host" in refused(path)


def test_a_holder_touches_its_claim_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.02)
    with claim(path, "ingest of x", 0):
        for _ in range(3):
            os.utime(path, (1, 1))
            time.sleep(0.2)
            assert path.stat().st_mtime > 1
        held(path, host="another-host")  # taken over while this process was suspended
        os.utime(path, (1, 1))
        time.sleep(0.2)
        assert path.stat().st_mtime == 1
    assert json.loads(path.read_text())["host"] == "another-host", "and it is not ours to remove"


def test_a_claim_that_vanishes_harms_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []

    def stale(touched: Path) -> None:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(threading, "excepthook", raised.append)
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claim(path, "ingest of x", 0):
        with monkeypatch.context() as patched:
            patched.setattr(os, "utime", stale)
            time.sleep(0.1)
        path.unlink()
        (path.parent / "claims.lock").unlink()
        path.parent.rmdir()
        time.sleep(0.1)
    assert raised == []


def test_waits_for_a_holder_that_ends_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "dcan")
    monkeypatch.setattr(claims, "PAUSE", 0.05)
    held(path)
    threading.Timer(0.4, path.unlink).start()
    began = time.monotonic()
    with claim(path, "ingest of x", 20):
        assert 0.3 < time.monotonic() - began < 5
    assert [r.message for r in caplog.records] == [
        f"ingest of x is being worked on by process 1 on {socket.gethostname()}: waiting up to 20 s"
    ]


def test_waits_no_longer_than_it_says(path: Path) -> None:
    held(path)
    began = time.monotonic()
    refused(path, 0.7)
    assert 0.6 < time.monotonic() - began < 3


def test_two_racing_for_a_dead_holders_claim_have_one_winner(tmp_path: Path) -> None:
    racers = [python(RACER), python(RACER)]
    with ending(*racers):
        for number in range(25):
            path = tmp_path / str(number) / "x.claim"
            held(path, started=1.0)
            start = time.time() + (1.0 if number == 0 else 0.03)
            for racer in racers:
                say(racer, f"{path} {start}")
            assert sorted(line(racer) for racer in racers) == ["lost", "won"]
            for racer in racers:
                say(racer)


def test_looking_and_writing_are_one_step(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads, each slow between looking and writing: one wins, even so."""
    held(path, started=1.0)
    real = claims._holder
    monkeypatch.setattr(claims, "_holder", lambda p: (real(p), time.sleep(0.05))[0])
    won: list[int] = []
    together = threading.Barrier(8)
    done = threading.Event()

    def race(number: int) -> None:
        together.wait()
        try:
            with claim(path, "ingest of x", 0):
                won.append(number)
                done.wait(10)
        except DcanError:
            return

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    done.set()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_file_system_without_locks_is_said_and_used(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(descriptor: int, what: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with claim(path, "ingest of x", 0):
        assert path.exists()
    assert "has no locks" in caplog.text


def test_a_file_system_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "receipts").touch()
    with (
        pytest.raises(DcanError, match=r"cannot write .*receipts"),
        claim(tmp_path / "receipts" / "ingest" / "a.claim", "ingest of x", 0),
    ):
        pytest.fail("held")
