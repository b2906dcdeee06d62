"""The engine: every block once, few at a time, and an end that is quick and names the block."""

from __future__ import annotations

import gc
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from dcan.engine import blocks, cluster
from dcan.engine.blocks import AHEAD, over, run
from dcan.errors import DcanError


@dataclass(frozen=True)
class Unit:
    """An item with a name, as blocks have."""

    number: int

    @property
    def key(self) -> str:
        return f"unit-{self.number}"


def double(unit: Unit) -> int:
    return 2 * unit.number


def units(count: int) -> list[Unit]:
    return [Unit(number) for number in range(count)]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """A client of Dask that could not connect must not be collected while another is made."""
    yield
    gc.collect()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_every_item_is_done_once(workers: int, count: int) -> None:
    done: list[int] = []

    def work(unit: Unit) -> int:
        done.append(unit.number)
        return double(unit)

    found = list(run("fuse", work, units(count), workers=workers))
    assert sorted(found) == [2 * number for number in range(count)]
    assert sorted(done) == list(range(count))


def test_results_come_in_the_order_in_which_they_finish() -> None:
    gate = threading.Event()

    def work(unit: Unit) -> int:
        if unit.number == 0:
            assert gate.wait(20)
        return unit.number

    found = []
    for number in run("fuse", work, units(12), workers=2):
        found.append(number)
        if len(found) == 11:
            gate.set()
    assert found[-1] == 0
    assert sorted(found) == list(range(12))


def test_items_run_side_by_side_on_as_many_threads_as_there_are_workers() -> None:
    together, most, lock = [0], [0], threading.Lock()

    def work(unit: Unit) -> None:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.05)
        with lock:
            together[0] -= 1

    list(run("fuse", work, units(12), workers=3))
    assert most[0] == 3


def test_dask_looks_at_itself_and_at_its_tasks_no_more_than_a_few_times_a_second() -> None:
    with cluster.threads(2) as client:
        servers = [client.cluster.scheduler, *client.cluster.workers.values()]
        calls = {
            name: 1000 / call.callback_time
            for server in servers
            for name, call in server.periodic_callbacks.items()
            if call.is_running()
        }
    assert calls
    assert max(calls.values()) < 5, calls


def test_no_more_items_are_drawn_than_the_window_holds() -> None:
    workers, drawn, done, widest = 2, 0, 0, 0

    def items() -> Iterator[Unit]:
        nonlocal drawn, widest
        for unit in units(60):
            drawn += 1
            widest = max(widest, drawn - done)
            yield unit

    for _ in run("fuse", double, items(), workers=workers):
        done += 1
    assert done == drawn == 60
    assert workers < widest <= workers * (1 + AHEAD)


def test_a_slow_driver_is_not_run_ahead_of() -> None:
    started: list[int] = []

    def work(unit: Unit) -> int:
        started.append(unit.number)
        return unit.number

    results = run("fuse", work, units(60), workers=2)
    next(results)
    time.sleep(0.3)
    assert len(started) <= 2 * (1 + AHEAD)
    results.close()  # type: ignore[attr-defined]


def test_a_failure_names_the_block_and_its_reason() -> None:
    def work(unit: Unit) -> int:
        if unit.number == 3:
            raise DcanError("store x, box y, is damaged: mend it")
        return unit.number

    with pytest.raises(DcanError) as caught:
        list(run("fuse", work, units(5), workers=1))
    line = str(caught.value)
    assert line.startswith("fuse: block unit-3 failed: store x, box y, is damaged: mend it")
    assert "give the same snakemake command again" in line


def test_an_item_without_a_name_is_shown() -> None:
    def work(number: int) -> int:
        raise KeyError(number)

    with pytest.raises(DcanError, match="drift: block 7 failed: KeyError: 7"):
        list(run("drift", work, [7], workers=1))


def test_a_defect_keeps_its_traceback_and_a_refusal_has_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def defect(unit: Unit) -> int:
        return 1 // unit.number

    def refusal(unit: Unit) -> int:
        raise DcanError("no")

    for work in (defect, refusal):
        with pytest.raises(DcanError):
            list(run("fuse", work, units(1), workers=1))
    first, second = (r for r in caplog.records if r.name == "dcan")
    assert "in defect" in logging.Formatter().format(first)
    assert "Traceback" not in logging.Formatter().format(second)
    assert "unit-0" in second.getMessage()


