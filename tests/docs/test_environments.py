"""What envs/ installs is what requirements.lock names, and what it copies is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import ROOT, Project

LOCK = [x for x in (ROOT / "requirements.lock").read_text().splitlines() if not x.startswith("#")]
RECIPE = (ROOT / "envs" / "Dockerfile").read_text()
CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize(("name", "options"), [("cpu", [CPU]), ("gpu", [])])
def test_conda_gets_the_versions_of_the_lock(name: str, options: list[str]) -> None:
    held = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]
    python, pip, listed = held
    assert len(LOCK) > 50
    assert listed == {"pip": [*options, *LOCK]}
    assert pip == "pip"
    (image,) = re.findall(r"(?m)^FROM python:(3\.\d+)\.\d+-slim-\w+$", RECIPE)
    assert python == f"python ={image}"


def test_the_container_installs_the_lock_and_copies_what_there_is() -> None:
    copied = [x for line in re.findall(r"(?m)^COPY (.*) \S+$", RECIPE) for x in line.split()]
    assert set(copied) >= {
        *("requirements.lock", "dcan", "models", "Snakefile", "workflow", "profiles")
    }
    assert [name for name in copied if not (ROOT / name).exists()] == []
    installs = re.findall(r"(?m)^RUN (pip install .*)$", RECIPE)
    assert [x.endswith("-r requirements.lock") or " --no-deps " in x for x in installs] == [
        True
    ] * 2


CONDA = """#!/bin/sh
case "$1" in
  info) echo '{"conda_prefix": "/none", "platform": "linux-64"}' ;;
  --version) echo conda 24.9.0 ;;
  config) echo '{"get": {"channel_priority": "strict"}}' ;;
  *) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("over", "names"),
    [({}, {"cpu.yaml", "gpu.yaml"}), ({"membrane": {"source": "phantom"}}, {"cpu.yaml"})],
)
def test_snakemake_takes_the_environments(
    tmp_path: Path, over: dict[str, Any], names: set[str]
) -> None:
    """It asks conda three things before it shows what it would make, which this answers."""
    project = Project(tmp_path, over)
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = project.snakemake("-n", "--software-deployment-method", "conda", env=path)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    found = re.findall(r"Conda environment (\S+) will be created", said)
    assert {Path(name).name for name in found} == names
    for name in names:
        script = (ROOT / "envs" / name).with_suffix(".post-deploy.sh").read_text()
        assert 'pip install --quiet --no-deps --editable "$DCAN_SOURCE"\n' in script
