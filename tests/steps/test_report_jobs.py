"""What the report says of jobs: benchmarks beside the plan, the slowest block, failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dcan.report.jobs import StageJobs
from dcan.steps import ingest, probe
from dcan.steps.costs import START
from dcan.steps.jobs import Setting, jobs_of
from dcan.steps.memory import MIB
from dcan.steps.report_jobs import jobs_done
from dcan.steps.sealing import seal
from dcan.steps.workspace import Part, Workspace
from dcan.storage.receipts import Entry
from tests.steps.conftest import Make, noise


def bench(root: Path, job: str, *values: object) -> None:
    path = root / "benchmarks" / f"{job}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("s\tmax_rss\tcpu_time\n" + "\t".join(map(str, values)) + "\n")


@pytest.fixture
def space(make: Make) -> Workspace:
    made = make(noise(8, 70, 60), segmentation={"sigma": 1})
    probe.probe(made)
    probe.allocate(made)
    space = Workspace.of(made.config)
    ingest.ingest(space, Part(0, 1), 1)
    return space


def test_jobs_are_summed_and_the_slowest_block_is_named(space: Workspace) -> None:
    bench(space.root, "ingest-0", 20, 300, 9)
    bench(space.root, "ingest-1", 30, 250, 9)
    bench(space.root, "survey", 2, "NA", "NA")
    bench(space.root, "pyramid-em", 4, 100, 1)
    ledger = space.ledger("ingest")
    slow = ledger.entries()["4:8,32:64,0:32"]
    with ledger.attempt() as (journal, _):
        journal.append(slow, 60.0)
    log = space.root / "logs" / "ingest-1.log"
    log.parent.mkdir()
    line = "2001-01-02 03:04:06,678 ERROR ingest: block {} failed: odd\n"
    log.write_text("".join(map(line.format, ("4:8,0:32,0:32", "0:4,0:32,0:32", "4:8,0:32,0:32"))))
    seal(space, "ingest")
    found = {jobs.stage: jobs for jobs in jobs_done(space)}
    assert list(found) == ["ingest", "survey", "pyramid_em"], "in running order"
    planned = {jobs.stage: jobs for jobs in jobs_of(Setting(space.config, space.shape, 1))}
    jobs = found["ingest"]
    assert (jobs.jobs, jobs.seconds, jobs.longest, jobs.memory) == (2, 50, 30, 300 * MIB)
    assert jobs.planned == planned["ingest"].seconds > START
    assert jobs.memory_planned == planned["ingest"].memory * MIB  # type: ignore[operator]
    assert (jobs.slowest, jobs.slowest_seconds) == ("4:8,32:64,0:32", 60.0)
    assert jobs.median_seconds is not None
    assert jobs.median_seconds < 5
    assert jobs.failures == 2
    bare = StageJobs("survey", 1, 2, 2)
    assert found["survey"] == bare
    assert replace(found["pyramid_em"], planned=None, memory=None, memory_planned=None) == replace(
        bare, stage="pyramid_em", seconds=4, longest=4
    )


def test_blocks_of_other_values_are_not_counted(space: Workspace) -> None:
    bench(space.root, "ingest-0", 20, 300, 9)
    (unsealed,) = jobs_done(space)
    assert unsealed.slowest is None
    seal(space, "ingest")
    with replace(space.ledger("ingest"), fingerprint="older").attempt() as (journal, _):
        journal.append(Entry("0:4,0:32,0:32"), 99.0)
    (jobs,) = jobs_done(space)
    assert jobs.slowest_seconds is not None
    assert jobs.slowest_seconds < 99
