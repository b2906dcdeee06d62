"""Real Snakemake runs of a tiny phantom, each in a working directory of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
import zarr

ROOT = Path(__file__).parents[2]
SHAPE = [16, 136, 200]  # ragged on both axes of the shards

TINY: dict[str, Any] = {
    "volume": {
        "name": "tiny",
        "source": "phantom",
        "voxel_size": [50, 4, 4],
        "missing": [10],
    },
    "phantom": {"shape": SHAPE, "seed": 3},
    "truth": {
        "source": "phantom",
        "kind": "neurites",
        "sections": "0:8",
        "validation": "6:8",
    },
    "evaluation": {"sections": "8:16"},
    "training": {
        "steps": 20,
        "crop": 64,
        "batch": 2,
        "validate_every": 10,
        "checkpoint_every": 5,
        "threads": 1,
    },
    "model": {"width": 4},
    "prediction": {"tile": 64, "halo": 64, "threads": 1},
    "blocks": {"shape": [8, 64, 64]},
    "storage": {"shard": [8, 64, 64]},
    "output": "results",
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` laid over it, nested ones one by one."""
    found = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if nested else value
    return found


def slurm_profile(site: dict[str, str]) -> str:
    """The text of the shipped Slurm profile, with other values in its site section."""
    text = (ROOT / "profiles" / "slurm" / "config.yaml").read_text()
    for name, value in site.items():
        text, count = re.subn(rf"(?m)^  {name}: \S+", f"  {name}: {value}", text)
        assert count == 1, name
    return text


@dataclass
class Project:
    """A working directory with one configuration."""

    folder: Path
    over: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=lambda: TINY)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "volume.yaml"
        self.values = merged(self.base, self.over)
        self.config.write_text(yaml.safe_dump(self.values))

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.values["volume"]["name"]

    @property
    def bare(self) -> dict[str, str]:
        """An environment that knows nothing of this one, but for code that is not installed."""
        kept = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **kept}

    def snakemake(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        timeout: int = 600,
        through: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake in the folder, in a session of its own, with a bare environment.

        `through`: a command that runs the one it is given.
        """
        return subprocess.run(
            [
                *through,
                *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
                *("--workflow-profile", ROOT / "profiles" / "default"),
                *("--configfile", self.config, "--cores", "2", *arguments),
            ],
            cwd=self.folder,
            env=self.bare | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
            check=False,
        )

    def dcan(self, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Run the command line in the folder."""
        return subprocess.run(
            [sys.executable, "-m", "dcan.cli", *arguments],
            cwd=self.folder,
            env=self.bare | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def array(self, path: str) -> Any:
        """The whole of one array of the results."""
        return zarr.open_array(self.results / path, mode="r")[:]

    def json(self, name: str) -> Any:
        return json.loads((self.results / name).read_text())

    def outputs(self) -> dict[str, str]:
        """A hash of the content of every output that must not depend on how it was made."""
        found = {}
        for store in ("em.ome.zarr", "membrane.ome.zarr"):
            for metadata in sorted((self.results / store).rglob("zarr.json")):
                if json.loads(metadata.read_text())["node_type"] == "array":
                    path = metadata.parent.relative_to(self.results).as_posix()
                    voxels = self.array(path)
                    described = f"{voxels.shape} {voxels.dtype}".encode()
                    found[path] = hashlib.sha256(described + voxels.tobytes()).hexdigest()
        for file in sorted((self.results / "models").glob("*.safetensors")):
            if ".state." not in file.name:
                found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        for name in ("calibration.json", "metrics.json"):
            if (self.results / name).exists():
                found[name] = hashlib.sha256((self.results / name).read_bytes()).hexdigest()
        return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny phantom, run once from end to end without disturbance.

    Of tests that run at once in several processes, the first to ask runs it; each has a copy.
    """
    own = tmp_path_factory.mktemp("tiny")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _whole(own)
    shared = tmp_path_factory.getbasetemp().parent / "tiny"
    with Path(f"{shared}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            _whole(own)
            own.rename(shared)
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return Project(own)


def _whole(folder: Path) -> Project:
    project = Project(folder)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project