def test_after_a_failure_nothing_new_is_started_and_the_rest_is_kept() -> None:
    started: list[int] = []
    failed, together = threading.Event(), threading.Barrier(3)

    def work(unit: Unit) -> int:
        started.append(unit.number)
        together.wait(20)
        if unit.number == 1:
            failed.set()
            raise DcanError("no")
        assert failed.wait(20)
        time.sleep(0.5)  # under way while the failure gets about
        return unit.number

    kept: list[int] = []
    with pytest.raises(DcanError, match="unit-1 failed"):
        kept.extend(run("fuse", work, units(40), workers=3))
    assert sorted(started) == [0, 1, 2]
    assert sorted(kept) == sorted(set(started) - {1})


def test_several_failures_are_counted() -> None:
    together = threading.Barrier(2)

    def work(unit: Unit) -> int:
        together.wait(20)
        raise DcanError("no")

    with pytest.raises(DcanError, match="and 1 more failed"):
        list(run("fuse", work, units(2), workers=2))


def test_a_consumer_that_stops_ends_the_run_without_waiting() -> None:
    started: list[int] = []

    def work(unit: Unit) -> int:
        started.append(unit.number)
        time.sleep(0 if unit.number == 0 else 5)
        return unit.number

    results = run("fuse", work, units(20), workers=2)
    assert next(results) == 0
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 3
    assert len(started) <= 3
    assert blocks._here == {}


def test_work_is_not_copied_into_its_tasks() -> None:
    """What a stage hands to its blocks may hold the tables of all of them."""

    class Heavy:
        def __call__(self, unit: Unit) -> int:
            return id(self)

        def __reduce__(self) -> Any:
            raise AssertionError("pickled")

    work = Heavy()
    assert set(run("fuse", work, units(9), workers=2)) == {id(work)}
    assert blocks._here == {}


def listening() -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_nothing_listens_but_on_the_loopback() -> None:
    before = listening()
    seen: set[str] = set()
    for _ in run("fuse", double, units(3), workers=1):
        seen |= listening()
    assert seen - before <= {"127.0.0.1"}
    assert before <= {"127.0.0.1"}


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
from dcan.engine.blocks import run
def work(item):
    print("under way", flush=True)
    time.sleep(120)
list(run("fuse", work, range(8), workers=2))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quickly(sent: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "under way"
        began = time.monotonic()
        process.send_signal(sent)
        assert process.wait(20) != 0
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.communicate()


REMOTE = """
import signal
import sys
import dask
from distributed import LocalCluster
if __name__ == "__main__":
    patience = None if sys.argv[2] == "none" else sys.argv[2]
    dask.config.set({"distributed.scheduler.no-workers-timeout": patience})
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0", memory_limit=0,
    ) as cluster:
        signal.signal(signal.SIGUSR1, lambda *_: cluster.scale(0))
        print(cluster.scheduler_address, flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def remote(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler in another process, with as many workers as asked for; and that process.

    After the number of workers comes how long it waits when there is none. SIGUSR1 ends them.
    """
    workers, patience = request.param
    script = tmp_path / "remote.py"
    script.write_text(REMOTE)
    process = subprocess.Popen(
        [sys.executable, script, str(workers), patience],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    )
    own = psutil.Process(process.pid)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), own
    finally:
        for each in (*own.children(recursive=True), own) if own.is_running() else ():
            each.kill()
        process.communicate()


@pytest.mark.parametrize("remote", [(2, "1 minute")], indirect=True)
def test_a_scheduler_that_is_given_runs_the_items_until_it_ends(
    remote: tuple[str, psutil.Process],
) -> None:
    from operator import neg

    address, process = remote
    found = list(run("fuse", neg, range(20), workers=2, scheduler=address))
    assert sorted(found) == list(range(-19, 1))
    with pytest.raises(DcanError, match="fuse: block 0 failed: TypeError"):
        list(run("fuse", len, [0], workers=1, scheduler=address))  # type: ignore[list-item]
    results = run("fuse", time.sleep, [0, 300, 300], workers=1, scheduler=address)
    next(results)
    for each in (process, *process.children(recursive=True)):
        each.kill()
    began = time.monotonic()
    with pytest.raises(DcanError, match="block 300"):
        list(results)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("remote", [(0, "1 minute")], indirect=True)
