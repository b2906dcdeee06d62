"""Train the members of the ensemble, or take weights that are ready."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dcan.errors import DcanError
from dcan.net.augment import Section
from dcan.net.device import resolve
from dcan.net.model import Architecture, layout, reach
from dcan.net.state import TrainingState
from dcan.net.train import Recipe, Record, train
from dcan.steps.truth import Labelled, hashes, labelled
from dcan.steps.versions import versions
from dcan.steps.vouching import Progress, check_inputs, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import (
    Meta,
    Weights,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from dcan.storage.objects import Stored, seal_file, write_text
from dcan.storage.receipts import Entry, Ledger, digest

_log = logging.getLogger("dcan")


def recipe(space: Workspace, member: int) -> Recipe:
    """The recipe of one member: those of an ensemble differ in their seeds."""
    given = space.config.training
    return Recipe(
        steps=given.steps,
        seed=given.seed + member,
        crop=given.crop,
        batch=given.batch,
        rule=given.rule,
        threads=given.threads,
        validate_every=given.validate_every,
        checkpoint_every=given.checkpoint_every,
    )


def fold_of(space: Workspace, member: int) -> int:
    """The fold that a member is not trained on, and that its weights are chosen on."""
    return member % space.config.training.folds


def _section(found: Labelled) -> Section:
    return Section(found.table[found.em], found.target)


def _resume(path: Path, fingerprint: str) -> tuple[TrainingState | None, list[dict[str, Any]]]:
    """The state to go on from, when there is one of the same training, and its curve."""
    if not path.exists():
        return None, []
    tensors, plain = load_state(path)
    if plain.pop("fingerprint", None) != fingerprint:
        return None, []
    curve = [dict(r) for r in plain.pop("curve", []) or [] if isinstance(r, dict)]  # type: ignore[union-attr]
    _log.info("train: going on from step %s", plain["step"])
    return TrainingState.unpack(tensors, plain), curve


def _keep(path: Path, record: Record, curve: list[dict[str, Any]], fingerprint: str) -> None:
    if record.state is not None:
        tensors, plain = record.state.pack()
        kept: dict[str, Any] = {**plain, "fingerprint": fingerprint, "curve": curve}
        save_state(path, tensors, kept)


def _plain(record: Record) -> dict[str, Any]:
    return {
        field.name: getattr(record, field.name) for field in fields(record) if field.name != "state"
    }


def _fit(space: Workspace, member: int, fingerprint: str) -> tuple[TrainingState, list[Any]]:
    """Train to the end, keeping a state to go on from; returns the last state and the curve."""
    path = space.root / "models" / f"member-{member}.state.safetensors"
    state, curve = _resume(path, fingerprint)
    rule = recipe(space, member)
    device = resolve(space.config.prediction.device, rule.threads)["device"]
    progress = Progress(f"train member {member}", rule.steps)
    fold = fold_of(space, member)
    sections = [_section(s) for s in labelled(space, lambda other: other != fold)]
    kept_back = [_section(s) for s in labelled(space, lambda other: other == fold)]
    architecture = Architecture(width=space.config.model.width)
    for record in train(architecture, rule, sections, kept_back, state, device):
        curve.append(_plain(record))
        _keep(path, record, curve, fingerprint)
        state = record.state or state
        progress(record.step, f", loss {record.fused:.4f}")
    if state is None:
        raise DcanError(f"training.steps is {rule.steps}: no step was made, give 1 or more")
    return state, curve


def train_member(space: Workspace, member: int) -> None:
    """Train one network of the ensemble; a killed training goes on from its last state."""
    with working(space, "train", f"member-{member}"):
        check_inputs(space, "truth")
        ledger = space.ledger("train")
        ledger.begin()
        key = f"member-{member}"
        if key not in ledger.entries():
            fingerprint = digest([ledger.fingerprint, member])
            state, curve = _fit(space, member, fingerprint)
            stored = _write(space, member, state, curve)
            with ledger.attempt() as (journal, _):
                journal.append(Entry(key, stored, None, {"steps": state.step}))
        else:
            _log.info("train: %s is done", key)
        write_text(ledger.folder / f"{key}.json", json.dumps({"fingerprint": ledger.fingerprint}))


def _write(
    space: Workspace, member: int, state: TrainingState, curve: list[Any]
) -> tuple[Stored, ...]:
    rule = recipe(space, member)
    architecture = Architecture(width=space.config.model.width)
    volumes = space.receipt("truth").values["volumes"]
    meta = Meta(
        architecture=dict(architecture.plain()),
        recipe=json.loads(json.dumps(asdict(rule))),
        step=state.best_step or state.step,
        validation_loss=state.best_loss,
        sections=hashes(volumes, lambda fold: fold != fold_of(space, member)),
        halo=-(-reach(architecture) // 8) * 8,
        versions=versions("numpy", "scipy", "torch"),
    )
    folder = space.root / "models"
    weights, records = (folder / f"member-{member}.{end}" for end in ("safetensors", "jsonl"))
    save_weights(weights, state.best, meta)
    write_text(records, "".join(json.dumps(record) + "\n" for record in curve))
    return seal_file(space.root, weights), seal_file(space.root, records)


def given(space: Workspace) -> list[Path]:
    """The files that `model.weights` names; empty when the network is to be trained."""
    named = space.config.model.weights
    if named is None:
        return []
    path = Path(named)
    shipped = Path(__file__).parents[2] / "models" / f"{named}.safetensors"
    if path.is_dir():
        files = sorted(p for p in path.glob("*.safetensors") if ".state." not in p.name)
    else:
        files = [p for p in (path, shipped) if p.is_file()][:1]
    if not files:
        raise DcanError(
            f"model.weights is {named!r}: no checkpoint, no folder of checkpoints and no name in "
            "models/: give one of these, or null to train"
        )
    return files


def weights(space: Workspace) -> None:
    """Vouch for the members: those that were trained, or those that are given."""
    with working(space, "train", "weights"):
        files = given(space)
        ledger: Ledger | None = None if files else space.ledger("train")
        entries: list[Entry] = []
        if ledger:
            found = ledger.entries()
            count = space.config.training.members
            absent = [m for m in range(count) if f"member-{m}" not in found]
            if absent:
                raise DcanError(f"member {absent[0]} is not trained: run snakemake train")
            entries = [found[f"member-{m}"] for m in range(count)]
            files = [space.root / "models" / f"member-{m}.safetensors" for m in range(count)]
        else:
            _log.info("train: weights are ready (%s): there is nothing to train", files[0])
        members = [load_weights(path, layout) for path in files]
        if len({json.dumps(m.meta.architecture) for m in members}) > 1:
            raise DcanError(f"{files[0].parent} holds networks of several architectures: name one")
        hashes = [m.sha256 for m in members]
        values = {
            "members": [str(path.absolute()) for path in files],
            "sha256": hashes,
            "given": ledger is None,
            "sections": sorted({h for m in members for h in m.meta.sections}),
            "halo": max(m.meta.halo for m in members),
        }
        fingerprint = ledger.fingerprint if ledger else digest(hashes)
        vouch(space, "train", fingerprint, values, identity=digest(hashes), entries=entries)


def members(space: Workspace) -> list[Weights]:
    """The networks of the ensemble, checked against the receipt of training."""
    receipt = space.receipt("train")
    found = []
    for path, wanted in zip(receipt.values["members"], receipt.values["sha256"], strict=True):
        loaded = load_weights(Path(path), layout)
        if loaded.sha256 != wanted:
            raise DcanError(
                f"checkpoint {path} is not the one that was vouched for: restore it, or remove "
                "receipts/train.json and run snakemake"
            )
        found.append(loaded)
    return found
