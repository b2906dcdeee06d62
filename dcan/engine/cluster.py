"""The Dask that runs the blocks: threads of this process, or a scheduler that was started for it.

Imports distributed, which takes a second.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.threadpoolexecutor import ThreadPoolExecutor

from dcan.errors import DcanError

PATIENCE = 30  # seconds for a scheduler to answer, and to have a worker
LOOPBACK = "127.0.0.1:0"  # Dask's HTTP servers cannot be left out, and listen everywhere unasked
KERNELS = ("dcan", "numba", "scipy", "numcodecs")
"""What voxels depend on, beside numpy and Python, which Dask looks at unasked."""
QUIET = {
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.tick.interval": "1h",
    "distributed.admin.tick.limit": "1h",
    "distributed.worker.profile.enabled": False,
}
"""Its watch over machine, event loop and tasks, which nobody sees: 50 ms of CPU time a second."""


class _Threads(ThreadPoolExecutor):  # type: ignore[misc]
    """Threads that nobody waits for at the end: an interrupted run would wait half a minute."""

    def shutdown(self, wait: bool = True, timeout: float | None = None) -> None:
        super().shutdown(wait=False)


@contextmanager
def threads(workers: int) -> Iterator[Client]:
    """`workers` threads of this process; nothing listens but on the loopback."""
    with (
        dask.config.set(QUIET),
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers,
            processes=False,
            scheduler_kwargs={"dashboard": False, "dashboard_address": LOOPBACK},
            worker_dashboard_address=LOOPBACK,
            executor=_Threads(workers, thread_name_prefix="dcan-block"),
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def connected(scheduler: str) -> Client:
    """A client of the scheduler at an address, with TLS as Dask's configuration has it.

    Raises DcanError when none answers there, when it has no workers, when it would wait for
    them without end, or when one of them has another version than this process of Python, this
    package or a library: those that Dask looks at, and those of KERNELS.
    """
    asked = f"engine.scheduler {scheduler}"
    instead = "or set engine.scheduler to null to use the job's own threads"
    try:
        client = Client(scheduler, timeout=PATIENCE)
    # The last two are what Dask says of TLS files that are not named, and of TLS left out.
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise DcanError(
            f"{asked}: no Dask scheduler answers ({error}): start it, give this job the TLS files "
            f"of the scheduler in Dask's configuration, {instead}"
        ) from None
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
        wrong = _waiting(client) or _differing(client)
    except TimeoutError:
        client.close()
        raise DcanError(
            f"{asked}: it has no worker after {PATIENCE} s: start some, {instead}"
        ) from None
    if wrong:
        client.close()
        raise DcanError(f"{asked}: {wrong}, {instead}")
    return client


def _waiting(client: Client) -> str:
    """That the scheduler waits for good when its workers have ended; empty where it does not."""
    if client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.no_workers_timeout):
        return ""
    return (
        "it would wait without end for workers that ended: start it with "
        "distributed.scheduler.no-workers-timeout in its Dask configuration, or with "
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=600s"
    )


def _differing(client: Client) -> str:
    """What a worker has of another version than this process; empty when there is nothing."""
    found = client.get_versions(packages=KERNELS)
    ours = found["client"]["packages"]
    return next(
        (
            f"worker {address} has {name} {version}, this job has {ours[name]}: start it from the "
            "environment here"
            for address, worker in sorted(found["workers"].items())
            for name, version in worker["packages"].items()
            if version != ours[name]
        ),
        "",
    )
