"""What is asked of a training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from dcan.net.augment import DEFAULT, Strength
from dcan.net.networks import Start
from dcan.net.rule import Rule, discount, named

Precision = Literal["float32", "bfloat16"]
IDLE = ("workers", "log_every", "checkpoint_every")
"""Of a recipe, what plays no part in the weights."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that, with the sections and the machine, decides the weights.

    `learning_rate` and `weight_decay` replace those of the named rule. `auxiliary`: whether the
    heads have losses of their own. `average`: decay of the moving average of the weights, which
    is then what is validated and kept; 0: the weights themselves. `precision`: of convolutions;
    weights and sums stay float32. `deconvolution`: how it starts. `threads`: of each operation;
    another number changes the last bits. `workers`: threads that make samples ahead, without
    effect on them. `steps` and the `_every` count optimiser steps.
    """

    steps: int
    seed: int = 0
    crop: int = 256
    batch: int = 4
    rule: str = "adam-cosine"
    learning_rate: float | None = None
    weight_decay: float | None = None
    auxiliary: bool = True
    discount_start: float = 1.0
    discount_periods: int = 3
    discount_floor: float = 0.01
    deconvolution: Start = "bilinear"
    average: float = 0.0
    precision: Precision = "float32"
    threads: int = 2
    workers: int = 0
    log_every: int = 20
    validate_every: int = 500
    checkpoint_every: int = 100
    strength: Strength = DEFAULT

    def plain(self) -> dict[str, Any]:
        """What decides the weights, as JSON has it."""
        return {key: v for key, v in dataclasses.asdict(self).items() if key not in IDLE}

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

    def head_weight(self, step: int) -> float:
        """w_c, the weight of each head's own loss, in step `step` = 0 .. steps - 1."""
        if not self.auxiliary:
            return 0.0
        given = self.discount_periods, self.discount_floor, self.discount_start
        return discount(step, self.steps, *given)
