"""YAML to `Config`: no duplicate keys, no surprising types, one clear line for each mistake."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dcan.config.model import Config
from dcan.errors import DcanError

LARGEST = 1 << 20  # bytes; a configuration is a page, not a volume


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of YAML 1.2: `no` is text, `010` is ten, `1e-3` is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise DcanError(f"line {key.start_mark.line + 1}: a key is not text: give a name")
            if key.value in seen:
                raise DcanError(
                    f"line {key.start_mark.line + 1}: key '{key.value}' is given twice: keep one"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", "tfTF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        [*_first.replace("\0", "")] + ([""] if "\0" in _first else []),
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise DcanError(f"configuration {path}: larger than 1 MiB: give the YAML of a volume")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DcanError(
            f"configuration {path}: {error.strerror}: give the path of a YAML file"
        ) from None
    except UnicodeDecodeError:
        raise DcanError(f"configuration {path}: not UTF-8 text: give a YAML file") from None
    try:
        raw = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except DcanError as error:
        raise DcanError(f"configuration {path}, {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise DcanError(f"configuration {path}{where}: not valid YAML: {problem}") from None
    if not isinstance(raw, dict):
        raise DcanError(f"configuration {path}: holds no keys: start from config/volume.yaml")
    return raw


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    model: object = Config
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
            inner = [annotation, *getattr(annotation, "__args__", ())]
            inner += [a for i in inner for a in getattr(i, "__args__", ())]
            models = [i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)]
            model = models[0] if models else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return []


def _line(error: Mapping[str, Any]) -> str:
    location = tuple(p for p in error["loc"] if not re.match(r"^(function|constrained)|\[", str(p)))
    key = ".".join(str(part) for part in location)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _fields(location)
        near = difflib.get_close_matches(str(location[-1]), known, 1, 0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"unknown key '{key}': {hint}"
    if error["type"] == "missing":
        return f"key '{key}' is missing: add it"
    if not key:
        return message
    return f"{key} is {json.dumps(error['input'], default=str)[:80]}: {message}"


def parse(raw: Mapping[str, Any], origin: str) -> Config:
    """The configuration that `raw` holds; `origin` names it in errors.

    Raises DcanError: one line that names the first wrong key, its value and the rule.
    """
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # An unknown key explains a missing one beside it, so it is reported first.
        found.sort(key=lambda e: e["type"] != "extra_forbidden")
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DcanError(f"configuration {origin}: {_line(found[0])}{more}") from None


def _overlay(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(below, dict)
        merged[key] = _overlay(below, value) if nested and below is not None else value
    return merged


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration file; `overrides` (from `--config`) are laid over it, key by key.

    Raises DcanError, one line: unreadable, not YAML, doubled, unknown, mistyped, out of range.
    """
    raw = _yaml(Path(path))
    return parse(_overlay(raw, overrides or {}), str(path))


def write(config: Config, path: Path) -> None:
    """Write the configuration with every default resolved; replaces the file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def schema() -> str:
    """The JSON schema of a configuration, as text."""
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"
