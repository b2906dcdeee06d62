"""Compare trainings: each run trained, calibrated and scored on the validation sections."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config import STAGES, Config
from dcan.config.experiment import load_experiment
from dcan.config.model import Evaluation, Truth
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor, predict_section
from dcan.net.rule import DivergedError
from dcan.ops.fusion import fused_map
from dcan.ops.metrics import score_stack
from dcan.ops.sections import segment
from dcan.ops.targets import NEURITE, target
from dcan.steps.assess import SHOWN, HeldOut, fusion_of, neurite_map
from dcan.steps.calibrate import calibrate
from dcan.steps.comparing import table
from dcan.steps.devices import device
from dcan.steps.probe import probe
from dcan.steps.resolve import predictor, resolve
from dcan.steps.sources import given_files, hints, opened
from dcan.steps.train import members, train_member, weights
from dcan.steps.truth import fingerprint_of, truth
from dcan.steps.validation import Validation
from dcan.steps.vouching import Progress, remembered
from dcan.steps.workspace import Workspace
from dcan.storage.objects import write_text
from dcan.storage.receipts import digest

Array = NDArray[Any]
ALL = ("probe", "truth", "train", "resolve", "calibrate", "evaluate")

_log = logging.getLogger("dcan")


def experiment(file: str, *, held_out: bool = False) -> str:
    """Train and score every run of an experiment, and put them side by side.

    Runs that are done are not done again, one that was killed goes on. Writes results.json and
    results.md to `<output>/<experiment>`; returns the table. With `held_out` the sections of
    `evaluation` are scored instead, into held-out.json and held-out.md: they choose nothing.

    Raises DcanError: an impossible experiment, or held-out sections are asked for and none given.
    """
    found, runs = load_experiment(file)
    every = [config for seeds in runs.values() for config in seeds.values()]
    if any(config.volume.mask is not None for config in every):
        raise DcanError(
            "the base of the experiment has a volume.mask, which experiments do not look at: set "
            "it to null there"
        )
    if held_out:
        for config in every:
            _scored(config)
    records: dict[str, list[dict[str, Any]]] = {}
    for name, seeds in runs.items():
        for seed, config in seeds.items():
            done = sum(map(len, records.values()))
            _log.info("experiment: %s, seed %d (%d of %d)", name, seed, done + 1, len(every))
            records.setdefault(name, []).append({"seed": seed, **_result(config, held_out)})
    folder = Path(config.output)
    what = "held-out" if held_out else "results"
    shown = {"experiment": found.name, "scored": what, "steps": found.steps, "runs": records}
    text = table(records)
    write_text(folder / f"{what}.json", json.dumps(shown, indent=1) + "\n")
    write_text(folder / f"{what}.md", table(records, markdown=True))
    return f"{found.name}, {found.steps} steps, {what} ({folder}/{what}.md)\n{text}"


def _result(config: Config, held_out: bool) -> dict[str, Any]:
    """What is known of one run; trains it unless that was done under the same values."""
    space = Workspace.of(config)
    versions = {name: STAGES[name].version for name in ALL}
    named = given_files(config)
    fingerprint = digest([config.model_dump(mode="json"), versions, hints(config), named])
    record = _record(space, fingerprint)
    if not held_out or "failed" in record:
        return record
    made = record["made"]
    scored = partial(_held_out, space, made)
    return record | remembered(space, "experiment", digest([fingerprint, made]), scored, "held-out")


def _record(space: Workspace, fingerprint: str) -> dict[str, Any]:
    """The record of a run, kept only while what it was made of lies there.

    A run under other values, killed half way, leaves its own networks in the same folder.
    """
    record = remembered(space, "experiment", fingerprint, partial(_run, space))
    if "failed" in record or record["made"] == _made(space):
        return record
    _log.info("experiment: the networks are not those of the record: run again")
    (space.root / "receipts" / "experiment" / "record.json").unlink()
    return remembered(space, "experiment", fingerprint, partial(_run, space))


def _made(space: Workspace) -> dict[str, str] | None:
    """Identities of the networks and of their calibration; None: one is not there."""
    try:
        return {stage: space.identity(stage) for stage in ("train", "calibrate")}
    except DcanError:
        return None


def _run(space: Workspace) -> dict[str, Any]:
    probe(space)
    truth(space)
    validation = Validation(space)
    shapes = {section.target.shape for section in validation.sections}
    if len(shapes) > 1:
        raise DcanError(
            f"the validation sections have the shapes {sorted(shapes)}: an experiment scores them "
            "as one stack, give sections of one shape"
        )
    try:
        for member in range(space.config.training.members):
            train_member(space, member)
    except DivergedError as error:
        _log.warning("experiment: %s", error)
        return {"failed": str(error)}
    weights(space)
    resolve(space)
    calibrate(space, workers=space.config.prediction.threads)
    truths = np.stack([section.target == NEURITE for section in validation.sections])
    scores = _scores(space, truths, validation.maps)
    return {**_cost(space), "chosen": space.chosen(), "made": _made(space), **scores}


def _cost(space: Workspace) -> dict[str, Any]:
    """What the first member is and what its training took."""
    kept = members(space)[0]
    path = Path(space.receipt("train").values["members"][0])
    rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text("utf-8").splitlines()]
    seconds = sum(row["seconds"] for row in rows)
    return {
        "members": space.config.training.members,
        "parameters": sum(tensor.numel() for tensor in kept.tensors.values()),
        "precision": kept.meta.recipe["precision"],
        "seconds_per_step": seconds / space.config.training.steps,
        "busy": sum(row["busy"] * row["seconds"] for row in rows) / seconds,
        "best_step": kept.meta.step,
    }


def _scores(space: Workspace, truths: Array, maps: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """The metrics of the networks' maps alone and fused, at the threshold best for each."""
    fusion = fusion_of(space)
    fused = [np.float32(1) - fused_map(u, segment(u, fusion).contour, fusion.w_f) for u in maps]
    found = {}
    for name, stack in (("p", [neurite_map(u) for u in maps]), ("fused", fused)):
        best = score_stack(truths, np.stack(stack)).best
        found[name] = {short: best[key] for short, key in SHOWN.items()}
    return found


