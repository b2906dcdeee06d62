"""One run of a volume at a time, and jobs of this machine only where no cluster is meant."""

from __future__ import annotations

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dcan.storage.claims import SILENCE
from tests.workflow.conftest import Project

PROBE = "results/tiny/receipts/probe.json"
INGEST = "results/tiny/receipts/ingest/batch-0.json"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def hold(project: Project, **changed: object) -> Path:
    """A claim on the whole run, of the living process that runs this test."""
    started = psutil.Process().create_time()
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": started, "job": None}
    claim = project.results / "run.claim"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps(holder | changed))
    return claim


def test_a_second_run_is_refused_before_it_changes_anything(project: Project) -> None:
    claim = hold(project)
    (project.results / "config.yaml").write_text("that of the first run")
    done = project.snakemake(PROBE)
    assert done.returncode == 1
    said = f"volume tiny is being worked on by process {os.getpid()} on {socket.gethostname()}"
    assert f"dcan: error: {said}: wait for it or end it" in done.stderr
    assert (project.results / "config.yaml").read_text() == "that of the first run"
    assert json.loads(claim.read_text())["pid"] == os.getpid()
    assert project.snakemake("-n").returncode == 0, "a dry run disturbs nobody"


def test_a_run_is_alone_from_its_first_job_to_its_last(project: Project) -> None:
    run, ingest = project.results / "run.claim", project.results / "receipts" / "ingest"
    with ThreadPoolExecutor(1) as pool:
        slow = {"DCAN_FAILPOINT": "ingest:1:0.2"}
        first = pool.submit(project.snakemake, INGEST, env=slow)
        while not (claims := list(ingest.glob("*.claim"))):
            assert not first.done(), first.result().stderr
            time.sleep(0.1)
        holder = json.loads(run.read_text())["pid"]
        job = psutil.Process(json.loads(claims[0].read_text())["pid"])
        job.suspend()  # the first run lasts as long as the second takes to be refused
        try:
            second = project.snakemake(INGEST)
            assert not first.done()
        finally:
            job.resume()
    assert second.returncode == 1
    assert f"worked on by process {holder} on" in second.stderr
    assert first.result().returncode == 0
    assert not run.exists()


def test_a_run_of_another_host_that_fell_silent_is_waited_out(project: Project) -> None:
    claim = hold(project, host="another-host")
    old = time.time() - SILENCE + 6
    os.utime(claim, (old, old))
    done = project.snakemake(PROBE)
    assert done.returncode == 0, done.stderr


def test_a_run_that_was_killed_is_no_hindrance_and_one_that_ended_leaves_no_claim(
    project: Project,
) -> None:
    claim = hold(project, started=1.0)
    done = project.snakemake(PROBE)
    assert done.returncode == 0, done.stderr
    assert not claim.exists()


def test_a_number_of_jobs_without_a_cluster_is_refused(project: Project) -> None:
    done = project.snakemake("-j", "1", PROBE)
    assert done.returncode == 1
    assert "dcan: error: -j 1: that is how many jobs a cluster gets" in done.stderr
    assert not (project.results / "config.yaml").exists()
