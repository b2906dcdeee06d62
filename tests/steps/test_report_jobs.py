"""What the report says of jobs: benchmarks beside the plan, the slowest block, failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dcan.report.jobs import StageJobs
from dcan.steps import ingest, probe
from dcan.steps.costs import START
from dcan.steps.jobs import Setting, job_of
from dcan.steps.memory import MIB
from dcan.steps.report_jobs import jobs_done
from dcan.steps.sealing import seal
from dcan.steps.vouching import working
from dcan.steps.workspace import Part, Workspace
from dcan.storage.attempts import holding
from dcan.storage.receipts import Entry, Receipt
from tests.steps.conftest import Make, noise


def bench(root: Path, job: str, *values: object) -> None:
    path = root / "benchmarks" / f"{job}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("s\tmax_rss\tcpu_time\n" + "\t".join(map(str, values)) + "\n")


@pytest.fixture
def space(make: Make) -> Workspace:
    blocks = {"shape": [4, 32, 32], "batches": 2}
    made = make(noise(8, 70, 60), segmentation={"sigma": 1}, blocks=blocks)
    probe.probe(made)
    probe.allocate(made)
    space = Workspace.of(made.config)
    ingest.ingest(space, Part(0, 1), 1)
    return space


def test_jobs_are_summed_and_the_slowest_block_is_named(space: Workspace) -> None:
    bench(space.root, "ingest-0", 20, 300, 9)
    bench(space.root, "ingest-1", 30, 250, 9)
    bench(space.root, "ingest-2", 999, 999, 9)  # of a run in more batches
    bench(space.root, "ingest-0 (copy)", 999, 999, 9)
    bench(space.root, "survey", 2, "NA", "NA")
    bench(space.root, "pyramid-em", 4, 100, 1)
    ledger = space.ledger("ingest")
    slow = ledger.entries()["4:8,32:64,0:32"]
    with ledger.attempt() as (journal, _):
        journal.append(slow, 60.0)
    seal(space, "ingest")
    found = {jobs.stage: jobs for jobs in jobs_done(space)}
    assert list(found) == ["ingest", "survey", "pyramid_em"], "in running order"
    setting = Setting(space.config, space.shape, 1)
    planned, jobs = job_of(setting, "ingest", threads=1), found["ingest"]  # as it ran
    assert planned.seconds != job_of(setting, "ingest").seconds
    assert (jobs.jobs, jobs.seconds, jobs.longest, jobs.memory) == (2, 50, 30, 300 * MIB)
    assert jobs.planned == planned.seconds > START
    assert planned.memory is not None
    assert jobs.memory_planned == planned.memory * MIB
    assert jobs.slowest[0] == ("4:8,32:64,0:32", 60.0)
    assert [seconds for _, seconds in jobs.slowest] == sorted(dict(jobs.slowest).values())[::-1]
    assert len(jobs.slowest) == 3
    assert jobs.median_seconds is not None
    assert jobs.median_seconds < 5
    assert jobs.failures == 0
    bare = StageJobs("survey", 1, 2, 2)
    assert found["survey"] == bare
    assert replace(found["pyramid_em"], planned=None, memory=None, memory_planned=None) == replace(
        bare, stage="pyramid_em", seconds=4, longest=4
    )


def test_jobs_on_several_gpus_are_planned_on_as_many(space: Workspace) -> None:
    folder = space.root / "receipts"
    Receipt("resolve", "f", "f", (), {"device": "cuda"}).write(folder / "resolve.json")
    bench(space.root, "predict-0", 20, 300, 9)
    with working(space, "predict", "batch-0-of-2"), holding(4):
        pass
    found = {jobs.stage: jobs for jobs in jobs_done(space)}["predict"]
    setting = Setting.found(space, None, on_gpu=True)
    one, four = (job_of(setting, "predict", gpus=gpus).seconds for gpus in (1, 4))
    assert found.planned == four < one


def test_blocks_of_other_values_are_not_counted(space: Workspace) -> None:
    bench(space.root, "ingest-0", 20, 300, 9)
    (unsealed,) = jobs_done(space)
    assert unsealed.slowest == ()
    seal(space, "ingest")
    with replace(space.ledger("ingest"), fingerprint="older").attempt() as (journal, _):
        journal.append(Entry("0:4,0:32,0:32"), 99.0)
    (jobs,) = jobs_done(space)
    assert len(jobs.slowest) == 3
    assert max(seconds for _, seconds in jobs.slowest) < 99


def test_a_job_that_failed_counts_though_a_later_one_did_well(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(space.root, "ingest-0", 20, 300, 9)
    bench(space.root, "survey", 20, 300, 9)
    for asked in ("100", "200"):
        monkeypatch.setenv("DCAN_MEMORY_ASKED", asked)
        with pytest.raises(KeyError), working(space, "ingest", "batch-0-of-2"):
            raise KeyError
    with working(space, "ingest", "batch-0-of-2"):
        pass
    monkeypatch.setenv("DCAN_MEMORY_ASKED", "150")
    with working(space, "ingest", "batch-1-of-2"):
        pass
    found = {jobs.stage: (jobs.failures, jobs.memory_asked, jobs.over) for jobs in jobs_done(space)}
    assert found == {"ingest": (2, 200 * MIB, True), "survey": (0, None, False)}


def test_devices_are_as_busy_as_predict_and_training_wrote(space: Workspace) -> None:
    for part, record in enumerate(
        (
            {"devices": ["cuda:0", "cuda:1"], "seconds": 10, "busy": 0.9},
            {"devices": ["cuda:0"], "seconds": 5, "busy": 0.4},
        )
    ):
        bench(space.root, f"predict-{part}", 20, 300, 9)
        record_of = space.root / "benchmarks" / f"predict-{part}.json"
        record_of.write_text(json.dumps(record))
    bench(space.root, "train-0", 20, 300, 9)
    curve = space.root / "models" / "member-0.jsonl"
    curve.parent.mkdir(exist_ok=True)
    rows = ({"seconds": 30, "busy": 1.0}, {"seconds": 10, "busy": 0.5})
    curve.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench(space.root, "survey", 2, 1, 1)
    found = {jobs.stage: jobs.busy for jobs in jobs_done(space)}
    assert found == {"survey": None, "predict": pytest.approx(0.8), "train": pytest.approx(0.875)}


def test_a_map_that_was_given_kept_no_device_busy(space: Workspace) -> None:
    bench(space.root, "predict-0", 20, 300, 9)
    assert [jobs.busy for jobs in jobs_done(space)] == [None]
