"""The GPUs that a job computes on, which no other job of the user computes on meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dcan.engine.leases import lease
from dcan.net.device import visible
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import holding

SIMULATED = "DCAN_SIMULATED_GPUS"
"""As many devices are there by name, and the processor computes for them: for tests and drills."""

_log = logging.getLogger("dcan")


@contextmanager
def devices(record: Mapping[str, Any], count: int) -> Iterator[list[str]]:
    """Torch's names of the devices of a job, until the body ends.

    `record`: what the stage was resolved for: `device`, and the `name` of its kind where it
    matters. `count`: GPUs that the job was given; 0 counts as 1. On a CPU there is one device
    and nothing to lease. What Slurm gave a job is leased like any other: names are those of
    the hardware, and nobody else has them. The time that they are held for, without the wait, is
    kept with the job's attempt.

    Raises DcanError: fewer GPUs can be seen than were given.
    """
    found = _every(record)
    if found is None:
        yield ["cpu"]
        return
    with lease(list(found), max(1, count)) as held:
        _log.info("on %s", ", ".join(held))
        with holding(len(held)):
            yield [found[name] for name in held]


@contextmanager
def device(space: Workspace) -> Iterator[str]:
    """One device of the kind that the volume is predicted on."""
    with devices(space.receipt("resolve").values, 1) as (found,):
        yield found


def _every(record: Mapping[str, Any]) -> dict[str, str] | None:
    """The GPUs by a name that all processes share; None where there are none to share."""
    if record["device"] == "cuda":
        return visible(record.get("name"))
    simulated = os.environ.get(SIMULATED, "")
    if not simulated.isdecimal():
        return None
    return {f"simulated-{i}": "cpu" for i in range(int(simulated))}
