"""Training as a generator: it yields records, the caller logs, saves or stops."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dcan.errors import DcanError
from dcan.net.augment import Labels, Section, border_of, sample, stream
from dcan.net.device import be_deterministic
from dcan.net.model import STRIDE, Architecture
from dcan.net.networks import reach
from dcan.net.recipe import Recipe
from dcan.net.rule import UNKNOWN, learning_rate
from dcan.net.state import Run, TrainingState, handed, received
from dcan.net.team import ALONE, Team, end_with, fitting, followed, joined
from dcan.net.validation import Judge

__all__ = ["Material", "Recipe", "Record", "TrainingState", "train"]

Batch = tuple[Tensor, Tensor]  # em (n, 1, crop, crop) float32, target (n, crop, crop) uint8


@dataclass(frozen=True, slots=True)
class Record:
    """What happened in the steps since the last record.

    `step`: steps done. `loss`, `fused`, `heads` (by name): means over those steps, nats.
    `learning_rate`, `discount`: of the last of them. `validation`, `rand_error`: loss and Rand
    error of the averaged weights on the validation sections, where they were computed.
    `state`: at checkpoints and at the end.
    `seconds`: wall time. `busy`: the share of it in which the device did not wait for samples.
    """

    step: int
    loss: float
    fused: float
    heads: dict[str, float]
    learning_rate: float
    discount: float
    seconds: float
    busy: float
    validation: float | None
    rand_error: float | None
    state: TrainingState | None


class _Clock:
    """Wall time since the start, and the share of it that was not spent waiting."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from 0."""
        self._began, self._waited = time.perf_counter(), 0.0

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, with the time that each is waited for counted."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def look(self) -> tuple[float, float]:
        """Seconds, and the busy share of them."""
        seconds = time.perf_counter() - self._began
        return seconds, 1 - self._waited / seconds


@dataclass(frozen=True, slots=True)
class Material:
    """What is trained on, and what the checkpoint is chosen on."""

    sections: Sequence[Section]
    validation: Sequence[Section]


def train(
    architecture: Architecture,
    recipe: Recipe,
    material: Material,
    state: TrainingState | None = None,
    devices: Sequence[str] = ("cpu",),
) -> Iterator[Record]:
    """Train to `recipe.steps`, from the start or from `state`; the last record has the result.

    The result is `state.best`. On the CPU a stopped and resumed training yields the records
    and weights of an undisturbed one, bit for bit (one machine class, versions, threads).
    A state that is already at `recipe.steps` yields nothing. Switches torch to deterministic
    algorithms and to `recipe.threads`.

    `devices`: torch's names. Of several, as many are used as the batch can be dealt out to
    evenly, each by a process of its own.

    Raises DcanError: nothing labelled, a state of another network, a loss that is not finite,
    or a process of several that ended.
    """
    _check(recipe, material.sections, material.validation)
    used = fitting(devices, recipe.batch)
    if len(used) == 1:
        yield from _fit(architecture, recipe, material, state, used[0], ALONE)
        return
    team, begun = Team(0, len(used)), handed(state) if state else None
    given = (len(used), architecture, recipe, Material(material.sections, ()), begun)
    with followed(_follow, given, used) as meeting, joined(team, meeting, used[0]):
        yield from _fit(architecture, recipe, material, state, used[0], team)


def _follow(rank: int, meeting: str, device: str, parent: int, size: int, *given: Any) -> None:
    """Train along in a process of its own; the first of the team keeps the records."""
    end_with(parent)
    architecture, recipe, material, begun = given
    team, state = Team(rank, size), received(begun) if begun else None
    with joined(team, meeting, device):
        for _ in _fit(architecture, recipe, material, state, device, team):
            pass


def _fit(
    architecture: Architecture,
    recipe: Recipe,
    material: Material,
    state: TrainingState | None,
    device: str,
    team: Team,
) -> Iterator[Record]:
    """The records of one process of a team."""
    torch.set_num_threads(recipe.threads)
    be_deterministic(torch.device(device))
    rule = recipe.resolved()
    run = Run(architecture, recipe, state, torch.device(device), team)
    judge = Judge(material.validation, -(-reach(architecture) // STRIDE) * STRIDE)
    clock = _Clock()
    losses: list[list[float]] = []
    for em, target in clock.waiting(_batches(recipe, material.sections, run.step, team)):
        rate, w_c = learning_rate(rule, run.step, recipe.steps), recipe.head_weight(run.step)
        losses.append(run.advance(em, target, rate, w_c))
        due = _due(recipe, run.step)
        found = run.validate(judge if material.validation else None) if "validate" in due else None
        if not due:
            continue
        total, fused, *heads = (sum(part) / len(losses) for part in zip(*losses, strict=True))
        seconds, busy = clock.look()
        yield Record(
            step=run.step,
            loss=total,
            fused=fused,
            heads=dict(zip(run.heads, heads, strict=True)),
            learning_rate=rate,
            discount=w_c,
            seconds=seconds,
            busy=busy,
            validation=found.loss if found else None,
            rand_error=found.rand_error if found else None,
            state=run.state() if "checkpoint" in due else None,
        )
        losses = []
        clock.start()  # what the caller did with the record is not training


def _check(recipe: Recipe, sections: Sequence[Section], validation: Sequence[Section]) -> None:
    if recipe.crop % STRIDE or recipe.crop < STRIDE:
        raise DcanError(f"training.crop is {recipe.crop}: give a multiple of {STRIDE}")
    for name, given in (("training", sections), ("validation", validation)):
        if (given or name == "training") and all((s.target == UNKNOWN).all() for s in given):
            raise DcanError(f"the {name} sections have no labelled pixel: give others in truth")


def _due(recipe: Recipe, step: int) -> set[str]:
    every = {
        "log": recipe.log_every,
        "validate": recipe.validate_every,
        "checkpoint": recipe.checkpoint_every,
    }
    return {what for what, count in every.items() if step % count == 0 or step == recipe.steps}


def inner(target: Labels) -> Labels:
    """The target of a crop, (y, x), unknown along its border: see `border_of`."""
    height, width = target.shape
    border = border_of(height)
    kept = np.s_[border : height - border, border : width - border]
    found = np.full_like(target, UNKNOWN)
    found[kept] = target[kept]
    return found


def _batches(
    recipe: Recipe, sections: Sequence[Section], first: int, team: Team
) -> Iterator[Batch]:
    """This process's part of the batches of steps `first` .. `recipe.steps` - 1.

    Made up to two ahead by workers.
    """
    own = range(team.rank, recipe.batch, team.size)

    def make(step: int) -> Batch:
        streams = (stream(recipe.seed, step, index) for index in own)
        samples = [sample(sections, rng, recipe.crop, recipe.strength) for rng in streams]
        em = torch.from_numpy(np.stack([s.em for s in samples])[:, None])
        return em, torch.from_numpy(np.stack([inner(s.target) for s in samples]))

    steps = range(first, recipe.steps)
    if recipe.workers == 0:
        yield from map(make, steps)
        return
    with ThreadPoolExecutor(recipe.workers) as pool:
        ahead: list[Future[Batch]] = []
        for step in steps:
            ahead.append(pool.submit(make, step))
            if len(ahead) > recipe.workers + 1:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()
