"""A job that gets SIGTERM, as at its time limit: it ends soon, says so, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dcan.cli import main
from tests.workflow.conftest import Project
from tests.workflow.test_refusals import MINIMAL


def test_a_job_told_to_stop_gives_its_claim_back_and_goes_on_where_it_was(tmp_path: Path) -> None:
    blocks = {
        "phantom": {"shape": [4, 256, 256]},
        "prediction": {"tile": 64, "halo": 64},
        "blocks": {"shape": [4, 64, 64]},
        "storage": {"shard": [4, 64, 64]},
        "output": str(tmp_path / "results"),
    }
    project = Project(tmp_path, blocks, MINIMAL)
    for verb in ("probe", "allocate"):
        assert main([verb, "-c", str(project.config)]) == 0
    job = subprocess.Popen(
        [sys.executable, "-m", "dcan.cli", "ingest", "-c", project.config],
        env=os.environ | {"DCAN_FAILPOINT": "ingest:3:0.1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    receipts = project.results / "receipts" / "ingest"
    try:
        while not list(receipts.glob("*.journal")):
            assert job.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        job.send_signal(signal.SIGTERM)
        said = job.communicate(timeout=20)[1]
    finally:
        job.kill()
        job.communicate()
    assert time.monotonic() - began < 5
    assert job.returncode == 1
    assert said.splitlines()[-1].startswith("dcan: error: stopped by SIGTERM")
    assert "Traceback" not in said
    assert not list(receipts.glob("*.claim"))
    assert main(["ingest", "-c", str(project.config)]) == 0
    assert main(["seal", "-c", str(project.config), "--stage", "ingest"]) == 0
    journals = [path.read_text().splitlines() for path in receipts.glob("*.journal")]
    keys = [json.loads(line.split(" ", 1)[1])["key"] for j in journals for line in j[1:]]
    assert len(journals) == 2
    assert len(keys) == len(set(keys)) == 16
