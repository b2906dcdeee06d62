"""What a Snakemake profile gives to the jobs of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yte

from dcan.config.reading import read
from dcan.errors import DcanError

RULES = {"train": "train_member"}
"""Rules that do not have the name of their stage."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Threads and resources of jobs by rule, as a profile's `config.yaml` sets them."""

    folder: Path
    threads: Mapping[str, Any]
    resources: Mapping[str, Any]
    """By rule."""
    default: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Raises DcanError, one line, when the folder holds no such file or another form."""
        path = folder / "config.yaml"
        if not path.is_file():
            raise DcanError(f"--profile {folder}: no config.yaml there: give a profile's folder")
        found = _evaluated(path)
        parts = [
            found.get(key, {}) for key in ("set-threads", "set-resources", "default-resources")
        ]
        if not all(isinstance(part, Mapping) for part in parts):
            raise DcanError(
                f"--profile {folder}: set-threads, set-resources and default-resources are to be "
                "mappings, as in profiles/slurm"
            )
        return cls(folder, *parts)

    def threads_of(self, stage: str) -> int | None:
        """The threads of a stage's jobs; None: those of the rule."""
        return _whole(self.threads.get(_rule(stage)))

    def given(self, stage: str, resource: str) -> int | None:
        """A resource of a stage's jobs; None where it is not given as a whole number."""
        own = self.resources.get(_rule(stage))
        value = own.get(resource) if isinstance(own, Mapping) else None
        return _whole(self.default.get(resource) if value is None else value)


def _evaluated(path: Path) -> Mapping[str, Any]:
    """A profile as Snakemake reads it, which works out its expressions: it is code of the site's.

    Raises DcanError, one line: it cannot be read, or an expression fails.
    """
    plain = read(path)
    if not plain.get("__use_yte__"):
        return plain
    try:
        found: Mapping[str, Any] = yte.process_yaml(path.read_text("utf-8"), require_use_yte=True)
    except Exception as error:  # whatever an expression raises
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DcanError(f"--profile {path.parent}: {why[0]}: mend config.yaml") from None
    return found


def _rule(stage: str) -> str:
    return RULES.get(stage, stage.partition("_")[0])


def _whole(value: object) -> int | None:
    """A number; an expression, which only Snakemake can work out, is None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
