"""Runs side by side on a tiny phantom: by the file of docs/operations.md, and refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

from dcan.cli import main
from dcan.config.experiment import load_experiment
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.networks import layout
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import predict_section
from dcan.ops.metrics import score_stack
from dcan.ops.targets import NEURITE, target
from dcan.steps import train as steps
from dcan.steps.comparing import table
from dcan.steps.experiment import experiment
from dcan.steps.resolve import predictor
from dcan.steps.sources import opened
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import load_weights, save_weights

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
EXAMPLE: dict[str, Any] = yaml.safe_load(
    next(b for b in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S) if "runs:" in b)
)
BASE: dict[str, Any] = {
    "volume": {"name": "tiny", "source": "phantom", "voxel_size": [50, 4, 4]},
    "phantom": {"shape": [8, 96, 96], "seed": 3},
    "truth": {"source": "phantom", "kind": "neurites", "sections": "0:4", "validation": "3:4"},
    "evaluation": {"sections": "4:6"},
    "training": {"crop": 32, "batch": 1, "threads": 1, "validate_every": 2, "checkpoint_every": 2},
    "model": {"width": 2},
    "prediction": {"tile": 96, "halo": 64, "threads": 1},
}

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """The path of an experiment beside the tiny base, in the working directory."""
    monkeypatch.chdir(tmp_path)

    def written(over: dict[str, Any] | None = None, **changed: Any) -> str:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE | (over or {})))
        given = EXAMPLE | {"base": "base.yaml", "steps": 4} | changed
        (tmp_path / "heads.yaml").write_text(yaml.safe_dump(given))
        return "heads.yaml"

    return written


def weights_of(folder: Path) -> dict[str, bytes]:
    found = folder.glob("*/models/member-*.safetensors")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if ".state." not in p.name}


def test_the_example_of_the_page_gives_a_row_for_each_run(write: Write) -> None:
    shown = experiment(write())
    folder = Path("results") / EXAMPLE["name"]
    found = json.loads((folder / "results.json").read_text())
    assert list(found["runs"]) == [run["name"] for run in EXAMPLE["runs"]]
    seeds = {name: [r["seed"] for r in rows] for name, rows in found["runs"].items()}
    assert seeds == {r["name"]: r.get("seeds", EXAMPLE["seeds"]) for r in EXAMPLE["runs"]}
    assert len(weights_of(folder)) == sum(map(len, seeds.values()))
    assert len(set(weights_of(folder).values())) == len(weights_of(folder))
    for rows in found["runs"].values():
        for row in rows:
            assert 0 <= row["fused"]["rand_error"] <= 1
            assert row["seconds_per_step"] > 0
            assert row["best_step"] in (2, 4)
    lines = (folder / "results.md").read_text().splitlines()
    assert lines[0].startswith("| run | seeds | M parameters | s/step | Rand |")
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in seeds]
    assert "±" in lines[2]
    assert shown.count("\n") == len(seeds) + 2
    assert not (folder / "held-out.json").exists()
    assert not list(folder.glob("*/em.ome.zarr")), "no run copies the volume"


def test_killed_it_goes_on_and_what_is_done_is_not_done_again(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, real = write(runs=[{"name": "a"}, {"name": "b"}], seeds=[0]), steps.train
    folder = Path("results") / EXAMPLE["name"]
    experiment(file)
    whole = weights_of(folder)
    folder.rename(tmp_path / "undisturbed")
    calls = []

    def killed(*given: Any) -> Any:
        calls.append(given[3])  # the state that it goes on from
        for record in real(*given):
            yield record
            if len(calls) == 2 and record.step == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(steps, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        experiment(file)
    experiment(file)
    assert [state.step if state else 0 for state in calls] == [0, 0, 2]
    assert weights_of(folder) == whole
    receipts = sorted(folder.glob("*/receipts/*.json"))
    written = [path.stat().st_mtime_ns for path in receipts]
    assert len(receipts) == 2 * 5
    experiment(file)
    assert len(calls) == 3
    assert [path.stat().st_mtime_ns for path in receipts] == written


def test_held_out_sections_are_scored_when_asked_for_and_choose_nothing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [{"name": "a", "prediction": {"halo": 72}}]
    assert main(["experiment", write(runs=runs, seeds=[1]), "--held-out"]) == 0
    folder = Path("results") / EXAMPLE["name"]
    held = json.loads((folder / "held-out.json").read_text())["runs"]["a"][0]
    assert not (folder / "results.json").exists()
    assert held["seen_in_training"] == []
    assert main(["experiment", "heads.yaml"]) == 0
    kept = json.loads((folder / "results.json").read_text())["runs"]["a"][0]
    assert "held-out" in capsys.readouterr().out.splitlines()[0]
    assert held["fused"] != kept["fused"]
    assert held["chosen"] == kept["chosen"]
    # other held-out sections are other numbers of the same networks
    write({"evaluation": {"sections": "6:8"}}, runs=runs, seeds=[1])
    before = weights_of(folder)
    experiment("heads.yaml", held_out=True)
    other = json.loads((folder / "held-out.json").read_text())["runs"]["a"][0]
    assert other["fused"] != held["fused"]
    assert (other["chosen"], weights_of(folder)) == (held["chosen"], before)


def test_weights_that_change_under_their_name_are_started_from_anew(write: Write) -> None:
    experiment(write(runs=[{"name": "a"}], seeds=[0]))
    (first,) = weights_of(Path("results") / EXAMPLE["name"]).values()
    start, runs = Path("start.safetensors"), [{"name": "b"}]
    start.write_bytes(first)
    given = {"training": BASE["training"] | {"start_from": str(start)}}
    experiment(write(given, runs=runs, seeds=[1], name="started"))
    before = weights_of(Path("results/started"))
    loaded = load_weights(start, layout)
    save_weights(start, {n: 2 * t for n, t in loaded.tensors.items()}, loaded.meta)
    experiment("heads.yaml")
    after = weights_of(Path("results/started"))
    assert before.keys() == after.keys()
    assert before != after


def test_networks_of_other_values_are_not_scored_for_those_of_the_record(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, seeds = [{"name": "a"}], [1]
    other = {"training": BASE["training"] | {"rule": "paper"}}
    folder = Path("results") / EXAMPLE["name"]
    experiment(write(runs=runs, seeds=seeds), held_out=True)
    wanted = (folder / "held-out.json").read_bytes(), weights_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr("dcan.steps.experiment._scores", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiment(write(other, runs=runs, seeds=seeds))
    assert weights_of(folder) != wanted[1]
    experiment(write(runs=runs, seeds=seeds), held_out=True)
    found = json.loads((folder / "held-out.json").read_bytes())["runs"]["a"][0]
    kept = json.loads(wanted[0])["runs"]["a"][0]
    for times in ("seconds_per_step", "busy"):
        found.pop(times), kept.pop(times)
    assert (found, weights_of(folder)) == (kept, wanted[1])


@pytest.mark.parametrize("stage", ["train", "calibrate"])
def test_without_the_receipt_of_its_networks_a_record_does_not_count(
    write: Write, stage: str
) -> None:
    file = write(runs=[{"name": "a"}], seeds=[1])
    experiment(file)
    receipt = Path("results") / EXAMPLE["name"] / "a-1" / "receipts" / f"{stage}.json"
    receipt.unlink()
    experiment(file, held_out=True)
    assert receipt.exists()


def test_networks_that_change_while_a_device_is_waited_for_are_not_scored(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment(write(runs=[{"name": "a"}], seeds=[1]))
    receipts = Path("results") / EXAMPLE["name"] / "a-1" / "receipts"

    @contextmanager
    def waited_for(_: Workspace) -> Iterator[str]:
        (receipts / "calibrate.json").unlink()
        yield "cpu"

    monkeypatch.setattr("dcan.steps.experiment.device", waited_for)
    with pytest.raises(DcanError, match="networks of a-1 were changed after they were scored"):
        experiment("heads.yaml", held_out=True)
    assert not (receipts / "experiment" / "held-out.json").exists()


def test_held_out_maps_lie_where_their_labels_are(write: Write) -> None:
    learning = {"learning_rate": 0.01, "batch": 2, "crop": 64, "validate_every": 60}
    file = write(
        {"model": {"width": 4}}, runs=[{"name": "a", "training": learning}], seeds=[1], steps=60
    )
    experiment(file, held_out=True)
    record = json.loads((Path("results") / EXAMPLE["name"] / "held-out.json").read_text())
    space = Workspace.of(load_experiment(file)[1]["a"][1])
    em, labels = (
        opened(space.config, role).read(Box((4, 0, 0), (6, 96, 96))) for role in ("volume", "truth")
    )
    maps = [predict_section(predictor(space), z, section_table(histogram(z)), 96, 64) for z in em]
    neurite = np.stack([target(section, "neurites") == NEURITE for section in labels])
    high = ((255 - np.stack(maps).astype(np.float64)) / 255).astype(np.float32)
    wanted = score_stack(neurite, high).best
    assert record["runs"]["a"][0]["p"]["pixel_error"] == pytest.approx(wanted["pixel_error"])


def test_a_run_that_diverges_is_said_and_the_others_go_on(write: Write) -> None:
    wild = {"name": "wild", "training": {"rule": "paper", "learning_rate": 10}}
    runs = [wild, {"name": "tame"}]
    shown = experiment(write({"model": {"width": 8}}, runs=runs, seeds=[0], steps=40))
    lines = shown.splitlines()
    assert re.match(r"wild +0, 1 diverged +-", lines[2])
    assert re.match(r"tame +1 +0\.", lines[3])


def test_a_table_has_the_mean_and_the_deviation() -> None:
    fused = {"rand_error": 0.1, "vrand_thin": 0.9, "pixel_error": 0.2, "warping_error": 0.001}
    one = {"seconds_per_step": 1.0, "parameters": 10, "best_step": 5, "fused": fused, "p": fused}
    two = one | {"fused": fused | {"rand_error": 0.3}}
    one["members"] = two["members"] = 3
    rows = table({"x": [one, two], "y": [one]}, markdown=True).splitlines()
    assert "members" not in rows[0]
    assert rows[2].split(" | ")[4] == "0.2000 ± 0.1414"
    assert rows[3].split(" | ")[4] == "0.1000"
    rows = table({"x": [one, two], "y": [one | {"members": 1}]}, markdown=True).splitlines()
    assert [row.split(" | ")[2] for row in rows] == ["members", "---", "3 ± 0", "1"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": 4}, "unknown key 'step': did you mean 'steps'"),
        ({"steps": 0}, "steps is 0: give 1 or more"),
        ({"seeds": [1, 1]}, "seeds is [1, 1]: give each seed once"),
        ({"runs": [{"name": "a"}, {"name": "a"}]}, "runs has 'a' twice"),
        ({"runs": [{"name": "a", "training": {"steps": 5}}]}, "training.steps is the same for all"),
        ({"runs": [{"name": "a", "training": {"seed": 5}}]}, "training.seed is the same for all"),
        ({"runs": [{"name": "a", "training": {"folds": 2}}]}, "training.folds is the same for all"),
        (
            {"seeds": [7, 0, 2], "runs": [{"name": "a", "training": {"members": 3}}]},
            "run a has the seeds 0 and 2 with training.members 3: ",
        ),
        ({"runs": [{"name": "a", "model": {"widht": 5}}]}, "run a: unknown key 'model.widht'"),
        ({"runs": [{"name": "a", "model": {"weights": "x"}}]}, "run a gives model.weights"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_an_impossible_experiment_is_refused(
    write: Write, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(DcanError, match=re.escape(said)) as caught:
        load_experiment(write(**changed))
    assert "\n" not in str(caught.value)


def test_seeds_as_far_apart_as_there_are_members_share_no_network(write: Write) -> None:
    runs = [{"name": "a", "training": {"members": 3}}, {"name": "b"}]
    _, found = load_experiment(write(runs=runs, seeds=[3, 0]))
    assert {name: list(seeds) for name, seeds in found.items()} == {"a": [3, 0], "b": [3, 0]}


@pytest.mark.parametrize("base", [{"truth": None, "evaluation": None}, {"model": {"weights": "x"}}])
def test_a_base_that_trains_nothing_is_refused(write: Write, base: dict[str, Any]) -> None:
    with pytest.raises(DcanError, match=r"base base\.yaml trains nothing"):
        load_experiment(write(base))


def test_a_base_that_keeps_nothing_back_is_refused(write: Write) -> None:
    truth = BASE["truth"] | {"validation": "none"}
    fusion = {"sigma": 1, "depth": 16, "w_f": 0.5, "t": 0.4}
    with pytest.raises(DcanError, match=r"base base\.yaml has validation none"):
        load_experiment(write({"truth": truth, "segmentation": fusion}))


def test_held_out_sections_must_be_there(write: Write) -> None:
    with pytest.raises(DcanError, match="the base has no truth or no evaluation"):
        experiment(write({"evaluation": None}, runs=[{"name": "a"}], seeds=[0]), held_out=True)
    assert not Path("results").exists()
