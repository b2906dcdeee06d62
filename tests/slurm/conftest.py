"""A Slurm on this machine, and runs of the workflow through it with the Slurm profile."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import ROOT, Project, slurm_profile

CLUSTER = ROOT / "tests" / "slurm" / "cluster.sh"
BATCH = "results/slow/receipts/ingest/batch-0.json"
BLOCKS = 64
SLOW: dict[str, Any] = {
    "volume": {"name": "slow", "source": "phantom", "voxel_size": [50, 4, 4]},
    "phantom": {"shape": [4, 512, 512], "seed": 5},
    "prediction": {"tile": 64, "halo": 64},
    "blocks": {"shape": [4, 64, 64], "batches": 1},
    "storage": {"shard": [4, 64, 64]},
    "output": "results",
}
EM: dict[str, bytes] = {}
"""The voxels of the volume of the drills, from a run without Slurm."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("a Slurm of virtual nodes is started as root, and this is another user")
    subprocess.run([CLUSTER, "up"], check=True, stdin=subprocess.DEVNULL)
    yield
    subprocess.run([CLUSTER, "down"], check=True, stdin=subprocess.DEVNULL)


def eventually(seen: Callable[[], object], seconds: float, what: str) -> None:
    """Look until there is something to be seen."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job."""

    text: str

    def __getitem__(self, key: str) -> str:
        found = re.search(rf"(?:^| ){key}=(\S*)", self.text)
        assert found, f"{key} is not in {self.text}"
        return found[1]

    @property
    def rule(self) -> str:
        return self["Comment"].removeprefix("rule_").split("_wildcards_")[0]

    @property
    def gpus(self) -> int:
        found = re.search(r"TresPerJob=gres:gpu:(\d+)", self.text)
        return int(found[1]) if found else 0

    @property
    def seconds_asked(self) -> int:
        hours, minutes, seconds = map(int, self["TimeLimit"].split(":"))
        return 3600 * hours + 60 * minutes + seconds

    @property
    def mib_asked(self) -> int:
        number, unit = re.fullmatch(r"([\d.]+)([MG])", self["MinMemoryNode"]).groups()  # type: ignore[union-attr]
        return round(float(number) * (1024 if unit == "G" else 1))


@dataclass
class Run:
    """A snakemake that is under way."""

    process: subprocess.Popen[str]

    def wait(self, seconds: float) -> tuple[int, str]:
        """Its exit status and what it said."""
        try:
            said = self.process.communicate(timeout=seconds)[0]
        finally:
            self.kill()
        return self.process.returncode, said

    def kill(self) -> None:
        """SIGKILL to snakemake and what it started here; its jobs know nothing of it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class SlurmProject(Project):
    """A project whose profile is the shipped one with another site section."""

    site: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        profile = self.folder / "profile" / "config.yaml"
        profile.parent.mkdir()
        profile.write_text(slurm_profile(self.site))

    def start(self, *arguments: str, failpoint: str | None = None) -> Run:
        """Start snakemake as a user would, from an environment that knows nothing of ours."""
        run = Run(
            subprocess.Popen(
                [
                    *(Path(sys.executable).with_name("snakemake"), *arguments),
                    *("--snakefile", ROOT / "Snakefile", "--configfile", self.config),
                    *("--profile", self.folder / "profile", "--cores", "1"),
                    *("--slurm-init-seconds-before-status-checks", "7", "--latency-wait", "10"),
                ],
                cwd=self.folder,
                env=self.bare | ({"DCAN_FAILPOINT": failpoint} if failpoint else {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        self.runs.append(run)
        return run

    def jobs(self) -> list[Job]:
        """The jobs that were submitted from this folder, oldest first."""
        shown = subprocess.run(
            ["scontrol", "-o", "show", "job"], capture_output=True, text=True, check=True
        )
        lines = [x for x in shown.stdout.splitlines() if f" WorkDir={self.folder} " in f"{x} "]
        return sorted((Job(line) for line in lines), key=lambda job: int(job["JobId"]))


class Ingest(SlurmProject):
    """A volume whose next job is the only one of ingest."""

    @property
    def receipts(self) -> Path:
        return self.results / "receipts" / "ingest"

    def working(self) -> bool:
        """Whether the job works on blocks: it holds its claim, and some are done."""
        lines = [x.read_bytes().count(b"\n") for x in self.receipts.glob("*.journal")]
        return bool(list(self.receipts.glob("*.claim"))) and sum(lines) > 3

    def begin(self, seconds: float, **other: str) -> Run:
        """Start a run whose blocks are slow, and wait until its job has done some."""
        run = self.start(BATCH, failpoint=f"ingest:1:{seconds}", **other)
        eventually(self.working, 300, "the job works on blocks")
        return run

    def ends_well(self, run: Run) -> str:
        """Wait for the run: each block was recorded once, and the volume is that of the source."""
        status, said = run.wait(400)
        assert status == 0, said
        journals = [path.read_text().splitlines()[1:] for path in self.receipts.glob("*.journal")]
        keys = [json.loads(line.split(" ", 1)[1])["key"] for lines in journals for line in lines]
        assert len(keys) == len(set(keys)) == BLOCKS
        assert not list(self.receipts.glob("*.claim"))
        for verb in (("seal", "--stage", "ingest"), ("verify",)):
            done = self.dcan(*verb, "-c", str(self.config))
            assert done.returncode == 0, done.stderr
        assert self.array("em.ome.zarr/0").tobytes() == EM["wanted"]
        return said

    def log(self) -> str:
        """What the job that was started last has logged, a new job with a new log."""
        path = self.results / "logs" / "ingest-0.log"
        return path.read_text() if path.exists() else ""

    def done_before(self) -> int:
        """Blocks that the last job found done."""
        return int(re.findall(r"done, (\d+) were done before", self.log())[-1])


@pytest.fixture(scope="session")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The volume of the drills where ingest begins."""
    folder = tmp_path_factory.mktemp("drills")
    probed = Project(folder / "probed", {}, SLOW)
    ingested = Project(folder / "ingested", {}, SLOW)
    for project, verb in ((probed, "probe"), (probed, "allocate"), (ingested, "ingest")):
        if verb == "ingest":
            shutil.copytree(probed.results, ingested.results)
        done = project.dcan(verb, "-c", "volume.yaml")
        assert done.returncode == 0, done.stderr
    EM["wanted"] = ingested.array("em.ome.zarr/0").tobytes()
    return probed
