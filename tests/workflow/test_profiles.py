"""The profiles: their dry runs are clean, and what they ask of a job is what the rules say."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
import yte

from dcan.config import load
from dcan.steps.jobs import all_jobs
from tests.workflow.conftest import ROOT, Project, slurm_profile
from tests.workflow.test_refusals import refusal

SLURM = ("-n", "--profile", str(ROOT / "profiles" / "slurm"))
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("spent", used.ru_utime + used.ru_stime, used.ru_maxrss, flush=True)
sys.exit(status)
"""
"""Runs a command and says its CPU seconds and KiB: of this process, a fork would count."""


def evaluated(**site: str) -> dict[str, Any]:
    """What snakemake reads of the Slurm profile, with other values in its site section."""
    found: dict[str, Any] = yte.process_yaml(StringIO(slurm_profile(site)), require_use_yte=True)
    return found


def rules(having: str) -> set[str]:
    """The rules whose text has a line."""
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    parts = re.findall(r"(?ms)^rule (\w+):\n(.*?)(?=^\S|\Z)", text)
    return {name for name, body in parts if f"{having}\n" in body}


def test_jobs_of_a_cluster_are_not_bound_by_the_cores_of_this_machine(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.snakemake(*SLURM, "--cores", "1", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = re.findall(r"dcan flood .*--workers (\d+)", done.stdout + done.stderr)
    assert set(asked) == {"4"}


@pytest.mark.parametrize("name", ["a$HOME", 'a"`b`\\'])
def test_paths_that_a_shell_would_expand_are_refused_on_a_cluster(
    tmp_path: Path, name: str
) -> None:
    project = Project(tmp_path / name)
    line = refusal(project.snakemake(*SLURM))
    assert f"{name}/volume.yaml: " in line
    assert "rename" in line


def test_the_site_section_reaches_every_job() -> None:
    shipped = evaluated()
    assert "slurm_account" not in shipped["default-resources"]
    assert shipped["set-threads"] == dict.fromkeys(rules("    threads: 2"), 4)
    assert shipped["set-resources"].keys() == rules("        gpu=GPUS,")
    assert all(
        of.keys() == {"runtime", "slurm_partition"} for of in shipped["set-resources"].values()
    )
    other = evaluated(
        partition="long", gpu_partition="fast", account="em", cpus="9", minutes="5",
        training_minutes="7", attempts="6",
    )  # fmt: skip
    assert other["default-resources"]["slurm_partition"] == "long"
    assert other["default-resources"]["slurm_account"] == "em"
    assert other["default-resources"]["runtime"] == "5 * attempt"
    assert set(other["set-threads"].values()) == {9}
    assert other["retries"] == 5
    network = other["set-resources"]
    assert {of["slurm_partition"] for of in network.values()} == {"fast"}
    assert {rule: of["runtime"] for rule, of in network.items()} == {
        "resolve": "5 * attempt",
        "train_member": "7 * attempt",
        "calibrate": "5 * attempt",
        "predict": "5 * attempt",
    }


def test_a_cluster_without_gpus_is_asked_for_none() -> None:
    network = evaluated(partition="long", gpus="0")["set-resources"]
    assert all(of["gpu"] == 0 and of["slurm_partition"] == "long" for of in network.values())


def test_targets_have_clean_dry_runs_on_the_shipped_configuration(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "config" / "volume.yaml").read_text())
    project = Project(tmp_path, {}, shipped)
    for target in ("train", "all", "report"):
        done = project.snakemake(target, "-n")
        assert done.returncode == 0, done.stdout + done.stderr
    jobs = re.findall(r"(?m)^pyramid +(\d+)$", done.stdout + done.stderr)
    assert jobs[-1] == "4", "the report lists the jobs of all stages, so it comes after them"
    assert not project.results.exists()


def test_defaults_hold_only_what_both_profiles_want() -> None:
    values = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    assert values["nolock"] is True
    assert values["rerun-incomplete"] is True
    assert not {"executor", "retries", "default-resources", "jobs", "latency-wait"} & set(values)


def test_a_declared_teravoxel_is_planned_in_seconds_and_as_dcan_plan_says(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        base={
            "volume": {"name": "tera", "source": "phantom", "voxel_size": [50, 4, 4]},
            "phantom": {"shape": [2500, 20000, 20000]},
            "model": {"weights": "weights.safetensors"},
            "segmentation": {"sigma": 1.5, "depth": 8, "w_f": 0.7, "t": 0.3},
            "labels": {"grow": True},
        },
    )
    dry = project.snakemake("-n", through=(sys.executable, "-c", MEASURED))
    assert dry.returncode == 0, dry.stdout + dry.stderr
    jobs = int(re.findall(r"^total +(\d+)$", dry.stdout + dry.stderr, re.MULTILINE)[-1])
    assert all_jobs(load(project.config)) + 1 == jobs <= 400, "beside them the target"
    seconds, kib = map(float, re.findall(r"(?m)^spent (\S+) (\S+)$", dry.stdout)[0])
    assert 0.5 < seconds < 10
    assert 30 * 1024 < kib < 300 * 1024
