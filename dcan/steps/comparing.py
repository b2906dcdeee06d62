"""The runs of an experiment side by side, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

Record = Mapping[str, Any]

Columns = dict[str, tuple[Callable[[Record], float], str]]

COLUMNS: Columns = {
    "M parameters": (lambda r: r["parameters"] / 1e6, ".2f"),
    "s/step": (lambda r: r["seconds_per_step"], ".3f"),
    "Rand": (lambda r: r["fused"]["rand_error"], ".4f"),
    "V_rand thin": (lambda r: r["fused"]["vrand_thin"], ".4f"),
    "pixel": (lambda r: r["fused"]["pixel_error"], ".4f"),
    "warping": (lambda r: r["fused"]["warping_error"], ".6f"),
    "Rand of p": (lambda r: r["p"]["rand_error"], ".4f"),
    "pixel of p": (lambda r: r["p"]["pixel_error"], ".4f"),
    "best step": (lambda r: r["best_step"], ".0f"),
}
"""What is shown of each run: of the fused map where nothing else is said."""
MEMBERS: Columns = {"members": (lambda r: r["members"], ".0f")}
"""Shown where runs differ in it: parameters and seconds are of one member."""


def spread(values: Sequence[float], form: str) -> str:
    """The mean and, of two values or more, the deviation of one of them (n - 1).

    >>> spread([1.0, 2.0, 3.0], ".1f"), spread([0.25], ".2f")
    ('2.0 ± 1.0', '0.25')
    """
    shown = f"{mean(values):{form}}"
    return f"{shown} ± {stdev(values):{form}}" if len(values) > 1 else shown


def table(runs: Mapping[str, Sequence[Record]], *, markdown: bool = False) -> str:
    """A line for each run, the mean over its seeds; those that diverged are counted apart."""
    trained = [r for records in runs.values() for r in records if "failed" not in r]
    alike = len({record["members"] for record in trained}) < 2
    columns = COLUMNS if alike else {**MEMBERS, **COLUMNS}
    rows = [["run", "seeds", *columns]]
    for name, records in runs.items():
        whole = [record for record in records if "failed" not in record]
        seeds = str(len(whole)) + (f", {n} diverged" if (n := len(records) - len(whole)) else "")
        cells = [
            spread([of(record) for record in whole], form) if whole else "-"
            for of, form in columns.values()
        ]
        rows.append([name, seeds, *cells])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "".join(f"{line.rstrip()}\n" for line in lines)
