"""The profiles: their dry runs are clean, and what they ask of a job is what the rules say."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import yaml

from dcan.config import load
from dcan.steps.jobs import all_jobs
from tests.workflow.conftest import ROOT, Project


def test_dry_run_on_slurm_is_clean(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.snakemake("-n", "--profile", str(ROOT / "profiles" / "slurm"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "predict" in done.stdout + done.stderr


def test_targets_have_clean_dry_runs_on_the_shipped_configuration(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "config" / "volume.yaml").read_text())
    project = Project(tmp_path, {}, shipped)
    for target in ("train", "all", "report"):
        done = project.snakemake(target, "-n")
        assert done.returncode == 0, done.stdout + done.stderr
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    dry = project.snakemake("-n")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert dry.returncode == 0, dry.stdout + dry.stderr
    jobs = int(re.findall(r"^total +(\d+)$", dry.stdout + dry.stderr, re.MULTILINE)[-1])
    assert all_jobs(load(project.config)) + 1 == jobs <= 400, "beside them the target"
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 10
    if after.ru_maxrss > before.ru_maxrss:  # of all children so far, the largest
        assert after.ru_maxrss < 300 * 1024
