"""Ready weights: where a name or a path leads, and a training that starts from them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from dcan.errors import DcanError
from dcan.net.networks import layout
from dcan.steps.recipes import architecture
from dcan.steps.sources import named_path
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import Weights, load_weights

_log = logging.getLogger("dcan")


class Hashed(Protocol):
    """What is known by the hash of its content."""

    @property
    def sha256(self) -> str: ...  # noqa: D102


H = TypeVar("H", bound=Hashed)


def checkpoints(named: str, key: str, ending: str = ".safetensors") -> list[Path]:
    """The files that the value of a key names: one, or those of a folder, member-10 after -9.

    Raises DcanError: there is none, or the name is that of a path and of one in `models/`.
    """
    path = named_path(named, key, ending)
    if path.is_dir():
        found = (p for p in path.glob(f"*{ending}") if ".state." not in p.name)
        files = sorted(found, key=lambda p: (_counted(p.name), p.name))
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise DcanError(
            f"{key} is {named!r}: no checkpoint ({ending}), no folder of them and no name "
            "of one in models/: give one of these, or null to train from drawn weights"
        )
    return files


def _counted(name: str) -> list[str | int]:
    """A name cut into text and numbers, in turn."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", name))]


def vouched(space: Workspace, load: Callable[[Path], H]) -> list[H]:
    """The networks of the ensemble as `load` reads them, checked against training's receipt.

    Raises DcanError: one is not what was vouched for.
    """
    receipt = space.receipt("train")
    found = []
    for path, wanted in zip(receipt.values["members"], receipt.values["sha256"], strict=True):
        loaded = load(Path(path))
        if loaded.sha256 != wanted:
            raise DcanError(
                f"checkpoint {path} is not the one that was vouched for: restore it, or remove "
                "receipts/train.json and run snakemake"
            )
        found.append(loaded)
    return found


def starts(space: Workspace) -> list[Weights]:
    """The weights that training starts from; empty where they are drawn.

    Raises DcanError: they are of another network than the configuration asks for, or lie where
    this training writes its own.
    """
    named = space.config.training.start_from
    if named is None:
        return []
    wanted = architecture(space).plain()
    found = []
    for path in checkpoints(named, "training.start_from"):
        if path.resolve().parent == (space.root / "models").resolve():
            raise DcanError(
                f"training.start_from is {named!r}, which this training would write over: copy it "
                "to another folder and name it there"
            )
        loaded = load_weights(path, layout)
        if loaded.meta.architecture != wanted:
            raise DcanError(
                f"training.start_from is {named!r}: {path.name} is {loaded.meta.architecture}, "
                f"the configuration asks for {wanted}: change model, or give other weights"
            )
        found.append(loaded)
    return found


def start_of(found: Sequence[Weights], member: int) -> Weights | None:
    """Those of the weights that a member starts from; None where its own are drawn."""
    return found[member % len(found)] if found else None


def tell_seen(kept_back: Sequence[str], start: Weights | None) -> None:
    """Log that weights know sections, by hash, that a checkpoint is to be chosen by."""
    if known := sum(sha256 in start.meta.sections for sha256 in kept_back) if start else 0:
        _log.warning(
            "train: training.start_from has learned %d of the %d validation sections: how good the "
            "network is on them says little",
            *(known, len(kept_back)),
        )
