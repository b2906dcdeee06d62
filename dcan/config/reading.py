"""A configuration file to `Config` and back; one clear line for each mistake."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dcan.config import yaml12
from dcan.config.model import Config
from dcan.config.wording import refusal
from dcan.errors import DcanError

LARGEST = 1 << 16  # bytes; a configuration is a page, not a volume


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DcanError(f"configuration {path}: not a file: give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DcanError(f"configuration {path}: {why}: give the path of a YAML file") from None
    if len(data) > LARGEST:
        raise DcanError(
            f"configuration {path}: larger than {LARGEST} bytes: give the YAML of a volume"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DcanError(f"configuration {path}: not UTF-8 text: give a YAML file") from None


def read(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises DcanError, one line: unreadable, not YAML, a doubled key, no keys.
    """
    text = _text(path)
    try:
        raw = yaml12.read(text)
    except DcanError as error:
        raise DcanError(f"configuration {path}, {error}") from None
    if not isinstance(raw, dict):
        raise DcanError(f"configuration {path}: holds no keys: start from config/volume.yaml")
    return raw


def parse(raw: Mapping[str, Any], origin: str) -> Config:
    """The configuration that `raw` holds; `origin` names it in errors.

    Raises DcanError: one line that names the first wrong key, its value and the rule.
    """
    plain = dict(raw)
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        raise DcanError(f"configuration {origin}: {refusal(error, plain)}") from None


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` laid over it, those of sections one by one."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(below, dict)
        merged[key] = overlay(below, value) if nested and below is not None else value
    return merged


def _section(value: object) -> object:
    """A value of `--config`: Snakemake gives a section as the text of its YAML."""
    nested = isinstance(value, str) and value.startswith(("{", "["))
    return yaml12.read(str(value)) if nested else value


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration file; `overrides` (from `--config`) are laid over it, key by key.

    A section in `overrides` changes the keys it names and keeps the others; anything else, a
    list or null too, replaces what the file has there.

    Raises DcanError, one line: unreadable, not YAML, doubled, unknown, mistyped, out of range.
    """
    raw = read(Path(path))
    over = {key: _section(value) for key, value in (overrides or {}).items()}
    return parse(overlay(raw, over), str(path))


def write(config: Config, path: Path) -> None:
    """Write the configuration with every default resolved; replaces the file at once.

    Raises DcanError when the file system refuses.
    """
    text = yaml12.dump(config.model_dump(mode="json"))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise DcanError(
            f"cannot write {path}: {error.strerror}: free space, mend permissions, or change output"
        ) from None


def schema() -> str:
    """The JSON schema of a configuration, as text."""
    return json.dumps(Config.model_json_schema(), indent=1, sort_keys=True) + "\n"
