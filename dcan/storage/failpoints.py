"""Places where a test may end the run, as a power cut would, or slow it, to show that it goes on.

`DCAN_FAILPOINT=STAGE:N` kills the whole process group at the N-th storage operation of a
job of that stage. `STAGE:N:SECONDS` makes that operation and those after it take so much
longer, as a storage that is overloaded. A worker of a Dask scheduler works for no stage: its
STAGE is empty. Unset, as in every ordinary run, nothing here does anything.
"""

from __future__ import annotations

import os
import signal
import time
from itertools import count

_operations = count(1)
_stage = ""


def enter(stage: str) -> None:
    """Say which stage this process works for."""
    global _stage  # noqa: PLW0603  (one process works for one stage)
    _stage = stage


def storage_operation() -> None:
    """Called before every write that matters: shards, tables, journals, receipts, weights."""
    wanted = os.environ.get("DCAN_FAILPOINT")
    if wanted is None:
        return
    stage, number, *slow = wanted.split(":")
    if stage != _stage or (operation := next(_operations)) < int(number):
        return
    if slow:
        time.sleep(float(slow[0]))
    elif operation == int(number):
        os.killpg(os.getpgid(0), signal.SIGKILL)
