"""Train the members of the ensemble, or take weights that are ready."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dcan.config.networks import evenly
from dcan.errors import DcanError
from dcan.net.augment import Section
from dcan.net.model import STRIDE
from dcan.net.networks import layout, reach
from dcan.net.state import TrainingState
from dcan.net.train import Material, Record, train
from dcan.steps.devices import devices
from dcan.steps.onnx import vouch_for_onnx
from dcan.steps.recipes import Machine, architecture, recipe
from dcan.steps.starting import checkpoints, start_of, starts, tell_seen, vouched
from dcan.steps.truth import Labelled, hashes, labelled
from dcan.steps.versions import versions
from dcan.steps.vouching import Progress, check_inputs, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import count
from dcan.storage.checkpoints import (
    Meta,
    Weights,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from dcan.storage.events import Events
from dcan.storage.objects import Stored, seal_file, write_text
from dcan.storage.receipts import Entry, Ledger, digest

_log = logging.getLogger("dcan")


def fold_of(space: Workspace, member: int) -> int:
    """The fold that a member is not trained on, and that its weights are chosen on."""
    return member % space.config.training.folds


def _section(found: Labelled) -> Section:
    return Section(found.table[found.em], found.target)


@dataclass(slots=True)
class _Kept:
    """The file that a training goes on from: its last state, its curve, its machine."""

    path: Path
    fingerprint: str
    machine: Machine
    state: TrainingState | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> None:
        """Go on from the file, when it is of the same training."""
        if not self.path.exists():
            return
        tensors, plain = load_state(self.path)
        if plain.pop("fingerprint", None) != self.fingerprint:
            return
        self.machine = self.machine.going_on(plain.pop("machine", None))
        self.curve = [dict(r) for r in plain.pop("curve", []) or [] if isinstance(r, dict)]  # type: ignore[union-attr]
        self.state = TrainingState.unpack(tensors, plain)
        _log.info("train: going on from step %s", self.state.step)

    def add(self, record: Record) -> None:
        """Keep a record, and write the state that comes with it."""
        self.curve.append(_plain(record))
        if record.state is not None:
            self.state = record.state
            tensors, plain = record.state.pack()
            own: dict[str, Any] = {
                **plain,
                "fingerprint": self.fingerprint,
                "machine": asdict(self.machine),
                "curve": self.curve,
            }
            save_state(self.path, tensors, own)


def _plain(record: Record) -> dict[str, Any]:
    return {
        field.name: getattr(record, field.name) for field in fields(record) if field.name != "state"
    }


def _fit(
    space: Workspace, member: int, fingerprint: str, gpus: int, start: Weights | None
) -> _Kept:
    """Train to the end, keeping a state to go on from."""
    path = space.root / "models" / f"member-{member}.state.safetensors"
    kept = _Kept(path, fingerprint, Machine.found(space), _first(start))
    kept.read()
    rule = recipe(space, member, kept.machine)
    _log.info("train: %s, %s, %d workers", kept.machine.device, rule.precision, rule.workers)
    progress = Progress(f"train member {member}", rule.steps)
    fold = fold_of(space, member)
    sections = [_section(s) for s in labelled(space, lambda other: other != fold)]
    kept_back = list(labelled(space, lambda other: other == fold))
    tell_seen([s.sha256 for s in kept_back], start)
    material, shape = Material(sections, [_section(s) for s in kept_back]), architecture(space)
    since = kept.state.step if kept.state else 0
    count(rule.steps, rule.steps - since, 1)
    used = evenly(rule.batch, gpus)
    if used < gpus:
        _log.info("train: on %d of %d GPUs, to which a batch is dealt out evenly", used, gpus)
    with (
        Events(space.root / "tensorboard" / f"member-{member}", since) as events,
        devices({"device": kept.machine.device, "name": kept.machine.name}, used) as held,
    ):
        for record in train(shape, rule, material, kept.state, held):
            kept.add(record)
            events.add(record.step, _watched(record))
            progress(record.step, f", loss {record.fused:.4f}, device busy {record.busy:.0%}")
    return kept


def _first(start: Weights | None) -> TrainingState | None:
    """The state before the first step."""
    return TrainingState(0, start.tensors, {}, {}, {}) if start else None


def _watched(record: Record) -> dict[str, float]:
    """What TensorBoard shows of a record, by group and name."""
    found = {
        "loss/total": record.loss,
        "loss/fused": record.fused,
        **{f"loss/{name}": loss for name, loss in record.heads.items()},
        "loss/validation": record.validation,
        "validation/rand_error": record.rand_error,
        "schedule/learning_rate": record.learning_rate,
        "schedule/w_c": record.discount,
        "machine/busy": record.busy,
    }
    return {name: value for name, value in found.items() if value is not None}


def _ledger(space: Workspace, start: Sequence[Weights]) -> Ledger:
    """The ledger of training; it depends on the content of what is started from, too."""
    return space.ledger("train", **({"start": [s.sha256 for s in start]} if start else {}))


def train_member(space: Workspace, member: int, gpus: int = 1) -> None:
    """Train one network of the ensemble; a killed training goes on from its last state.

    `gpus`: how many this job was given; they share each batch.

    Raises DcanError: there is no such member.
    """
    members = space.config.training.members
    if not 0 <= member < members:
        raise DcanError(f"--member {member}: training.members is {members}, give 0..{members - 1}")
    with working(space, "train", f"member-{member}"):
        check_inputs(space, "truth")
        start = starts(space)  # once: the files may change while the training runs
        ledger, own = _ledger(space, start), start_of(start, member)
        ledger.begin()
        key = f"member-{member}"
        if key not in ledger.entries():
            fingerprint = digest([ledger.fingerprint, member])
            kept = _fit(space, member, fingerprint, gpus, own)
            stored = _write(space, member, kept, own)
            with ledger.attempt() as (journal, _):
                journal.append(Entry(key, stored, None, {"steps": space.config.training.steps}))
        else:
            _log.info("train: %s is done", key)
            count(space.config.training.steps, 0, 1)
        write_text(ledger.folder / f"{key}.json", json.dumps({"fingerprint": ledger.fingerprint}))


def _write(space: Workspace, member: int, kept: _Kept, start: Weights | None) -> tuple[Stored, ...]:
    """The weights that were best and the curve, from a training that is at its end."""
    state, shape = kept.state, architecture(space)
    if state is None or state.best_step is None:
        raise DcanError(f"training.steps is {space.config.training.steps}: give 1 or more")
    meta = Meta(
        architecture=shape.plain(),
        recipe=recipe(space, member, kept.machine).plain(),
        step=state.best_step,
        start=start.sha256 if start else None,
        validation_loss=state.best_loss,
        validation_rand_error=state.best_rand,
        sections=_learned(space, member, start),
        halo=-(-reach(shape) // STRIDE) * STRIDE,
        versions=versions("numpy", "scipy", "torch"),
    )
    folder = space.root / "models"
    weights, records = (folder / f"member-{member}.{end}" for end in ("safetensors", "jsonl"))
    save_weights(weights, state.best, meta)
    write_text(records, "".join(json.dumps(record) + "\n" for record in kept.curve))
    return seal_file(space.root, weights), seal_file(space.root, records)


def _learned(space: Workspace, member: int, start: Weights | None) -> tuple[str, ...]:
    """Hashes of the sections trained on, also of those behind what it started from."""
    fold = fold_of(space, member)
    own = hashes(space.receipt("truth").values["volumes"], lambda other: other != fold)
    before = start.meta.sections if start else ()
    return tuple(dict.fromkeys([*own, *before]))


def weights(space: Workspace) -> None:
    """Vouch for the members: those that were trained, or those that are given."""
    with working(space, "train", "weights"):
        if space.config.model.onnx:
            vouch_for_onnx(space, space.config.model.onnx)
            return
        named = space.config.model.weights
        files = checkpoints(named, "model.weights") if named else []
        ledger: Ledger | None = None if files else _ledger(space, starts(space))
        entries: list[Entry] = []
        if ledger:
            found = ledger.entries()
            every = range(space.config.training.members)
            absent = [m for m in every if f"member-{m}" not in found]
            if absent:
                raise DcanError(f"member {absent[0]} is not trained: run snakemake train")
            entries = [found[f"member-{m}"] for m in every]
            files = [space.root / "models" / f"member-{m}.safetensors" for m in every]
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
    return vouched(space, lambda path: load_weights(path, layout))
