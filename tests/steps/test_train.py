"""Members: stopped and gone on from, on the machine that they began on, by the values given."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcan.errors import DcanError
from dcan.net.augment import DISTURBANCES
from dcan.net.networks import layout
from dcan.net.train import Record, train
from dcan.report import learned
from dcan.steps import train as steps
from dcan.steps.calibrate import calibrate
from dcan.steps.recipes import Machine, architecture, recipe
from dcan.steps.report_training import training
from dcan.steps.resolve import predictor, resolve
from dcan.steps.starting import checkpoints
from dcan.steps.train import train_member, weights
from dcan.steps.truth import labelled as truth_sections
from dcan.steps.watching import standings
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import attempts
from dcan.storage.checkpoints import LARGEST_HEADER, Meta, load_weights, save_weights
from tests.steps.conftest import Make, noise
from tests.steps.test_truth import prepared
from tests.storage.test_events import read

TRAINING = {
    **{"steps": 4, "crop": 16, "batch": 1, "threads": 1},
    **{"validate_every": 2, "checkpoint_every": 1},
}


@pytest.fixture
def labelled(make: Make, tmp_path: Path) -> Make:
    """A prepared workspace with noise for image and truth."""

    def workspace(**given: Any) -> Workspace:
        np.save(tmp_path / "labels.npy", (noise(4, 24, 24, seed=1) > 60) * np.uint8(255))
        truth = {
            "source": str(tmp_path / "labels.npy"),
            "kind": "membranes",
            "sections": "0:4",
            "validation": given.pop("validation", None),
        }
        sections = {
            "truth": truth,
            "segmentation": given.pop("segmentation", {}),
            "model": given.pop("model", {"width": 2}),
            "training": {**TRAINING, **given},
            "prediction": {"tile": 32, "threads": 1},
        }
        return prepared(make(noise(4, 24, 24), **sections))

    return workspace


def trained(space: Workspace, member: int = 0) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights as they are stored, and the curve without its times."""
    train_member(space, member)
    path = space.root / "models" / f"member-{member}.safetensors"
    rows = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    for row in rows:
        assert row.pop("seconds") > 0
        assert 0 <= row.pop("busy") <= 1
    return path.read_bytes(), rows


def card(space: Workspace) -> Meta:
    return load_weights(space.root / "models" / "member-0.safetensors", layout).meta


