"""Whole runs through Slurm, and what goes wrong on a cluster: the result is always the same.

All drills run side by side, on nodes of their own where they harm nodes; each test waits for one.
A drill takes the blocks of one batch, slowed where it needs the time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from dcan.steps.requests import LEAST, Requests
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import attempts
from tests.slurm.conftest import BATCH, BLOCKS, CLUSTER, SLOW, Ingest, SlurmProject, eventually
from tests.workflow.conftest import ROOT, Project

DEMO = yaml.safe_load((ROOT / "config" / "volume.yaml").read_text())


def a_failed_job_is_tried_again_with_more_memory_and_time(project: Ingest) -> None:
    # The operation is reached once: fewer are left for the second attempt.
    said = project.ends_well(project.start(BATCH, failpoint="ingest:170"))
    assert "Trying to restart" in said
    first, second = project.jobs()
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    requests = Requests(Workspace.open(project.results / "config.yaml"))
    assert first.mib_asked == requests.mib("ingest", 4)
    assert second.mib_asked == 2 * first.mib_asked
    assert first.seconds_asked == 60 * requests.minutes("ingest", 4) == 60 * (LEAST + 1)
    assert second.seconds_asked == 2 * first.seconds_asked
    tried = attempts(project.receipts / "batch-0-of-1.attempts")
    assert [(each.asked, each.ended) for each in tried] == [
        (first.mib_asked, False),
        (second.mib_asked, True),
    ]


def a_cancelled_job_is_noticed_and_tried_again(project: Ingest) -> None:
    run = project.begin(0.15)
    (job,) = project.jobs()
    subprocess.run(["scancel", job["JobId"]], check=True)
    said = project.ends_well(run)
    assert f"'{job['JobId']}' failed, SLURM status is: 'CANCELLED'" in said
    assert [job["JobState"] for job in project.jobs()] == ["CANCELLED", "COMPLETED"]


def a_job_at_its_time_limit_ends_by_itself_and_another_goes_on(project: Ingest) -> None:
    run = project.start(BATCH, failpoint="ingest:1:0.9")
    eventually(lambda: "stopped by SIGTERM" in project.log(), 400, "the job is told to stop")
    first_log, ended = project.log(), time.monotonic()
    eventually(lambda: project.jobs()[0]["JobState"] != "RUNNING", 20, "the job ends")
    assert time.monotonic() - ended < 20
    (slurm_log,) = project.folder.glob(".snakemake/slurm_logs/**/*.log")
    told = re.search(r"STEP .* CANCELLED AT (\S+) \*\*\*", slurm_log.read_text())
    last = re.search(r"(?m)^(\S+ \S+),\d+ ERROR dcan: error: stopped by SIGTERM", first_log)
    assert told
    assert last
    took = datetime.fromisoformat(last[1]) - datetime.fromisoformat(told[1])
    assert 0 <= took.total_seconds() < 20
    project.ends_well(run)
    first, *others, last = project.jobs()
    assert {job["JobState"] for job in (first, *others)} == {"FAILED"}
    assert last["JobState"] == "COMPLETED"
    assert {job.seconds_asked for job in project.jobs()} == {120}, "no more than the longest"
    assert project.done_before() > 0


def a_preempted_job_is_put_back_in_the_queue_and_goes_on(project: Ingest) -> None:
    run = project.begin(0.25)
    urgent = ["sbatch", "-p", "urgent", "-n", "4", "-t", "1", "-o", "/dev/null"]
    subprocess.run([*urgent, "--wrap", "sleep 2"], check=True, cwd="/")
    eventually(lambda: project.jobs()[0]["Restarts"] == "1", 200, "the job is preempted")
    project.ends_well(run)
    (job,) = project.jobs()
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert project.done_before() > 0


def a_node_that_dies_costs_the_blocks_under_way(project: Ingest) -> None:
    run = project.begin(0.25)
    (job,) = project.jobs()
    node = job["NodeList"]
    kill_node(node, job["JobId"])
    eventually(lambda: project.jobs()[0]["Restarts"] == "1", 200, "the job is started again")
    project.ends_well(run)
    (job,) = project.jobs()
    assert job["JobState"] == "COMPLETED"
    assert job["NodeList"] != node
    assert project.done_before() > 0
    subprocess.run([CLUSTER, "node", node], check=True)


def kill_node(node: str, job: str) -> None:
    """SIGKILL to the daemon of a node and all that runs below the steps of a job there."""
    doomed = []
    for process in psutil.process_iter(["name", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if line == f"slurmd -N {node}" or line.startswith(f"slurmstepd: [{job}."):
            doomed += [process, *process.children(recursive=True)]
    assert len(doomed) > 4
    for process in doomed:
        process.kill()


def a_second_run_is_refused_and_one_after_a_kill_waits_for_the_jobs(project: Ingest) -> None:
    first = project.begin(0.1)
    (job,) = project.jobs()
    claim = json.loads(next(project.receipts.glob("*.claim")).read_text())
    holder = psutil.Process(claim["pid"])
    holder.suspend()
    # more than `cores` of the machine that submits, which is 1, and what this machine has
    assert job["NumCPUs"] == "4"
    command = holder.cmdline()
    assert int(command[command.index("--workers") + 1]) == min(4, os.cpu_count() or 1)
    status, said = project.start(BATCH).wait(60)
    assert status == 1, said
    by = f"process {first.process.pid} on {socket.gethostname()}"
    assert f"dcan: error: volume slow is being worked on by {by}" in said
    assert len(project.jobs()) == 1
    named = f"process {holder.pid} on {claim['host']}, Slurm job {job['JobId']}"
    first.kill()
    assert project.jobs()[0]["JobState"] == "RUNNING"
    (project.results / "logs" / "ingest-0.log").unlink()
    third = project.start(BATCH)
    waits = f"by {named}: waiting as long as it lives"
    eventually(lambda: waits in project.log(), 300, "the third run waits")
    time.sleep(25)  # longer than a job waits elsewhere
    assert project.jobs()[-1]["JobState"] == "RUNNING"
    holder.resume()
    project.ends_well(third)
    assert project.jobs()[0]["JobState"] == "COMPLETED"
    assert project.done_before() == BLOCKS


def a_cluster_without_gpus_is_asked_for_none(project: Ingest) -> None:
    status, said = project.start("results/slow/receipts/resolve.json").wait(400)
    assert status == 0, said
    (job,) = project.jobs()
    assert job["Partition"] == "cpu"
    assert job.gpus == 0


def the_demo_is_that_of_one_machine(project: SlurmProject) -> None:
    run = project.start()
    alone = Project(project.folder.parent / "alone", base=DEMO)
    done = alone.snakemake(timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    status, said = run.wait(2700)
    assert status == 0, said
    assert project.outputs() == alone.outputs()
    assert project.dcan("verify", "-c", str(project.config)).returncode == 0
    jobs = project.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    network = {"resolve", "train_member", "calibrate", "predict"}
    assert {job.rule for job in jobs if job.gpus == 1} == network
    assert {job["Partition"] for job in jobs if job.rule in network} == {"gpu"}
    assert {job["Partition"] for job in jobs if job.rule not in network} == {"cpu"}
    assert {job["NodeList"] for job in jobs} >= {"c1", "c2"}


DRILLS: dict[str, tuple[Callable[[Ingest], None], dict[str, str]]] = {
    drill.__name__: (drill, site)
    for drill, site in (
        (
            a_job_at_its_time_limit_ends_by_itself_and_another_goes_on,
            {"longest": "2", "attempts": "6"},
        ),
        (a_second_run_is_refused_and_one_after_a_kill_waits_for_the_jobs, {}),
        (a_node_that_dies_costs_the_blocks_under_way, {"partition": "dying"}),
        (a_preempted_job_is_put_back_in_the_queue_and_goes_on, {"partition": "spare"}),
        (a_failed_job_is_tried_again_with_more_memory_and_time, {}),
        (a_cancelled_job_is_noticed_and_tried_again, {}),
        (a_cluster_without_gpus_is_asked_for_none, {}),
    )
}


ORDER = ["demo", *DRILLS]
"""The longest first."""


@pytest.fixture(scope="session")
def drills(
    cluster: None,
    probed: Project,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, Future[None]]]:
    """All drills that are to be tested under way, a few at a time."""
    tests = [item for item in request.session.items if item.path == Path(__file__)]
    asked = [item.callspec.params["name"] for item in tests]  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("slurm")

    def begin(name: str) -> None:
        if name == "demo":
            project = SlurmProject(folder / "by 'several' nodes", {"blocks": {"batches": 3}}, DEMO)
            drill: Callable[[Any], None] = the_demo_is_that_of_one_machine
        else:
            drill, site = DRILLS[name]
            project = Ingest(folder / name, {}, SLOW, {"gpus": "0"} | site)
            shutil.copytree(probed.results, project.results)
        try:
            drill(project)
        finally:
            for run in project.runs:
                run.kill()

    with ThreadPoolExecutor(4) as pool:
        yield {name: pool.submit(begin, name) for name in sorted(asked, key=ORDER.index)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ORDER)
def test_on_a_cluster(drills: dict[str, Future[None]], name: str) -> None:
    drills[name].result(2900)
