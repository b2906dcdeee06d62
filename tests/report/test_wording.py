"""Values in words."""

from __future__ import annotations

import math
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcan.report import wording

DASH = "\N{EN DASH}"


def test_metrics_have_their_usual_decimals() -> None:
    assert wording.metric(0.01634) == "0.0163"
    assert wording.metric(0.000188, "warping_error") == "0.000188"
    assert wording.metric(0.97682, "vrand_thin") == "0.97682"
    assert [wording.metric(value) for value in (None, math.nan, math.inf)] == [DASH] * 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, DASH), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes(value: int | None, text: str) -> None:
    assert wording.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH),
        (math.nan, DASH),
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7261, "2 h 1 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


def test_counts() -> None:
    assert wording.count(None) == DASH
    assert wording.count(999) == "999"
    assert wording.count(1234567) == "1\N{NO-BREAK SPACE}234\N{NO-BREAK SPACE}567"


@given(st.sets(st.integers(0, 60)))
def test_ranges_name_exactly_the_sections(sections: set[int]) -> None:
    text = wording.ranges(sections)
    if not sections:
        assert text == "none"
        return
    named = []
    for run in text.split(", "):
        first, _, last = run.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(sections)
    assert len(text.split(", ")) == sum(z - 1 not in sections for z in sections)


def test_of_all_characters_no_control_and_no_turn_of_direction_is_left() -> None:
    shown = set(wording.escape_controls("".join(map(chr, range(0x110000)))))
    assert {c for c in shown if unicodedata.category(c) in {"Cc", "Cs"}} == {"\t", "\n"}
    assert not shown & set(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200F)))
    assert shown >= set(map(chr, range(0x20, 0x7F))) | set("\t\nµ日😀")


def test_what_is_escaped_can_be_told_apart() -> None:
    assert wording.escape_controls("a\x00\x1b\x85\ud800\u202e") == r"a\x00\x1b\x85\ud800\u202e"


def test_settings_are_yaml_in_their_order() -> None:
    settings = {"volume": {"source": "a: 'b' <c>", "missing": (1, 2)}, "a": None, "t": 0.3}
    text = wording.settings_text(settings)
    assert yaml.safe_load(text) == {
        "volume": {"source": "a: 'b' <c>", "missing": [1, 2]},
        "a": None,
        "t": 0.3,
    }
    assert text.index("volume") < text.index("t:")
