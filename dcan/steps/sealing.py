"""Vouching for a stage whose blocks were done by several jobs; imports nothing heavy."""

from __future__ import annotations

from dcan.config import STAGES
from dcan.errors import DcanError
from dcan.steps.vouching import working
from dcan.steps.workspace import Workspace


def seal(space: Workspace, stage: str) -> None:
    """Write the receipt of a stage whose batches are done, after a look at all its data.

    Raises DcanError that names blocks which are not done, or for a stage without batches.
    """
    if stage not in STAGES or not STAGES[stage].batched:
        batched = ", ".join(name for name, spec in STAGES.items() if spec.batched)
        raise DcanError(f"--stage {stage} has no batches: give one of {batched}")
    with working(space, stage, "seal"):
        space.ledger(stage).seal([box.key for box in space.grid])
