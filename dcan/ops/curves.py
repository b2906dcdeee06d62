"""Metrics over the threshold, and the best of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric at each threshold; errors are best low, all others high."""

    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    is_error: bool

    @property
    def best(self) -> float:
        """The least error or greatest score."""
        return min(self.values) if self.is_error else max(self.values)

    @property
    def at(self) -> float:
        """The first threshold where the metric is best."""
        return self.thresholds[self.values.index(self.best)]


@dataclass(frozen=True, slots=True)
class StackScores:
    """The metrics of a stack by name; those of warping only when they were asked for.

    `mistakes`: pixels of each `Mistake`, by its name in lower case, at the threshold that is
    best for splits and mergers.
    """

    curves: dict[str, Curve]
    mistakes: Mapping[str, int] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, float]:
        """Each metric at the threshold that is best for it."""
        return {name: curve.best for name, curve in self.curves.items()}

    @property
    def at(self) -> dict[str, float]:
        """The threshold at which each metric is best; ties: the first tried."""
        return {name: curve.at for name, curve in self.curves.items()}

    def as_dict(self) -> dict[str, dict[str, float | list[float]]]:
        """Plain values for JSON: of each metric its `best`, `at`, `thresholds`, `values`."""
        return {
            name: {
                "best": curve.best,
                "at": curve.at,
                "thresholds": list(curve.thresholds),
                "values": list(curve.values),
            }
            for name, curve in self.curves.items()
        }
