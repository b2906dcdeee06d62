"""The state of a training: what it goes on from, and the network that moves it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from dcan.errors import DcanError
from dcan.net.augment import Section
from dcan.net.model import DCAN, STRIDE, Architecture, initialise
from dcan.net.rule import UNKNOWN, Rule, cross_entropy, loss, optimiser

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that a training goes on from; copies, which later steps leave alone.

    `step`: steps done. `best`: the weights of the least validation loss so far, the earlier on
    ties; those of the last step when there is nothing to validate on; empty before the first
    validation. `optimiser`: tensors named `parameter.key`.
    """

    step: int
    weights: Tensors
    optimiser: Tensors
    best: Tensors
    best_step: int | None = None
    best_loss: float | None = None

    def pack(self) -> tuple[Tensors, dict[str, int | float | None]]:
        """As one table of tensors and plain values, for storage."""
        groups = {"weights": self.weights, "optimiser": self.optimiser, "best": self.best}
        tensors = {f"{group}.{name}": t for group, ts in groups.items() for name, t in ts.items()}
        return tensors, {
            "step": self.step,
            "best_step": self.best_step,
            "best_loss": self.best_loss,
        }

    @classmethod
    def unpack(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, object]) -> TrainingState:
        """The state that `pack` gave.

        Raises DcanError: it is none.
        """
        groups: dict[str, Tensors] = {"weights": {}, "optimiser": {}, "best": {}}
        for key, tensor in tensors.items():
            group, _, name = key.partition(".")
            if group not in groups:
                raise DcanError(f"training state: tensor {key!r} is unknown: train from the start")
            groups[group][name] = tensor
        step, best_step, best_loss = (plain.get(k) for k in ("step", "best_step", "best_loss"))
        if not isinstance(step, int) or not isinstance(best_step, int | None):
            raise DcanError(f"training state: step is {step!r}: train from the start")
        if not isinstance(best_loss, float | None):
            raise DcanError(f"training state: best_loss is {best_loss!r}: train from the start")
        return cls(step, **groups, best_step=best_step, best_loss=best_loss)


class Run:
    """The network, its optimiser and the best weights so far."""

    def __init__(
        self,
        architecture: Architecture,
        rule: Rule,
        seed: int,
        state: TrainingState | None,
        device: torch.device,
    ) -> None:
        self.model = DCAN(architecture)
        initialise(self.model, seed)
        # A step takes a quarter less time than with planes one after the other.
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = optimiser(rule, self.model)
        self.device = device
        self.step = 0
        self.best: Tensors = {}
        self.best_step: int | None = None
        self.best_loss: float | None = None
        if state is not None:
            self._resume(state)

    def _resume(self, state: TrainingState) -> None:
        try:
            self.model.load_state_dict(state.weights)
        except RuntimeError:
            raise DcanError(
                "the training state is of another architecture: remove it to train from the start"
            ) from None
        self.step, self.best = state.step, state.best
        self.best_step, self.best_loss = state.best_step, state.best_loss
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
        """One step; returns the loss and its parts: total, fused, c1, c2, c3.

        `em`: (n, 1, h, w) float32. `target`: (n, h, w) uint8.

        Raises DcanError: the loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        found = loss(self._forward(em), target.to(self.device), w_c)
        parts = [part.item() for part in (found.total, found.fused, *found.heads)]
        if not isfinite(parts[0]):
            raise DcanError(
                f"training diverged: the loss of step {self.step} is {parts[0]}: give a lower "
                "learning rate or another training.rule or seed"
            )
        found.total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        return parts

    def _forward(self, em: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        logits: tuple[Tensor, tuple[Tensor, Tensor, Tensor]] = self.model(
            em.to(self.device, memory_format=torch.channels_last)
        )
        return logits

    def validate(self, sections: Sequence[Section]) -> float | None:
        """Mean fused loss over all labelled pixels of whole sections; keeps the best weights.

        None without sections: the present weights are then the best.
        """
        measured = self._measure(sections) if sections else None
        if measured is None or self.best_loss is None or measured < self.best_loss:
            self.best, self.best_step, self.best_loss = self._weights(), self.step, measured
        return measured

    def _measure(self, sections: Sequence[Section]) -> float:
        total, pixels = 0.0, 0
        with torch.inference_mode():
            for section in sections:
                pad = [(0, -length % STRIDE) for length in section.em.shape]
                em = torch.from_numpy(np.pad(section.em, pad, mode="symmetric"))[None, None]
                target = np.pad(section.target, pad, constant_values=UNKNOWN)[None]
                fused, _ = self._forward(em)
                total += cross_entropy(fused, torch.from_numpy(target).to(self.device)).item()
                pixels += int((target != UNKNOWN).sum())
        if not isfinite(total):
            raise DcanError(
                f"training diverged: the validation loss after step {self.step} is {total}: give "
                "a lower learning rate or another training.rule or seed"
            )
        return total / pixels

    def state(self) -> TrainingState:
        """A copy of all that a resumed training needs, on the CPU."""
        buffers = {
            f"{name}.{key}": _copy(value)
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state[parameter].items()
            if isinstance(value, Tensor)
        }
        return TrainingState(
            self.step, self._weights(), buffers, self.best, self.best_step, self.best_loss
        )

    def _weights(self) -> Tensors:
        return {name: _copy(tensor) for name, tensor in self.model.state_dict().items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
