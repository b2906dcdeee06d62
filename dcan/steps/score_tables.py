"""Scores as tables for people, with the definition of each under the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dcan.ops.definitions import DEFINITIONS, MISTAKES

_BITS = ("voi_split", "voi_merge")
_VOLUME = ("adapted_rand_error", "rand_split", "rand_merge", *_BITS)


def sections_table(record: dict[str, Any]) -> str:
    """The table of `score_sections.record_of`."""
    at, mistakes = record["at"], record["warping_mistakes"]
    lines = ["sections, in 2-D (binary labels)", ""]
    lines += [f"{'metric':30} {'value':>10} {'best at':>8}"]
    lines += [f"{key:30} {record[key]:10.6f} {at[key]:8.1f}" for key in at]
    best = at["warping_error_splits_mergers"]
    lines += ["", f"{'warping mistake':30} {'pixels':>10} at threshold {best:.1f}"]
    lines += [f"{kind:30} {mistakes[kind]:10} {meaning}" for kind, meaning in MISTAKES.items()]
    return _text([*lines, "", *_definitions(list(at))])


def volume_table(record: dict[str, Any]) -> str:
    """The table of `score_volume.record_of`."""
    lines = ["objects, in 3-D (labels of more than two values)", ""]
    lines += [f"{'metric':30} {'value':>10}"]
    lines += [f"{key:30} {record[key]:10.6f}{' bits' * (key in _BITS)}" for key in _VOLUME]
    lines += [f"{'pieces':30} {record['pieces']:10.2f}", ""]
    lines += _faults("worst splits: objects of --labels in pieces", record["worst_splits"])
    lines += _faults("worst merges: objects of --proposal over several", record["worst_merges"])
    lines += _definitions(_VOLUME)
    lines.append(
        "pieces: Mean number of proposed objects that hold a twentieth or more of a true one."
    )
    return _text(lines)


def _faults(title: str, faults: list[dict[str, Any]]) -> list[str]:
    if not faults:
        return [f"{title}: none", ""]
    lines = [title, f"{'label':>20} {'pieces':>8} {'voxels outside the largest':>28}  at (z, y, x)"]
    for fault in faults:
        at = ", ".join(map(str, fault["at"]))
        lines.append(f"{fault['label']:20} {fault['pieces']:8} {fault['voxels']:28}  {at}")
    return [*lines, ""]


def _definitions(keys: Sequence[str]) -> list[str]:
    return [f"{key}: {DEFINITIONS[key]}" for key in keys]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
