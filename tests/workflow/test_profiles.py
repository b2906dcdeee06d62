"""The profiles: their dry runs are clean, and what they ask of a job is what the rules say."""

from __future__ import annotations

from pathlib import Path

import yaml

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