def test_a_scheduler_without_workers_is_refused(
    remote: tuple[str, psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcan.engine.cluster.PATIENCE", 1)
    with pytest.raises(DcanError, match=f"engine.scheduler {remote[0]}: it has no worker"):
        list(run("fuse", abs, range(3), workers=1, scheduler=remote[0]))


@pytest.mark.parametrize("remote", [(1, "1 s")], indirect=True)
def test_blocks_fail_when_the_last_worker_ended(remote: tuple[str, psutil.Process]) -> None:
    address, process = remote
    results = run("fuse", time.sleep, [0, 300, 300], workers=1, scheduler=address)
    next(results)
    process.send_signal(signal.SIGUSR1)
    with pytest.raises(DcanError, match="block 300"):
        list(results)


@pytest.mark.parametrize("remote", [(1, "none")], indirect=True)
def test_a_scheduler_that_would_wait_for_workers_without_end_is_refused(
    remote: tuple[str, psutil.Process],
) -> None:
    with pytest.raises(DcanError, match=f"engine.scheduler {remote[0]}: it would wait without end"):
        list(run("fuse", abs, range(3), workers=1, scheduler=remote[0]))


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "nowhere", "x://y:1"]
)
def test_a_scheduler_that_is_not_there_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcan.engine.cluster.PATIENCE", 1)
    with pytest.raises(DcanError, match=f"engine.scheduler {address}: no Dask scheduler answers"):
        list(run("fuse", abs, range(3), workers=1, scheduler=address))


def test_a_scheduler_without_encryption_is_refused_where_dask_is_to_have_it() -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(DcanError, match=r"answers \(encryption"),
    ):
        list(run("fuse", abs, range(3), workers=1, scheduler="tcp://127.0.0.1:9"))


@pytest.mark.parametrize("remote", [(1, "1 minute")], indirect=True)
def test_a_worker_of_another_environment_is_refused(
    remote: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    # beside the script of the fixture, where Python looks first
    (tmp_path / "dcan-0.0.1.dist-info").mkdir()
    described = "Metadata-Version: 2.1\nName: dcan\nVersion: 0.0.1\n"
    (tmp_path / "dcan-0.0.1.dist-info" / "METADATA").write_text(described)
    line = rf"engine.scheduler {remote[0]}: worker \S+ has dcan 0\.0\.1, this job has "
    with pytest.raises(DcanError, match=line):
        list(run("fuse", abs, range(3), workers=1, scheduler=remote[0]))


def test_an_error_of_the_items_is_not_called_one_of_the_scheduler() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the list of blocks")

    with pytest.raises(OSError, match="the list of blocks"):
        list(run("fuse", abs, items(), workers=1))


def test_over_gives_results_in_order_whatever_finishes_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 * (number % 3 == 0))
        return 2 * number

    for threads in (1, 3):
        assert list(over(work, range(20), threads)) == [2 * number for number in range(20)]


@pytest.mark.parametrize("threads", [1, 2])
def test_over_draws_no_more_than_its_window(threads: int) -> None:
    drawn, done, widest = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal drawn, widest
        for number in range(40):
            drawn += 1
            widest = max(widest, drawn - done)
            yield number

    for _ in over(str, items(), threads):
        done += 1
    assert done == drawn == 40
    assert widest == (1 if threads == 1 else threads * (1 + AHEAD))


@pytest.mark.parametrize("fails", [True, False])
def test_over_starts_nothing_more_after_a_failure_or_when_the_caller_stops(fails: bool) -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number:
            time.sleep(1)  # both threads are busy while the caller looks
        elif fails:
            raise DcanError("section 0 is damaged: mend it")
        return number

    results = over(work, range(100), 2)
    if fails:
        with pytest.raises(DcanError, match="section 0"):
            next(results)
    else:
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
    assert set(started) <= {0, 1, 2}, "six were drawn, two threads had time for three at most"
