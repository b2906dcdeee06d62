"""Training as a generator: it yields records, the caller logs, saves or stops."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dcan.errors import DcanError
from dcan.net.augment import DEFAULT, Section, Strength, sample, stream
from dcan.net.model import STRIDE, Architecture
from dcan.net.rule import UNKNOWN, Rule, discount, learning_rate, named
from dcan.net.state import Run, TrainingState

Batch = tuple[Tensor, Tensor]  # em (n, 1, crop, crop) float32, target (n, crop, crop) uint8


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that, with the sections and the machine, decides the weights.

    `learning_rate` and `weight_decay` replace those of the named rule. `threads`: of each
    operation; another number changes the last bits. `workers`: threads that make samples
    ahead, without effect on them. `steps` and the `_every` count optimiser steps.
    """

    steps: int
    seed: int = 0
    crop: int = 256
    batch: int = 4
    rule: str = "adam-cosine"
    learning_rate: float | None = None
    weight_decay: float | None = None
    discount_periods: int = 3
    discount_floor: float = 0.01
    threads: int = 2
    workers: int = 0
    log_every: int = 20
    validate_every: int = 500
    checkpoint_every: int = 100
    strength: Strength = DEFAULT

    def resolved(self) -> Rule:
        """The named rule with this recipe's own values.

        Raises DcanError: there is no such rule.
        """
        rule = named(self.rule)
        return dataclasses.replace(
            rule,
            start=rule.start if self.learning_rate is None else self.learning_rate,
            decay=rule.decay if self.weight_decay is None else self.weight_decay,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What happened in the steps since the last record.

    `step`: steps done. `loss`, `fused`, `heads`: means over those steps, nats. `learning_rate`,
    `discount`: of the last of them. `validation`: fused loss on the validation sections, where
    it was computed. `state`: at checkpoints and at the end. `seconds`: wall time.
    """

    step: int
    loss: float
    fused: float
    heads: tuple[float, float, float]
    learning_rate: float
    discount: float
    seconds: float
    validation: float | None
    state: TrainingState | None


def train(
    architecture: Architecture,
    recipe: Recipe,
    sections: Sequence[Section],
    validation: Sequence[Section],
    state: TrainingState | None = None,
    device: str = "cpu",
) -> Iterator[Record]:
    """Train to `recipe.steps`, from the start or from `state`; the last record has the result.

    The result is `state.best`. On the CPU a stopped and resumed training yields the records
    and weights of an undisturbed one, bit for bit (one machine class, versions, threads).
    A state that is already at `recipe.steps` yields nothing. Switches torch to deterministic
    algorithms and to `recipe.threads`.

    Raises DcanError: nothing labelled, a state of another network, or a loss that is not finite.
    """
    _check(recipe, sections, validation)
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.device(device).type != "cpu")
    rule = recipe.resolved()
    run = Run(architecture, rule, recipe.seed, state, torch.device(device))
    began = time.perf_counter()
    losses: list[list[float]] = []
    for em, target in _batches(recipe, sections, run.step):
        rate = learning_rate(rule, run.step, recipe.steps)
        w_c = discount(run.step, recipe.steps, recipe.discount_periods, recipe.discount_floor)
        losses.append(run.advance(em, target, rate, w_c))
        due = _due(recipe, run.step)
        measured = run.validate(validation) if "validate" in due else None
        if not due:
            continue
        total, fused, *heads = (sum(part) / len(losses) for part in zip(*losses, strict=True))
        yield Record(
            step=run.step,
            loss=total,
            fused=fused,
            heads=(heads[0], heads[1], heads[2]),
            learning_rate=rate,
            discount=w_c,
            seconds=time.perf_counter() - began,
            validation=measured,
            state=run.state() if "checkpoint" in due else None,
        )
        began, losses = time.perf_counter(), []


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


def _batches(recipe: Recipe, sections: Sequence[Section], first: int) -> Iterator[Batch]:
    """The batches of steps `first` .. `recipe.steps` - 1, made up to two ahead by workers."""

    def make(step: int) -> Batch:
        streams = (stream(recipe.seed, step, index) for index in range(recipe.batch))
        samples = [sample(sections, rng, recipe.crop, recipe.strength) for rng in streams]
        em = torch.from_numpy(np.stack([s.em for s in samples])[:, None])
        return em, torch.from_numpy(np.stack([s.target for s in samples]))

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