def _scored(config: Config) -> tuple[Truth, Evaluation]:
    """The labels and the held-out sections. Raises DcanError: one of them is not there."""
    if config.truth is None or config.evaluation is None:
        raise DcanError(
            "--held-out, but the base has no truth or no evaluation: give both, of sections that "
            "nothing is trained or chosen on"
        )
    return config.truth, config.evaluation


def _held_out(space: Workspace, made: dict[str, str]) -> dict[str, Any]:
    """The metrics of the held-out sections, which chose nothing, by the networks of the record.

    Raises DcanError: others lie there.
    """
    with device(space) as name:  # which may be waited for
        if _made(space) != made:
            raise DcanError(
                f"the networks of {space.config.volume.name} were changed after they were scored: "
                "give the same command again, with no other of this experiment beside it"
            )
        return _held_out_by(space, predictor(space, device=name))


def _held_out_by(space: Workspace, network: Predictor) -> dict[str, Any]:
    given, evaluation = _scored(space.config)
    held, source = HeldOut(space, given, evaluation), opened(space.config, "volume")
    _, height, width = source.shape
    prediction = space.config.prediction
    progress = Progress("experiment: held-out sections", len(held.sections))
    truths, maps, seen = [], [], []
    for number, z in enumerate(held.sections, 1):
        em = source.read(Box((z, 0, 0), (z + 1, height, width)))[0]
        normalised = section_table(histogram(em))
        whole = predict_section(network, em, normalised, prediction.tile, prediction.halo)
        on = target(held.labels(z), given.kind) == NEURITE
        box = held.box(z).slices[1:]
        truths.append(on)
        maps.append(whole[box])
        seen += [z] * (fingerprint_of(em[box]) in (space.learned or ()))
        progress(number)
    if seen:
        _log.warning("experiment: the network saw sections %s in training", seen)
    return {**_scores(space, np.stack(truths), maps), "seen_in_training": seen}
