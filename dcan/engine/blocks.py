"""Run the blocks of a stage on Dask, in a bounded window.

No graph over the volume: futures of independent tasks, a few more than there are workers at
any time, so memory stays flat for any number of blocks. A task opens what it reads by
itself and returns a small record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from dcan.errors import DcanError

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2  # tasks waiting for each worker, so that none idles while the driver records
_log = logging.getLogger("dcan")


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[object]:
    # Imported here because a job without anything to do should not wait a second for it.
    import dask
    from distributed import Client, LocalCluster

    dask.config.set(
        {"distributed.admin.tick.limit": "1h", "distributed.scheduler.allowed-failures": 0}
    )
    if scheduler is not None:
        try:
            with Client(scheduler, timeout="30s") as client:
                yield client
        except (OSError, TimeoutError, ValueError) as error:
            raise DcanError(
                f"engine.scheduler {scheduler}: no Dask scheduler answers ({error}): start one, "
                "or set engine.scheduler to null to use the job's own threads"
            ) from None
        return
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers,
            processes=False,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _failure(stage: str, failed: dict[str, BaseException]) -> DcanError:
    key, error = next(iter(failed.items()))
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    why = str(error) if isinstance(error, DcanError) else f"{type(error).__name__}: {error}"
    return DcanError(
        f"{stage}: block {key}{more} failed: {why} (what is done is kept; mend the cause and "
        "give the same snakemake command again)"
    )


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
    at an address. After a failure no new item is started, those under way are still
    yielded, and then DcanError names what failed.
    """
    from distributed import as_completed

    waiting = iter(items)
    failed: dict[str, BaseException] = {}
    with _client(workers, scheduler) as client:
        under_way = {}

        def submit(count: int) -> list[object]:
            futures = []
            for item in islice(waiting, count):
                future = client.submit(work, item, pure=False)  # type: ignore[attr-defined]
                under_way[future] = item
                futures.append(future)
            return futures

        window = as_completed(submit(workers * (1 + AHEAD)))
        for future in window:
            item = under_way.pop(future)
            if future.status == "finished":
                yield future.result()
            else:
                failed[str(item)] = future.exception()
                _log.error("%s failed", item, exc_info=future.exception())
            future.release()
            if not failed:
                window.update(submit(1))
    if failed:
        raise _failure(stage, failed)
