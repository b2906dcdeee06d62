"""config/README.md describes the model: every key, its default, and the stages it reruns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dcan.config import STAGES, Config, load
from dcan.config.stages import ON_A_GIVEN_MAP

ROOT = Path(__file__).parents[2]
README = ROOT / "config" / "README.md"
COLUMNS = ["key", "type", "range", "default", "what it changes", "reruns"]


def sections_of(annotation: object) -> list[type[BaseModel]]:
    """The models that an annotation may hold, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in sections_of(part)]


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key, dotted; a section's own key only where something else may stand for it."""
    for name, field in model.model_fields.items():
        below = sections_of(field.annotation)
        plain = "str" in str(field.annotation) or "list" in str(field.annotation)
        if not below or plain or prefix:
            yield prefix + name, field
        for section in below:
            yield from leaves(section, f"{prefix}{name}.")


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if isinstance(value, BaseModel):
        value = {}  # its own keys have defaults
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{plain if isinstance(plain, str) else json.dumps(plain)}`"


def reruns_of(key: str) -> str:
    """The stages that name the key, a section above it, or a key below it."""
    keys = {name: stage.keys for name, stage in STAGES.items()}
    for name, stage in ON_A_GIVEN_MAP.items():
        keys[name] += stage.keys
    named = [
        name
        for name, held in keys.items()
        if any(f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.") for k in held)
    ]
    return ", ".join(named) or "-"


def documented() -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line in README.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        assert len(cells) == len(COLUMNS), line
        key = cells[0].strip("`")
        assert key not in rows, f"{key} is described twice"
        rows[key] = dict(zip(COLUMNS, cells, strict=True))
    return rows


KEYS = dict(leaves(Config))


def test_every_key_is_described_and_no_other() -> None:
    assert len(KEYS) > 50
    assert set(documented()) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_default_is_that_of_the_model(key: str) -> None:
    assert documented()[key]["default"] == default_of(KEYS[key])


@pytest.mark.parametrize("key", KEYS)
def test_reruns_are_the_stages_whose_fingerprint_holds_the_key(key: str) -> None:
    assert documented()[key]["reruns"] == reruns_of(key)


@pytest.mark.parametrize("key", KEYS)
def test_range_names_the_bounds_of_the_schema(key: str) -> None:
    described = documented()[key]["range"]
    held = [field for field in schema_parts(key) if "minimum" in field or "maximum" in field]
    for part in held:
        for bound in ("minimum", "maximum"):
            if bound in part:
                number = int(part[bound])
                text = "10^9" if number == 10**9 else str(number)
                assert re.search(rf"(?<![\d^]){re.escape(text)}(?!\d)", described), (key, text)


def schema_parts(key: str) -> list[dict[str, Any]]:
    """The number schemas of a key itself, not of the elements of a list."""
    field = KEYS[key]
    holder = Config
    for part in key.split(".")[:-1]:
        (holder, *_) = sections_of(holder.model_fields[part].annotation)
    properties = holder.model_json_schema()["properties"][key.rsplit(".", 1)[-1]]
    parts = [properties, *properties.get("anyOf", [])]
    assert field is not None
    return [part for part in parts if part.get("type") in ("integer", "number")]


@pytest.mark.parametrize("name", ["volume.yaml", "isbi2012.yaml"])
def test_shipped_files_are_valid(name: str) -> None:
    assert load(ROOT / "config" / name).volume.name
