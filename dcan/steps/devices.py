"""The GPUs that a job computes on: those that Slurm gave it, or ones that it leases."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dcan.engine.leases import lease
from dcan.errors import DcanError
from dcan.net.device import visible

SIMULATED = "DCAN_SIMULATED_GPUS"
"""As many devices are there by name, and the processor computes for them: for tests and drills."""

_log = logging.getLogger("dcan")


@contextmanager
def devices(record: Mapping[str, Any], count: int) -> Iterator[list[str]]:
    """Torch's names of the devices of a job, until the body ends.

    `record`: what the stage was resolved for: `device`, and the `name` of its kind where it
    matters. `count`: GPUs that the job was given; 0 counts as
    1. On a CPU there is one device and nothing to lease. Slurm hands out the GPUs of its jobs
    by itself; anywhere else concurrent jobs of a user take different ones.

    Raises DcanError: fewer GPUs can be seen than were given.
    """
    found = _every(record)
    if found is None:
        yield ["cpu"]
        return
    count = max(1, count)
    if "SLURM_JOB_GPUS" in os.environ:
        if len(found) < count:
            raise DcanError(
                f"{count} GPUs were asked for, {len(found)} of the kind {record.get('name')} can "
                "be seen in this Slurm job: ask for as many in gres"
            )
        yield list(found.values())[:count]
        return
    with lease(list(found), count) as held:
        _log.info("on %s", ", ".join(held))
        yield [found[name] for name in held]


def _every(record: Mapping[str, Any]) -> dict[str, str] | None:
    """The GPUs by a name that all processes share; None where there are none to share."""
    simulated = int(os.environ.get(SIMULATED, "0"))
    if simulated:
        return {f"simulated-{i}": "cpu" for i in range(simulated)}
    return visible(record.get("name")) if record["device"] == "cuda" else None
