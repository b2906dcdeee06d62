"""The training rule: loss, discount of the heads, learning rate, optimiser.

    L = lambda/2 |W|^2 + sum_x CE(x) + sum_c w_c sum_x CE_c(x)

Source: Chen et al., AAAI 2016, equation of the loss. The sums over pixels are means over the
labelled ones, so that rates do not depend on the crop; lambda is the optimiser's decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dcan.errors import DcanError
from dcan.net.model import MEMBRANE, NEURITE, Logits

ON_MEMBRANE, ON_NEURITE, UNKNOWN = 0, 1, 2  # values of a target


class DivergedError(DcanError):
    """A loss is not finite; another rule, rate or seed may do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How weights are updated.

    `start`: the first learning rate. `decay`: weight decay of the convolutions' weights, never
    of biases. `schedule`: `steps` divides the rate by 10 every `period` steps; `cosine` rises
    from 0 during `warmup` steps, then falls to 0 at the last.
    """

    optimiser: Literal["sgd", "adam"]
    schedule: Literal["steps", "cosine"]
    start: float
    decay: float
    period: int = 2000
    warmup: int = 0
    momentum: float = 0.9


RULES = {
    # Stated: the division by 10 every 2000 steps. The rest is that of networks of its time.
    "paper": Rule("sgd", "steps", start=0.01, decay=5e-4),
    "adam-cosine": Rule("adam", "cosine", start=3e-3, decay=1e-2, warmup=50),
}


def named(name: str) -> Rule:
    """The rule of that name.

    Raises DcanError: there is none.
    """
    if name not in RULES:
        raise DcanError(f"training rule {name!r}: give one of {', '.join(sorted(RULES))}")
    return RULES[name]


def learning_rate(rule: Rule, step: int, steps: int) -> float:
    """The rate of step `step` = 0 .. steps - 1.

    >>> [learning_rate(RULES["paper"], step, 6000) for step in (0, 1999, 2000)]
    [0.01, 0.01, 0.001]
    """
    if rule.schedule == "steps":
        return float(rule.start / 10 ** (step // rule.period))
    warmup = min(rule.warmup, steps // 10)
    if step < warmup:
        return rule.start * (step + 1) / (warmup + 1)
    return rule.start * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2


def discount(
    step: int, steps: int, periods: int = 3, floor: float = 0.01, start: float = 1.0
) -> float:
    """w_c, the weight of each head's own loss: `start`, divided by 10 as each period ends.

    Training is cut into `periods` equal parts; never below `floor`.

    >>> [discount(step, 9) for step in (0, 2, 3, 6)]
    [1.0, 1.0, 0.1, 0.01]
    """
    return float(max(floor, start / 10 ** (step * periods // steps)))


@dataclass(frozen=True, slots=True)
class Loss:
    """Mean cross entropies in nats: scalars, `total` = `fused` + w_c times the sum of `heads`."""

    total: Tensor
    fused: Tensor
    heads: tuple[Tensor, ...]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over the labelled pixels of the cross entropy; a scalar, nats.

    `logits`: (n, 2, h, w). `target`: (n, h, w) uint8, 0 = membrane, 1 = neurite, 2 = unknown:
    adds 0 and has no gradient.
    """
    # Torch's own has no deterministic backward on CUDA. Of two classes the logarithm of the
    # softmax is a softplus of their difference, in half the memory and a third of the time.
    logits = logits.float()
    away = logits[:, MEMBRANE] - logits[:, NEURITE]
    away = torch.where(target == ON_MEMBRANE, -away, away)
    return torch.where(target == UNKNOWN, 0.0, functional.softplus(away)).sum()


def loss(logits: Logits, target: Tensor, w_c: float) -> Loss:
    """The loss of a batch without the decay; 0 where no pixel is labelled.

    `target`: (n, h, w) uint8, 0 = membrane, 1 = neurite, 2 = unknown.
    """
    fused, heads = logits
    pixels = (target != UNKNOWN).sum().clamp(min=1)
    main = cross_entropy(fused, target) / pixels
    own = tuple(cross_entropy(head, target) / pixels for head in heads)
    # Without weight the heads' losses are for the record, and cost no pass backwards.
    total = main + w_c * torch.stack(own).sum() if own and w_c else main
    return Loss(total, main, own)


def optimiser(rule: Rule, model: nn.Module) -> torch.optim.Optimizer:
    """The rule's optimiser over the model's parameters; the caller sets its rate each step."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": rule.decay},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if rule.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rule.start, momentum=rule.momentum)
    return torch.optim.AdamW(groups, lr=rule.start)
