"""The whole run killed in the middle of each stage, then the same command, nothing else."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.workflow.conftest import Project
from tests.workflow.test_blocking import BLOCKS, cut, labels
from tests.workflow.test_labels import change, grown, numbered

# The storage operation of a job of each stage at which the process group is killed.
KILLS = {
    "probe": 1,
    "allocate": 5,
    "ingest": 4,
    "survey": 2,
    "truth": 9,
    "train": 7,
    "resolve": 2,
    "calibrate": 2,
    "predict": 5,
    "drift": 6,
    "flood": 8,
    "merge": 7,
    "fuse": 9,
    "stitch": 7,
    "relabel": 6,
    "overlap": 7,
    "link": 3,
    "unite": 6,
    "evaluate": 2,
    "report": 2,
}

# Those of the stages that grow and number, in a run that asks for both.
LABEL_KILLS = {"relabel": 5, "grow": 6, "settle": 7, "link": 3, "unite": 5}


def test_killed_in_each_stage_and_run_again_gives_the_same(tiny: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "killed")
    for stage, operation in KILLS.items():
        # Only up to that stage: others that are ready would run beside it, and be done too soon.
        wanted = "report.html" if stage == "report" else f"receipts/{stage}.json"
        killed = project.snakemake(
            f"results/tiny/{wanted}", env={"DCAN_FAILPOINT": f"{stage}:{operation}"}
        )
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stdout + killed.stderr)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.outputs() == tiny.outputs()
    verified = project.dcan("verify", "-c", "volume.yaml")
    assert verified.returncode == 0, verified.stderr
    assert "in no receipt" not in verified.stderr
    left = [p for p in project.results.rglob("*") if p.name.endswith((".part", ".claim"))]
    assert left == []


def test_killed_while_growing_and_numbering_gives_the_same(tiny: Project, tmp_path: Path) -> None:
    project = cut(tiny, tmp_path, BLOCKS["one shard"])
    change(project, grow=True, compact=True)
    for stage, operation in LABEL_KILLS.items():
        killed = project.snakemake(
            str(project.results / "receipts" / f"{stage}.json"),
            env={"DCAN_FAILPOINT": f"{stage}:{operation}"},
        )
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stdout + killed.stderr)
    done = project.snakemake(str(project.results / "receipts" / "unite.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    segments, neurites = labels(project)
    assert (segments == numbered(labels(tiny)[0])).all()
    assert (neurites == numbered(grown(tiny))).all()
    verified = project.dcan("verify", "-c", "volume.yaml")
    assert verified.returncode == 0, verified.stderr
