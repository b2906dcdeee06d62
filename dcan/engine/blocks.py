"""Run the blocks of a stage on Dask, in a bounded window.

No graph over the volume: futures of independent tasks, a few more than there are workers at
any time, so memory stays flat for any number of blocks. A task opens what it reads by
itself and returns a small record.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dcan.engine import stopping
from dcan.engine.heap import keep_freed_memory
from dcan.errors import DcanError

if TYPE_CHECKING:
    from distributed import Future

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # tasks waiting for each worker, so that none idles while the driver records
_log = logging.getLogger("dcan")

_here: dict[str, Callable[[Any], Any]] = {}


class _NotStarted:
    """What a task returns that came up after its run had ended, or was to."""


def _do_here(run_id: str, item: object) -> object:
    work = _here.get(run_id)
    if work is None or stopping.asked():
        return _NotStarted()
    try:
        return work(item)
    except BaseException:
        _here.pop(run_id, None)  # before this thread takes the next item
        raise


@contextmanager
def _named(work: Callable[[T], R]) -> Iterator[str]:
    """A name by which threads of this process find `work`, until it is taken from them.

    It may hold the tables of all blocks, which need not be copied into each task.
    """
    run_id = uuid.uuid4().hex
    _here[run_id] = work
    try:
        yield run_id
    finally:
        _here.pop(run_id, None)


def _key(item: object) -> str:
    return str(getattr(item, "key", item))


def _error(future: Future) -> BaseException | None:
    if future.status == "finished":
        return None
    if future.status != "error":
        return DcanError(f"Dask calls it {future.status}: the scheduler may have ended")
    error = cast(BaseException, future.exception())
    # Workers that died, or are not there: no defect of the block's own work.
    if type(error).__module__.startswith("distributed."):
        return DcanError(f"{error} (engine.scheduler: see the logs of its workers)")
    return error


def _log_failure(stage: str, key: str, error: BaseException) -> None:
    defect = None if isinstance(error, DcanError) else error
    _log.error("%s: block %s failed: %s", stage, key, error, exc_info=defect)


def _failure(stage: str, failed: dict[str, BaseException]) -> DcanError:
    key, error = next(iter(failed.items()))
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    why = str(error) if isinstance(error, DcanError) else f"{type(error).__name__}: {error}"
    return DcanError(
        f"{stage}: block {key}{more} failed: {why} (what is done is kept; mend the cause and "
        "give the same snakemake command again)"
    )


def over(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`work(item)` of every item, in their order, on `threads` threads beside this one.

    No more than 1 + AHEAD items for each thread are drawn and not yielded yet. After a
    failure, or when the caller stops, none of those that wait is started.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dcan-section")
    try:
        window = deque(pool.submit(work, item) for item in islice(waiting, threads * (1 + AHEAD)))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(work, item) for item in islice(waiting, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def run(
    stage: str,
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    scheduler: str | None = None,
) -> Iterator[R]:
    """Yield `work(item)` of every item, in the order in which they finish.

    `work` runs on `workers` threads of this process, or on the workers of the Dask scheduler
    at an address, and is then copied to them with each item. No more than 1 + AHEAD items for
    each worker are drawn and not yielded yet.

    After a failure no item is drawn, and on threads none of those drawn is started. Those
    under way are still yielded; then DcanError names what failed, by its `key` where it has one.
    After SIGTERM (`stopping.on_sigterm`) it is the same, and Stopped at the end.
    """
    # Imported here because a job without anything to do should not wait a second for it.
    from distributed import as_completed

    from dcan.engine import cluster

    keep_freed_memory()
    waiting = iter(items)
    failed: dict[str, BaseException] = {}
    dask = cluster.threads(workers) if scheduler is None else cluster.connected(scheduler)
    with _named(work) as run_id, dask as client, stopping.blocks():
        task = partial(_do_here, run_id) if scheduler is None else work
        under_way: dict[Future, T] = {}

        def start(count: int) -> list[Future]:
            futures = {client.submit(task, i, pure=False): i for i in islice(waiting, count)}
            under_way.update(futures)
            return list(futures)

        window = as_completed(start(workers * (1 + AHEAD)))
        for future in window:
            key = _key(under_way.pop(future))
            if error := _error(future):
                failed[key] = error
                _log_failure(stage, key, error)
            elif not isinstance(result := future.result(), _NotStarted):
                yield result
            future.release()
            if not (failed or stopping.asked()):
                window.update(start(1))
    if failed:
        raise _failure(stage, failed)
    if stopping.asked():
        raise stopping.refusal()
