"""The state of a training: what it goes on from, and the network that moves it on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.errors import DcanError
from dcan.net.model import Architecture, Logits
from dcan.net.networks import build, initialise
from dcan.net.recipe import Recipe
from dcan.net.rule import DivergedError, loss, optimiser
from dcan.net.shortage import ELSEWHERE, memory_for
from dcan.net.team import ALONE, Team
from dcan.net.validation import Judge, Measured

Tensors = dict[str, Tensor]
GROUPS = ("weights", "optimiser", "best", "average")
BEST = ("best_step", "best_loss", "best_rand")


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that a training goes on from; copies, which later steps leave alone.

    `step`: steps done. `best`: the weights of the least Rand error on the validation sections
    so far, of the least loss where these are equal, then the earlier ones; those of the last
    step when there is nothing to validate on; empty before the first validation. `optimiser`:
    tensors named `parameter.key`. `average`: the moving average, empty where there is none yet.
    """

    step: int
    weights: Tensors
    optimiser: Tensors
    best: Tensors
    average: Tensors
    best_step: int | None = None
    best_loss: float | None = None
    best_rand: float | None = None

    def pack(self) -> tuple[Tensors, dict[str, int | float | None]]:
        """As one table of tensors and plain values, for storage."""
        groups = {group: getattr(self, group) for group in GROUPS}
        tensors = {f"{group}.{name}": t for group, ts in groups.items() for name, t in ts.items()}
        return tensors, {"step": self.step, **{key: getattr(self, key) for key in BEST}}

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, object]) -> TrainingState:
        """The state that `pack` gave.

        Raises DcanError: it is none.
        """
        groups: dict[str, Tensors] = {group: {} for group in GROUPS}
        for key, tensor in tensors.items():
            group, _, name = key.partition(".")
            if group not in groups:
                raise DcanError(f"training state: tensor {key!r} is unknown: train from the start")
            groups[group][name] = tensor
        kinds = {"step": int, "best_step": int, "best_loss": float, "best_rand": float}
        for key, kind in kinds.items():
            value = plain.get(key)
            if not isinstance(value, kind) and (value is not None or key == "step"):
                raise DcanError(f"training state: {key} is {value!r}: train from the start")
        return cls(**groups, **{key: plain.get(key) for key in kinds})  # type: ignore[arg-type]


Handed = tuple[dict[str, NDArray[Any]], Mapping[str, object]]
"""Arrays and plain values of a state."""


def handed(state: TrainingState) -> Handed:
    """A state for another process, without what the first of a team alone needs.

    As arrays, which go through a pipe: tensors would lie in /dev/shm, which containers keep small.
    """
    tensors, plain = replace(state, best={}, average={}).pack()
    return {name: tensor.numpy() for name, tensor in tensors.items()}, plain


def received(given: Handed) -> TrainingState:
    """The state that `handed` gave."""
    arrays, plain = given
    return TrainingState.unpack({n: torch.from_numpy(a) for n, a in arrays.items()}, plain)


