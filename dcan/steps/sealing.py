"""Vouching for a stage whose blocks were done by several jobs; imports nothing heavy."""

from __future__ import annotations

import logging

from dcan.config import STAGES
from dcan.errors import DcanError
from dcan.steps.vouching import working
from dcan.steps.workspace import Workspace

_log = logging.getLogger("dcan")


def seal(space: Workspace, stage: str) -> None:
    """Write the receipt of a stage whose batches are done, after a look at all its data.

    Raises DcanError that names blocks which are not done, or for a stage without batches.
    """
    if stage not in STAGES or not STAGES[stage].batched:
        batched = ", ".join(name for name, spec in STAGES.items() if spec.batched)
        raise DcanError(f"--stage {stage} has no batches: give one of {batched}")
    with working(space, stage, "seal"):
        receipt = space.ledger(stage).seal([box.key for box in space.grid])
    skipped = sum(entry.skipped for entry in receipt.entries)
    counted = "".join(f", {count} {name}" for name, count in receipt.values.items())
    _log.info("%s: %d blocks, %d of them skipped%s", stage, len(receipt.entries), skipped, counted)
