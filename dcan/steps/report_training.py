"""What the report says of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcan.net.augment import Section, Strength, shown
from dcan.net.networks import layout
from dcan.report import learned
from dcan.report.samples import SampleRow
from dcan.report.scored import Absent
from dcan.steps.truth import labelled
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import load_weights

SIDE, COUNT = 96, 3  # pixels of a sample in the report, and samples in a row


def _member(path: Path) -> learned.Member:
    """The curve of one network, and the step whose weights are used."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = tuple(
        learned.TrainingRecord(
            step=row["step"],
            loss=row["loss"],
            fused=row["fused"],
            auxiliary=row["heads"],
            learning_rate=row["learning_rate"],
            w_c=row["discount"],
            validation=row["validation"],
            rand_error=row["rand_error"],
        )
        for row in rows
    )
    chosen = load_weights(path.with_suffix(".safetensors"), layout).meta.step
    return learned.Member(path.stem, kept, chosen)


def training(space: Workspace) -> learned.Training | learned.GivenWeights | Absent:
    """The members that were trained for this volume, or where the map comes from."""
    if space.config.membrane:
        given = space.found_of("membrane")["content"]
        return Absent(f"the membrane map was made elsewhere (its content: {given})")
    receipt = space.receipt("train")
    if receipt.values["given"]:
        return learned.GivenWeights(
            ", ".join(receipt.values["members"]), ", ".join(receipt.values["sha256"])
        )
    volumes = space.receipt("truth").values["volumes"]
    every = {(z, fold) for v in volumes for z, fold in zip(v["sections"], v["folds"], strict=True)}
    folds = space.config.training.folds
    kept_back = sorted({z for z, fold in every if fold is not None})
    trained = sorted({z for z, fold in every if fold is None or folds > 1})
    members = tuple(_member(Path(p).with_suffix(".jsonl")) for p in receipt.values["members"])
    return learned.Training(members, tuple(trained), tuple(kept_back), _samples(space))


def _samples(space: Workspace) -> tuple[SampleRow, ...]:
    """Samples of the first section that was trained on, a row for each disturbance."""
    first = next(labelled(space, lambda fold: fold != 0))  # of those that member 0 learns
    strength = Strength(**space.config.training.augmentation.model_dump())
    section = Section(first.table[first.em], first.target)
    return tuple(
        SampleRow(name, tuple(_picture(s.em) for s in samples), tuple(s.target for s in samples))
        for name, samples in shown(section, SIDE, COUNT, strength)
    )


def _picture(em: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A normalised image for the eye: mean 128, 40 levels a deviation."""
    return np.clip(128 + 40 * em, 0, 255).astype(np.uint8)
