"""What a Snakemake profile gives to the jobs of each stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yte import process_yaml

from dcan.errors import DcanError

RULES = {"train": "train_member"}
"""Rules that do not have the name of their stage."""
_BY_ATTEMPT = re.compile(r"(\d+) *\* *attempt|attempt *\* *(\d+)")


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
        """The threads of a stage's jobs; None: those of the rule. Raises DcanError below 1."""
        found = _whole(self.threads.get(_rule(stage)))
        if found is not None and found < 1:
            raise DcanError(
                f"--profile {self.folder}: set-threads gives {_rule(stage)} {found}: give 1 or more"
            )
        return found

    def given(self, stage: str, resource: str) -> int | None:
        """A resource of a stage's first jobs; None where Snakemake alone can work it out."""
        own = self.resources.get(_rule(stage))
        value = own.get(resource) if isinstance(own, Mapping) else None
        return _whole(self.default.get(resource) if value is None else value)


def _evaluated(path: Path) -> dict[str, Any]:
    """The keys of a profile, which may be a template that Snakemake evaluates, as it does."""
    try:
        with path.open(encoding="utf-8") as file:
            found = process_yaml(file, require_use_yte=True)
    # A template is code of the site and raises what it likes.
    except Exception as error:
        why = " ".join(str(error).split())
        raise DcanError(f"--profile {path}: {type(error).__name__}: {why}: mend it") from None
    if not isinstance(found, dict):
        raise DcanError(f"--profile {path}: it is no mapping of keys: see profiles/slurm")
    return found


def _rule(stage: str) -> str:
    return RULES.get(stage, stage.partition("_")[0])


def _whole(value: object) -> int | None:
    """A number, or that of `N * attempt`, for the first attempt; another expression is None."""
    if isinstance(value, str) and (found := _BY_ATTEMPT.fullmatch(value)):
        return int(found[1] or found[2])
    return value if isinstance(value, int) and not isinstance(value, bool) else None
