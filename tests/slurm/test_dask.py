"""Blocks on the workers of a Dask scheduler under Slurm, started by the lines of the page."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from operator import neg
from pathlib import Path
from random import Random
from typing import Any

import dask
import distributed  # noqa: F401  (its defaults, before any are changed)
import psutil
import pytest
import yaml

from dcan.engine import blocks
from dcan.errors import DcanError
from tests.slurm.conftest import BATCH, BLOCKS, SLOW, Ingest, eventually
from tests.steps.test_blockwise import made, segmented
from tests.workflow.conftest import ROOT, Project

PAGE = (ROOT / "docs" / "operations.md").read_text().partition("\n## Dask\n")[2]
CERTIFICATE, START = re.findall(r"(?ms)^```bash\n(.*?)^```", PAGE)
with socket.create_server(("", 0)) as free:
    START = START.replace("8786", str(free.getsockname()[1]))
WORKERS = START[START.index("sbatch --job-name dask-worker") :]


class Served(Ingest):
    """A project with a scheduler and two workers."""

    @property
    def bare(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return super().bare | {"PATH": path, "DASK_CONFIG": "dask/tls.yaml"}

    def give(self, lines: str, failpoint: str = "none:1") -> None:
        """Give lines to a shell in the folder; what they start is slowed by the failpoint."""
        env = self.bare | {"DCAN_FAILPOINT": failpoint}
        subprocess.run(["bash", "-euc", lines], check=True, cwd=self.folder, env=env, timeout=90)

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "dask" / "scheduler.json").read_text())["address"])

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Those of the newest running job of a name; of all running jobs where none is given."""
        ids = [job["JobId"] for job in self.jobs() if job["JobState"] == "RUNNING"
               and (not name or job["JobName"] == name)]  # fmt: skip
        ids = ids[-1:] if name else ids
        return [p for p in psutil.process_iter(["environ"])
                if (p.info["environ"] or {}).get("SLURM_JOB_ID") in ids]  # fmt: skip

    def kill(self, name: str = "") -> None:
        """SIGKILL to these processes; returns when they are gone."""
        found = self.processes(name)
        for process in found:
            process.kill()
        assert not psutil.wait_procs(found, 20)[1]

    def done(self) -> int:
        """Blocks that were recorded."""
        journals = [path.read_bytes() for path in self.receipts.glob("*.journal")]
        return sum(text.count(b"\n") - 1 for text in journals if text)


@pytest.fixture
def served(cluster: None, tmp_path: Path) -> Iterator[Served]:
    """A project whose scheduler and workers end with the test."""
    project = Served(tmp_path / "served", {}, SLOW, {"gpus": "0"})
    project.give(CERTIFICATE.replace("10 minutes", "5 s"))
    yield project
    for run in project.runs:
        run.kill()
    project.kill()


def tls(folder: Path) -> Any:
    """Dask's configuration as the page has it, in this process."""
    text = (folder / "tls.yaml").read_text().replace("dask/", f"{folder}/")
    return dask.config.set(dask.config.merge(dask.config.config, yaml.safe_load(text)))


@pytest.mark.timeout(500)
def test_all_stages_are_those_of_one_thread_and_nobody_else_is_let_in(
    served: Served, tmp_path: Path
) -> None:
    served.give(START)
    volume, folders = made((4, 96, 96), 2, 7), (tmp_path / "one", tmp_path / "other")
    for folder in folders:
        folder.mkdir()
    cut = {"blocks": {"shape": [2, 32, 32]}, "storage": {"shard": [2, 32, 32]}}
    given = cut | {"engine": {"scheduler": served.address}}
    with tls(served.folder / "dask"):
        found = segmented(volume, folders[0], given, 4, Random(1))
    alone = segmented(volume, folders[1], cut, 1, Random(0))
    for name, array in alone.items():
        assert array.any(), name
        assert found[name].tobytes() == array.tobytes(), name
    tables = [path.name for path in folders[0].glob("results/v/tables/flood/*.tables")]
    assert len({name.split("-")[-2] for name in tables}) == 2, "both workers wrote, and not this"

    listening = {
        connection.laddr
        for process in served.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    ports = {place.port for place in listening if place.ip != "127.0.0.1"}
    assert int(served.address.rpartition(":")[2]) in ports
    assert len(ports) == 5, "of the scheduler, two workers, and their nannies"
    for port in ports:
        refused_without_certificate(served, port)
    other = tmp_path / "another"
    shutil.copytree(served.folder / "dask", other / "dask")
    subprocess.run(["bash", "-euc", CERTIFICATE.split("cat ")[0]], check=True, cwd=other)
    with tls(other / "dask"), pytest.raises(DcanError, match=r"no Dask scheduler answers \(TLS"):
        list(blocks.run("fuse", neg, range(3), workers=1, scheduler=served.address))

    served.give("scancel --name dask-scheduler")
    eventually(lambda: not served.processes(), 100, "the workers end after the scheduler")


def refused_without_certificate(project: Served, port: int) -> None:
    context = ssl.create_default_context(cafile=project.folder / "dask" / "cert.pem")
    context.check_hostname = False
    host = project.address.split("/")[2].rpartition(":")[0]
    with (
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
        socket.create_connection((host, port), 10) as plain,
        context.wrap_socket(plain) as secure,
    ):
        secure.recv(1)


@pytest.mark.timeout(500)
def test_an_ingest_goes_on_after_one_worker_is_killed_and_after_all_are(
    served: Served, probed: Project
) -> None:
    served.give(START, ":1:0.7")
    served.over = {"engine": {"scheduler": served.address}}
    served.config.write_text(yaml.safe_dump(SLOW | served.over))
    shutil.copytree(probed.results, served.results)
    run = served.start(BATCH, "--retries", "0")
    eventually(served.working, 300, "the workers do blocks")
    served.kill("dask-worker")
    seen = served.done()
    eventually(lambda: served.done() > seen + 9, 120, "the other worker does its blocks")
    served.kill("dask-worker")
    status, said = run.wait(120)
    assert status == 1, said
    log = served.log()
    refusal = r"ingest: block \S+ and \d+ more failed: .* without any running workers\. \(eng"
    assert re.search(refusal, log), log
    assert "give the same snakemake command again" in log
    assert "NoWorkerError" not in log, "no defect, whose kind would be told"
    before = served.done()
    assert seen + 9 < before < BLOCKS
    served.give(WORKERS)
    served.ends_well(served.start(BATCH))
    assert served.done_before() == before
