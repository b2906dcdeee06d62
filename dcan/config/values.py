"""The kinds of values that keys take: bounded numbers, lines of text, ranges of sections."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import ip_address
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

SECTIONS = "([0-9]{1,9}):([0-9]{1,9})"
NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
ADDRESS = r"(tls|tcp)://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,4})"
UNFIT = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, ends of line and paragraph


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("give a number")
    return value


def _sections(text: str) -> str:
    found = re.fullmatch(SECTIONS, text)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError('give a half-open range of sections "first:end" with first < end')
    return text


def _sections_once(sections: list[int]) -> list[int]:
    ordered = sorted(sections)
    for one, next_one in pairwise(ordered):
        if one == next_one:
            raise ValueError(f"section {one} is named twice: keep one, or mend the other")
    return ordered


def _heads(names: list[str]) -> list[str]:
    if not names or names != sorted(set(names)):
        raise ValueError("give some of C1, C2, C3, each once and in this order")
    return names


def _thousandths(value: float) -> float:
    if abs(value * 1000 - round(value * 1000)) > 1e-9:
        raise ValueError("give a decimal with at most three places")
    return value


def tenths(value: float) -> float:
    """The value, when it has at most one decimal place."""
    if abs(value * 10 - round(value * 10)) > 1e-9:
        raise ValueError("give a decimal with at most one place")
    return value


def _text(value: str) -> str:
    if not value.strip() or any(unicodedata.category(sign) in UNFIT for sign in value):
        raise ValueError("give one line of text, without control characters")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(NAME, value):
        raise ValueError(
            "give at most 64 letters, digits, '_', '.' and '-', the first of them no '.' or '-'"
        )
    return value


def _loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _address(value: str) -> str:
    found = re.fullmatch(ADDRESS, value)
    if not found or int(found[3]) > 65535:
        raise ValueError('give an address "tls://HOST:PORT", or "tcp://127.0.0.1:PORT"')
    if found[1] == "tcp" and not _loopback(found[2]):
        raise ValueError(
            "tcp:// lets everyone on the network run code here, and is for this machine's "
            f"127.0.0.1 alone: start it with TLS and give tls://{found[2]}:{found[3]}"
        )
    return value


Count = Annotated[StrictInt, Field(ge=1, le=10**9)]
Index = Annotated[StrictInt, Field(ge=0, le=10**9)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Line = Annotated[StrictStr, AfterValidator(_text)]
Sections = Annotated[
    StrictStr, AfterValidator(_sections), Field(json_schema_extra={"pattern": f"^{SECTIONS}$"})
]
Missing = Annotated[list[Index], AfterValidator(_sections_once)]
Thousandths = Annotated[Number, Field(ge=0, le=1), AfterValidator(_thousandths)]
Part = Annotated[Number, Field(ge=0, le=1)]
Auto = Literal["auto"]
Heads = Annotated[list[Literal["C1", "C2", "C3"]], AfterValidator(_heads)]
Shape = tuple[Count, Count, Count]
Name = Annotated[
    StrictStr, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{NAME}$"})
]
Address = Annotated[
    StrictStr, AfterValidator(_address), Field(json_schema_extra={"pattern": f"^{ADDRESS}$"})
]
Length = Annotated[Number, Field(gt=0)]


def bounds(sections: str) -> range:
    """The sections that a half-open range names.

    >>> list(bounds("3:6"))
    [3, 4, 5]
    """
    first, end = sections.split(":")
    return range(int(first), int(end))


def within(inner: range, outer: range) -> bool:
    """Whether the sections of `inner` are among those of `outer`."""
    return outer.start <= inner.start and inner.stop <= outer.stop