def kill(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the next training end before it records `step`."""

    def until(*given: Any) -> Any:
        for record in train(*given):
            if record.step == step:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(steps, "train", until)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_at_any_step_and_begun_again_the_weights_are_the_same(
    labelled: Make, monkeypatch: pytest.MonkeyPatch, precision: str, tmp_path: Path
) -> None:
    space = labelled(precision=precision)
    whole, curve = trained(space)
    (space.root / "models").rename(tmp_path / "kept")
    (space.root / "receipts" / "train").rename(tmp_path / "receipts")
    for step in (1, 3, 4):
        kill(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            train_member(space, 0)
    monkeypatch.setattr(steps, "train", train)
    assert trained(space) == (whole, curve)
    assert len(curve) == 4
    # done is done: nothing is trained a second time
    kill(monkeypatch, 1)
    assert trained(space) == (whole, curve)
    tried = attempts(space.root / "receipts" / "train" / "member-0.attempts")
    assert [each.share for each in tried] == [None, None, None, 0.25, 0.0], "of four steps"


def test_a_long_curve_is_gone_on_from_and_complete(
    labelled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, note = steps._plain, "x" * (LARGEST_HEADER // 2)
    monkeypatch.setattr(steps, "_plain", lambda record: {**real(record), "note": note})
    space = labelled()
    kill(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        train_member(space, 0)
    monkeypatch.setattr(steps, "train", train)
    _, rows = trained(space)
    assert [(row["step"], row["note"] == note) for row in rows] == [(n, True) for n in (1, 2, 3, 4)]


def test_workers_and_checkpoints_leave_no_trace_in_the_weights(
    labelled: Make, tmp_path: Path
) -> None:
    files = []
    for workers, every in ((0, 1), (3, 2)):
        space = labelled(workers=workers, checkpoint_every=every, average=0.9)
        files.append(trained(space)[0])
        space.root.rename(tmp_path / f"results-{workers}")
    assert files[0] == files[1]


def test_auto_goes_on_in_the_precision_that_it_began_in(
    labelled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = labelled()
    kill(monkeypatch, 3)
    monkeypatch.setattr("dcan.steps.recipes.precision_of", lambda *_: "float32")
    with pytest.raises(KeyboardInterrupt):
        train_member(space, 0)
    monkeypatch.setattr(steps, "train", train)
    monkeypatch.setattr("dcan.steps.recipes.precision_of", lambda *_: "bfloat16")
    train_member(space, 0)
    assert card(space).recipe["precision"] == "float32"


def test_on_another_device_it_does_not_go_on(
    labelled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = labelled()
    kill(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train_member(space, 0)
    monkeypatch.setattr(steps, "train", train)
    other = Machine("cuda", "bfloat16")
    monkeypatch.setattr(Machine, "found", classmethod(lambda *_: other))
    with pytest.raises(DcanError, match=r"began on cpu, this machine has cuda: .*remove models"):
        train_member(space, 0)
    began = Machine("cuda", "bfloat16", "H100")
    with pytest.raises(DcanError, match=r"began on H100, this machine has V100: "):
        Machine("cuda", "bfloat16", "V100").going_on(dataclasses.asdict(began))


def test_the_configuration_decides_the_network_and_the_rule(make: Make) -> None:
    model = {
        **{"width": 3, "heads": ["C1", "C3"], "head": "convolve", "inner": 5},
        "deconvolution": "random",
    }
    rule = {
        **{"rule": "paper", "learning_rate": 0.5, "weight_decay": 0, "auxiliary": False},
        **{"discount_start": 2.0, "discount_periods": 4, "discount_floor": 0.5},
        **{"average": 0.25, "workers": 3, "seed": 7},
    }
    space = make(noise(2, 16, 16), model=model, training=rule)
    found = recipe(space, 2, Machine("cpu", "bfloat16"))
    shape = architecture(space)
    assert (shape.width, shape.heads, shape.head, shape.inner) == (3, ("C1", "C3"), "convolve", 5)
    assert found.resolved().optimiser == "sgd"
    assert (found.resolved().start, found.resolved().decay) == (0.5, 0)
    assert (found.auxiliary, found.discount_start) == (False, 2.0)
    assert (found.discount_periods, found.discount_floor) == (4, 0.5)
    assert (found.average, found.precision, found.deconvolution) == (0.25, "bfloat16", "random")
    assert (found.seed, found.workers) == (9, 3)
    assert architecture(make(noise(2, 16, 16), model={"kind": "unet"})).kind == "unet"


def test_beside_a_gpu_all_cores_make_samples(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    space = make(noise(2, 16, 16))
    assert recipe(space, 0, Machine("cuda", "bfloat16")).workers == 12
    assert recipe(space, 0, Machine("cpu", "float32")).workers == 1


@pytest.mark.parametrize("model", [{"kind": "unet", "width": 2}, {"width": 2, "heads": ["C2"]}])
def test_every_network_is_calibrated_and_predicts(labelled: Make, model: dict[str, Any]) -> None:
    space = labelled(model=model, steps=2)
    train_member(space, 0)
    weights(space)
    resolve(space)
    calibrate(space)
    found = predictor(space).tile(np.zeros((1, 144, 144), np.float32), 56)
    assert found.shape == (1, 32, 32)
    kind = model.get("kind", "dcan")
    assert card(space).architecture["kind"] == kind
    error = card(space).validation_rand_error
    assert error is not None
    assert 0 <= error <= 1


def test_a_record_has_what_the_report_asks_for(labelled: Make) -> None:
    space = labelled()
    _, rows = trained(space)
    assert [row["step"] for row in rows if row["rand_error"] is not None] == [2, 4]
    kept = {*rows[0], "seconds", "busy"}
    assert kept == set(Record.__dataclass_fields__) - {"state"}
    assert list(rows[0]["heads"]) == ["C1", "C2", "C3"]


def test_the_report_shows_each_disturbance_and_the_network_that_is_kept(labelled: Make) -> None:
    space = labelled(augmentation={"blur": 0, "creases": 0.5})
    train_member(space, 0)
    weights(space)
    found = training(space)
    assert isinstance(found, learned.Training)
    assert {"none", "turns", *DISTURBANCES} - {"blur"} == {row.name for row in found.samples}
    assert all(image.shape == (96, 96) for row in found.samples for image in row.images)
    plain, folded = (next(r for r in found.samples if r.name == n) for n in ("none", "creases"))
    assert not any((target == 2).any() for target in plain.targets)
    assert all((target == 2).any() for target in folded.targets)
    (member,) = found.members
    best = min((r for r in member.records if r.rand_error is not None), key=order)
    assert member.chosen_step == best.step


def test_without_validation_all_sections_are_learned_and_the_last_step_is_kept(
    labelled: Make,
) -> None:
    given = {"sigma": 1, "depth": 16, "w_f": 0.5, "t": 0.4}
    space = labelled(validation="none", segmentation=given, average=0.0, steps=5)
    _, rows = trained(space)
    assert {row["rand_error"] for row in rows} == {row["validation"] for row in rows} == {None}
    assert (card(space).step, card(space).validation_loss) == (5, None)
    assert len(card(space).sections) == 4
    weights(space)
    resolve(space)
    calibrate(space)
    assert given.items() <= space.chosen().items()
    found = training(space)
    assert isinstance(found, learned.Training)
    assert (found.sections, found.validation) == ((0, 1, 2, 3), ())
    assert found.members[0].chosen_step == 5


def order(record: learned.TrainingRecord) -> tuple[float, float]:
    assert record.rand_error is not None
    assert record.validation is not None
    return record.rand_error, record.validation


def test_tensorboard_gets_the_curve_of_every_start(
    labelled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = labelled()
    kill(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train_member(space, 0)
    monkeypatch.setattr(steps, "train", train)
    train_member(space, 0)
    files = sorted((space.root / "tensorboard" / "member-0").iterdir(), key=lambda p: p.suffix)
    events = [[e for e in read(path) if e.HasField("summary")] for path in files]
    assert [sorted({e.step for e in part}) for part in events] == [[1, 2], [3, 4]]
    tags = {e.summary.value[0].tag for e in events[0]}
    assert {"loss/fused", "loss/C3", "loss/validation", "validation/rand_error"} <= tags


def starting(space: Workspace, path: Path, **more: Any) -> Workspace:
    given = space.config.training.model_copy(update={"start_from": str(path), **more})
    return Workspace.of(space.config.model_copy(update={"training": given}))


def test_a_training_starts_from_given_weights_and_knows_their_sections(
    labelled: Make, tmp_path: Path
) -> None:
    first = labelled(seed=3)
    trained(first)
    ready = tmp_path / "ready.safetensors"
    (first.root / "models" / "member-0.safetensors").rename(ready)
    loaded = load_weights(ready, layout)
    strange = "e" * 64
    meta = loaded.meta.model_copy(update={"sections": (*loaded.meta.sections, strange)})
    save_weights(ready, loaded.tensors, meta)
    # a rate of next to nothing leaves what it started from
    still = starting(first, ready, learning_rate=1e-12, average=0.0)
    train_member(still, 0)
    kept = load_weights(still.root / "models" / "member-0.safetensors", layout)
    for name, tensor in kept.tensors.items():
        torch.testing.assert_close(tensor, loaded.tensors[name])
    assert kept.meta.sections == meta.sections
    assert (kept.meta.start, loaded.meta.start) == (load_weights(ready, layout).sha256, None)
    weights(still)
    assert strange in still.learned
    # other weights under the same path are another training
    save_weights(ready, {n: 2 * t for n, t in loaded.tensors.items()}, meta)
    train_member(still, 0)
    again = load_weights(still.root / "models" / "member-0.safetensors", layout)
    torch.testing.assert_close(
        again.tensors["stages.0.0.weight"], 2 * loaded.tensors["stages.0.0.weight"]
    )


def test_what_is_started_from_is_read_once(
    labelled: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = labelled()
    trained(first)
    ready = Path(shutil.copy(first.root / "models" / "member-0.safetensors", tmp_path))
    loaded = load_weights(ready, layout)
    strange = loaded.meta.model_copy(update={"sections": ("e" * 64,)})

    def changed(*given: Any) -> Any:
        save_weights(ready, loaded.tensors, strange)
        yield from train(*given)

    monkeypatch.setattr(steps, "train", changed)
    train_member(starting(first, ready, seed=5), 0)
    assert load_weights(ready, layout).meta == strange
    assert card(first).sections == loaded.meta.sections


def test_validation_sections_that_the_start_knows_are_told(
    labelled: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = labelled()
    trained(first)
    ready = Path(shutil.copy(first.root / "models" / "member-0.safetensors", tmp_path))
    train_member(starting(first, ready, seed=5), 0)
    told = "training.start_from has learned"
    assert told not in caplog.text
    loaded = load_weights(ready, layout)
    kept_back = [s.sha256 for s in truth_sections(first, lambda fold: fold is not None)]
    known = loaded.meta.model_copy(update={"sections": (*loaded.meta.sections, kept_back[0])})
    save_weights(ready, loaded.tensors, known)
    train_member(starting(first, ready, seed=5), 0)
    assert f"{told} 1 of the {len(kept_back)} validation sections" in caplog.text


@pytest.mark.parametrize("member", [-1, 2])
def test_a_member_that_there_is_not_is_not_trained(labelled: Make, member: int) -> None:
    space = labelled(members=2)
    with pytest.raises(DcanError, match=rf"--member {member}: training.members is 2, give 0..1"):
        train_member(space, member)
    assert not (space.root / "models").exists()


def test_a_folder_of_weights_is_taken_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    names = ["a-1", "member-0", "member-2", "member-10", "member-010b", "member-11"]
    for name in (*names, "member-2.state"):
        (tmp_path / f"{name}.safetensors").touch()
    found = checkpoints(str(tmp_path), "model.weights")
    assert [path.stem for path in found] == names


def test_weights_of_another_network_are_no_start(labelled: Make, tmp_path: Path) -> None:
    first = labelled()
    trained(first)
    own = first.root / "models" / "member-0.safetensors"
    path = Path(shutil.copy(own, tmp_path))
    model = first.config.model.model_copy(update={"width": 3})
    wider = first.config.model_copy(update={"model": model})
    with pytest.raises(DcanError, match=r"training.start_from is .*'width': 2.*'width': 3.*change"):
        train_member(starting(Workspace.of(wider), path), 0)
    with pytest.raises(DcanError, match=r"training.start_from is .* would write over"):
        train_member(starting(first, own.parent), 0)
    with pytest.raises(DcanError, match=r"training.start_from is .*nowhere.*no checkpoint"):
        train_member(starting(first, tmp_path / "nowhere"), 0)


def test_status_knows_what_was_trained_and_calibrated_under_other_values(labelled: Make) -> None:
    def states(space: Workspace) -> dict[str, str]:
        wanted = ("truth", "train", "calibrate")
        return {s.stage: s.state for s in standings(space, time.time()) if s.stage in wanted}

    def changed(section: str, **values: Any) -> Workspace:
        given = getattr(space.config, section).model_copy(update=values)
        return Workspace.of(space.config.model_copy(update={section: given}))

    space = labelled()
    train_member(space, 0)
    weights(space)
    resolve(space)
    calibrate(space)
    assert states(space) == {"truth": "done", "train": "done", "calibrate": "done"}
    assert states(changed("training", steps=5))["train"] == "outdated"
    assert states(changed("segmentation", min_size=7))["calibrate"] == "outdated"