class Run:
    """The network, its optimiser, the average of its weights, and the best so far."""

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        state: TrainingState | None,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        self.model = build(architecture)
        initialise(self.model, recipe.seed, recipe.deconvolution)
        # A step takes a quarter less time than with planes one after the other.
        with memory_for("the network", f"model.width is {architecture.width}", ELSEWHERE):
            self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = optimiser(recipe.resolved(), self.model)
        self.recipe, self.device, self.team = recipe, device, team
        self.heads = architecture.heads if architecture.kind == "dcan" else ()
        self.step = 0
        self.best: Tensors = {}
        self.best_step: int | None = None
        self.measured: Measured | None = None
        if state is not None:
            self._resume(state)
        self._training = team.wrap(self.model)
        self.judged = self.model if recipe.average == 0 else copy.deepcopy(self.model)
        if state is not None and state.average:
            self.judged.load_state_dict(state.average)

    def _resume(self, state: TrainingState) -> None:
        try:
            self.model.load_state_dict(state.weights)
        except RuntimeError:
            raise DcanError(
                "the training state is of another architecture: remove it to train from the start"
            ) from None
        self.step, self.best, self.best_step = state.step, state.best, state.best_step
        if state.best_loss is not None:
            self.measured = Measured(state.best_loss, state.best_rand)
        parameters = dict(self.model.named_parameters())
        for name, tensor in state.optimiser.items():
            owner, _, key = name.rpartition(".")
            if owner not in parameters:
                raise DcanError(f"training state: {name!r} is unknown: remove it to start anew")
            parameter = parameters[owner]
            # A buffer that lies otherwise than its parameter takes another path of the kernels.
            moments = tensor.shape == parameter.shape
            buffer = torch.empty_like(parameter if moments else tensor).copy_(tensor)
            self.optimiser.state[parameter][key] = buffer.detach()

    def advance(self, em: Tensor, target: Tensor, rate: float, w_c: float) -> list[float]:
        """One step; returns the loss and its parts: total, fused, one of each head.

        `em`: (n, 1, h, w) float32. `target`: (n, h, w) uint8.

        Raises DivergedError: the loss is not finite. DcanError: memory is short.
        """
        given = f"training.crop is {self.recipe.crop} and training.batch {self.recipe.batch}"
        with memory_for("a step", given, "a smaller batch or crop"):
            return self._advance(em, target, rate, w_c)

    def _advance(self, em: Tensor, target: Tensor, rate: float, w_c: float) -> list[float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        target = target.to(self.device)
        found = loss(self._forward(self._training, em), target, w_c)
        weight = self.team.weight(target)
        every = torch.stack([found.total, found.fused, *found.heads]) * weight
        parts: list[float] = self.team.mean(every).tolist()
        if not isfinite(parts[0]):
            raise DivergedError(
                f"training diverged: the loss of step {self.step} is {parts[0]}: give a lower "
                "learning rate or another training.rule or seed"
            )
        (found.total * weight).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        self._average()
        return parts

    def _average(self) -> None:
        """Move the average towards the weights; the first steps count for more than later ones."""
        if self.judged is self.model:
            return
        decay = min(self.recipe.average, self.step / (self.step + 9))
        with torch.no_grad():
            for kept, new in zip(self.judged.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)

    def _forward(self, model: torch.nn.Module, em: Tensor) -> Logits:
        em = em.to(self.device, memory_format=torch.channels_last)
        half = self.recipe.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits: Logits = model(em)
        return logits

    def validate(self, validation: Judge | None) -> Measured | None:
        """Judge the averaged weights on the validation sections, and keep them if the best.

        None without sections: the present weights are then the best.

        Raises DivergedError: the loss is not finite. DcanError: memory is short.
        """
        found = None
        if validation is not None:
            found = validation.measure(lambda em: self._forward(self.judged, em)[0])
            if not isfinite(found.loss):
                raise DivergedError(
                    f"training diverged: the validation loss after step {self.step} is "
                    f"{found.loss}: give a lower learning rate or another training.rule or seed"
                )
        if found is None or self.measured is None or found.order < self.measured.order:
            self.best, self.best_step, self.measured = _weights(self.judged), self.step, found
        return found

    def state(self) -> TrainingState:
        """A copy of all that a resumed training needs, on the CPU."""
        buffers = {
            f"{name}.{key}": _copy(value)
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
            if isinstance(value, Tensor)
        }
        return TrainingState(
            self.step,
            _weights(self.model),
            buffers,
            self.best,
            {} if self.judged is self.model else _weights(self.judged),
            self.best_step,
            self.measured.loss if self.measured else None,
            self.measured.rand_error if self.measured else None,
        )


def _weights(model: torch.nn.Module) -> Tensors:
    return {name: _copy(tensor) for name, tensor in model.state_dict().items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
