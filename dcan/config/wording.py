"""What is wrong with a configuration, in one line and in the words of who wrote it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dcan.config.model import Config

TRIPLE = "give three numbers, along z, y, x"
RULES = {
    "string_type": "give text",
    "int_type": "give an integer",
    "int_from_float": "give an integer",
    "int_parsing_size": "give a smaller integer",
    "float_type": "give a smaller number",
    "finite_number": "give a finite number",
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give {ge} or more",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give {le} or less",
    "multiple_of": "give a multiple of {multiple_of}",
    "literal_error": "give {expected}",
    "list_type": "give a list, [a, b, ...]",
    "tuple_type": TRIPLE,
    "too_long": TRIPLE,
}
"""The rule that is broken, by pydantic's name of the error. Every tuple is a triple."""

UNHELD = ("missing", "invalid_key")  # errors about a key that cannot be looked up
MOST = 9  # items of a value that are shown
LONGEST = 60  # characters of a text that are shown

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Fault:
    path: Path
    kind: str
    rule: str
    value: object


def refusal(error: ValidationError, raw: Mapping[str, Any], model: type[BaseModel] = Config) -> str:
    """The first mistake in `raw`, the rule it breaks, what to do, and how many more there are."""
    faults = [_fault(each, raw, model) for each in error.errors(include_url=False)]
    # Of the alternatives of a key only the one that the value is meant for speaks: the deepest.
    deep = [f for f in faults if not any(_below(other.path, f.path) for other in faults)]
    # An unknown key explains a missing one beside it, so it is reported first.
    deep.sort(key=lambda fault: fault.kind != "extra_forbidden")
    first = deep[0]
    more = len({fault.path for fault in deep}) - 1
    rules = dict.fromkeys(fault.rule for fault in deep if fault.path == first.path)
    line = _line(first, model, " or ".join(_continued(list(rules))))
    return f"{line} (and {more} more)" if more else line


def _below(path: Path, above: Path) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _continued(rules: list[str]) -> list[str]:
    return [rules[0], *(rule.removeprefix("give ") for rule in rules[1:])]


def _fault(error: Mapping[str, Any], raw: Mapping[str, Any], model: type[BaseModel]) -> _Fault:
    kind = str(error["type"])
    path, holder = _written(error["loc"], kind, raw)
    if kind == "missing" and isinstance(holder, list | tuple):
        return _Fault(path, kind="too_short", rule=TRIPLE, value=holder)
    if kind.startswith("model_"):
        rule = f"give some of the keys {', '.join(_known(model, path))}"
    elif kind in RULES:
        rule = RULES[kind].format(**error.get("ctx", {}))
    else:
        rule = str(error["msg"]).removeprefix("Value error, ")
    return _Fault(path, kind, rule, error["input"])


def _written(location: Path, kind: str, raw: object) -> tuple[Path, object]:
    """The part of pydantic's location that is keys of the file, and the value that it leads to.

    The rest are pydantic's names for the alternatives that a key takes.
    """
    path: list[str | int] = []
    held = raw
    for number, part in enumerate(location, 1):
        inside = isinstance(held, Mapping) and part in held
        if inside or (isinstance(held, list | tuple) and part in range(len(held))):
            path.append(part)
            held = held[part]  # type: ignore[index]
        elif kind in UNHELD and number == len(location) and isinstance(held, Mapping):
            path.append(part)
    return tuple(path), held


def _line(fault: _Fault, root: type[BaseModel], rule: str) -> str:
    key = shown_key(fault.path)
    if fault.kind == "extra_forbidden":
        return f"unknown key '{key}': {_hint(root, fault.path)}"
    if fault.kind == "invalid_key":
        return f"key {key} is not text: give the name of a key"
    if fault.kind == "missing":
        return f"key '{key}' is missing: add it"
    if fault.kind == "value_error" and isinstance(fault.value, Mapping | BaseModel):
        # A rule on several keys of a section: it begins with the key, seen from that section.
        return f"{key}.{rule}" if key else rule
    if fault.value is None and fault.kind.startswith("model_"):
        return f"{key} is empty: {rule}"
    return f"{key} is {shown(fault.value)}: {rule}"


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _known(root: type[BaseModel], path: Path) -> list[str]:
    """The keys that the section at `path` has."""
    model: type[BaseModel] | None = root
    for part in path:
        if model is not None and not isinstance(part, int):
            field = model.model_fields.get(part)
            model = next(_models(field.annotation), None) if field else None
    return list(model.model_fields) if model else []


def _dotted(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for below in _models(field.annotation):
            yield from _dotted(below, f"{prefix}{name}.")


def _hint(root: type[BaseModel], path: Path) -> str:
    known, last = _known(root, path[:-1]), str(path[-1])
    near = difflib.get_close_matches(last, known, 1, 0.6)
    elsewhere = [key for key in _dotted(root) if key.rpartition(".")[2] == last or key == last]
    if near or elsewhere:
        return f"did you mean '{(near or elsewhere)[0]}'?"
    return f"known here: {', '.join(known)}"


def shown_key(path: Path) -> str:
    """A dotted key, short and fit for a terminal."""
    return ".".join(_printable(str(part)) for part in path)


def shown(value: object) -> str:
    """A value much as it was written, short and fit for a terminal, whatever it is."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(_few([shown_key((str(key),)) for key in islice(value, MOST)])) + "}"
    if isinstance(value, list | tuple):
        inner = ["..." if isinstance(v, Mapping | list | tuple) else shown(v) for v in value[:MOST]]
        return "[" + ", ".join(_few(inner)) + "]"
    if isinstance(value, str):
        return f'"{_printable(value)}"'
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, int | float):
        return json.dumps(value)
    return _printable(repr(value))


def _few(items: list[str]) -> list[str]:
    return items if len(items) < MOST else [*items[: MOST - 1], "..."]


def _printable(text: str) -> str:
    clipped = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return clipped if clipped.isprintable() else json.dumps(clipped)[1:-1]
