"""How values are put into words on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import yaml

from dcan.report.learned import Calibration
from dcan.report.records import Report
from dcan.report.scored import Metrics

DIGITS = {"warping_error": 6, "vrand_thin": 5, "vinfo_thin": 5}
"""Decimals of a metric, where not 4."""

DASH = "\N{EN DASH}"
HIGHER_IS_BETTER = frozenset({"vrand_thin", "vinfo_thin"})


def escape_controls(text: str) -> str:
    r"""The text with characters that show nothing, or turn its direction, as backslash escapes.

    >>> print(escape_controls("a\x00b"))
    a\x00b
    """
    return text.translate(_INVISIBLE)


def metric(value: float | None, key: str = "") -> str:
    """A metric's value with its usual number of decimals; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{DIGITS.get(key, 4)}f}"


def count(value: int | None) -> str:
    """A whole number in groups of three; a dash where it is not known.

    >>> count(1234567).split()
    ['1', '234', '567']
    """
    return DASH if value is None else f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")


def size(value: int | None) -> str:
    """A number of bytes in the unit that leaves at least one digit before the point.

    >>> size(3 << 20)
    '3.0 MiB'
    """
    if value is None:
        return DASH
    power = min(max(0, value.bit_length() - 1) // 10, 5)
    if power == 0:
        return f"{value} B"
    return f"{value / 1024**power:.1f} {' KMGTP'[power]}iB"


def duration(seconds: float | None) -> str:
    """Wall time as seconds, minutes or hours.

    >>> [duration(s) for s in (2.34, 75, 7261)]
    ['2.3 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def ranges(sections: Iterable[int]) -> str:
    """Sections in ascending order, runs of them by their ends.

    >>> ranges([7, 0, 1, 2])
    '0-2, 7'
    """
    runs: list[list[int]] = []
    for z in sorted(set(sections)):
        if runs and z == runs[-1][1] + 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs) or "none"


def settings_text(settings: Mapping[str, object]) -> str:
    """The settings as YAML, in their own order."""
    text: str = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=100)
    return text


def cautions(report: Report) -> list[str]:
    """What a reader must know before believing the numbers, one sentence each."""
    found = [
        f"Failed blocks of stage {stage.name}: {count(len(stage.failed))}."
        for stage in report.stages
        if stage.failed
    ]
    if isinstance(report.metrics, Metrics):
        found.extend(_of_metrics(report.metrics))
    if isinstance(report.calibration, Calibration):
        found.extend(f"Calibration: {warning}" for warning in report.calibration.warnings)
    if report.volume.missing:
        found.append(f"Sections without tissue: {ranges(report.volume.missing)}.")
    return found


def _of_metrics(metrics: Metrics) -> list[str]:
    found = []
    if metrics.seen is None:
        found.append("It is not known whether the network was trained on sections of the metrics.")
    elif seen := set(metrics.evaluated) & set(metrics.seen):
        found.append(f"The metrics include sections seen in training: {ranges(seen)}.")
    if without := metrics.without_tissue:
        found.append(
            f"The metrics leave out {count(without)} pixels of the evaluated sections, which have "
            "no tissue by volume.mask."
        )
    return found


_INVISIBLE = {
    code: ascii(chr(code))[1:-1]
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\t\n"),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
}
