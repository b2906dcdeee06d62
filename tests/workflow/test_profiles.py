"""The profiles: their dry runs are clean, and what they ask of a job is what the rules say."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import yte

from dcan.config import load
from dcan.steps.jobs import all_jobs
from dcan.steps.requests import Requests
from dcan.steps.workspace import Workspace
from tests.workflow.conftest import ROOT, Project, slurm_profile
from tests.workflow.test_refusals import refusal

SLURM = ("-n", "--profile", str(ROOT / "profiles" / "slurm"))
TERA: dict[str, Any] = {
    "volume": {"name": "tera", "source": "phantom", "voxel_size": [50, 4, 4]},
    "phantom": {"shape": [2500, 20000, 20000]},
    "model": {"weights": "weights.safetensors"},
    "segmentation": {"sigma": 1.5, "depth": 8, "w_f": 0.7, "t": 0.3},
    "labels": {"grow": True},
}
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("spent", used.ru_utime + used.ru_stime, used.ru_maxrss, flush=True)
sys.exit(status)
"""
"""Runs a command and says its CPU seconds and KiB: of this process, a fork would count."""

ASKING = """
include: "{root}/Snakefile"
from types import SimpleNamespace
for each in workflow.rules:
    if each.shellcmd:
        found = [
            each.resources[resource].evaluate(
                SimpleNamespace(store="em"), threads=4, attempt=attempt
            ).value
            for resource in ("runtime", "mem_mb")
            for attempt in (1, 2, 3)
        ]
        print("asked", each.name, *found, file=sys.stderr)
print("gpus", GPUS, file=sys.stderr)
"""
"""A workflow that says what its rules ask for: a dry run has no place for it."""


ASKING_TWICE = """
include: "{root}/Snakefile"
import subprocess
for time in ("before", "after"):
    print("asked", time, mem_mb("merge")(None, 2, 1), file=sys.stderr)
    write(CONFIG, Path(RESOLVED))
    subprocess.run(["dcan", "probe", "-c", RESOLVED], check=True)
"""


def evaluated(**site: str) -> dict[str, Any]:
    """What snakemake reads of the Slurm profile, with other values in its site section."""
    found: dict[str, Any] = yte.process_yaml(StringIO(slurm_profile(site)), require_use_yte=True)
    return found


def rules(having: str) -> set[str]:
    """The rules whose text has a line of a pattern."""
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    parts = re.findall(r"(?ms)^rule (\w+):\n(.*?)(?=^\S|\Z)", text)
    return {name for name, body in parts if re.search(f"{having}\n", body)}


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
    of_gpus = {"train_member", "predict"}
    assert shipped["set-threads"] == dict.fromkeys(rules("    threads: 2") | of_gpus, 4)
    assert not of_gpus & evaluated(gpus="0")["set-threads"].keys()
    assert shipped["set-resources"].keys() == rules("        gpu=GPUS,")
    assert all(of.keys() == {"slurm_partition"} for of in shipped["set-resources"].values())
    assert "mem_mb" not in shipped["default-resources"]
    other = evaluated(
        partition="long", gpu_partition="fast", account="em", cpus="9", gpu_cpus="7", longest="5",
        largest="7000", attempts="6",
    )  # fmt: skip
    assert other["default-resources"]["slurm_partition"] == "long"
    assert other["default-resources"]["slurm_account"] == "em"
    assert other["default-resources"]["runtime"] == 5
    assert other["default-resources"]["mem_mb"] == 7000
    assert other["set-threads"]["flood"] == 9
    assert {other["set-threads"].pop(rule) for rule in of_gpus} == {7}
    assert set(other["set-threads"].values()) == {9}
    assert other["retries"] == 5
    network = other["set-resources"]
    assert {of["slurm_partition"] for of in network.values()} == {"fast"}


def saying(project: Project, site: dict[str, str] | None) -> str:
    """What is said on the way to a workflow that says what its rules ask for."""
    probing = project.folder / "Snakefile"
    probing.write_text(ASKING.format(root=ROOT))
    given: tuple[str, ...] = ()
    if site is not None:
        profile = project.folder / "profile"
        profile.mkdir(exist_ok=True)
        (profile / "config.yaml").write_text(slurm_profile(site))
        given = ("--profile", str(profile))
    done = project.snakemake("-n", *given, "--snakefile", str(probing))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def asked(said: str) -> dict[str, list[float]]:
    """Minutes and MiB that jobs ask for at three attempts, by stage."""
    return {
        stage: [float(number) for number in numbers.split()]
        for stage, numbers in re.findall(r"(?m)^asked (\S+) (.*)$", said)
    }


def test_every_rule_asks_for_memory_and_time() -> None:
    assert rules(r"        runtime=minutes\(.*\),") == rules("    shell:")
    assert rules("        mem_mb=.*,") == rules("    shell:")


def test_a_raised_version_of_a_stage_runs_its_rule_again() -> None:
    stages = rules("    shell:") - {"seal"}  # of any stage, with the fingerprint of its batches
    assert rules(r"        (values=parameters\(.*\)|version=.*),") == stages


def test_requests_follow_the_prediction_and_the_attempt_up_to_what_the_site_has(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path, base=TERA)
    alone = asked(saying(project, None))
    for stage, numbers in alone.items():
        minutes, memory = numbers[:3], numbers[3:]
        assert minutes == [minutes[0] * attempt for attempt in (1, 2, 3)], stage
        assert memory == [memory[0] * 2**attempt for attempt in (0, 1, 2)], stage
    assert alone["flood"][0] > 30
    assert alone["pyramid"][0] > alone["flood"][0]
    assert alone["predict"][0] > 1440
    shipped = asked(saying(project, {}))
    assert shipped["predict"][:3] == [1440] * 3
    assert shipped["flood"] == alone["flood"]
    said = saying(project, {"longest": "50", "largest": "3000"})
    small = asked(said)
    assert small["flood"] == [min(50, x) for x in alone["flood"][:3]] + [
        min(3000, x) for x in alone["flood"][3:]
    ]
    assert small["probe"][3:] == [2000, 3000, 3000]
    assert small["evaluate"][3:] == [3000] * 3
    pattern = (
        r"(?m)^dcan: a job of (\w+) may take (\d+) MiB, and the profile lets it ask for 3000: "
    )
    told = re.findall(pattern, said)
    short = {(stage, wanted) for stage, (*_, wanted, _, _) in alone.items() if wanted > 3000}
    assert {(stage, float(wanted)) for stage, wanted in told} == {
        (stage.removesuffix("_member"), wanted) for stage, wanted in short
    }
    assert len(told) == len(short) > 3, "each once"


def test_a_training_on_several_gpus_asks_for_the_memory_of_all_its_processes(
    tmp_path: Path,
) -> None:
    truth = {"source": "phantom", "kind": "neurites", "sections": "0:12"}
    project = Project(tmp_path, base=TERA | {"model": {}, "truth": truth})
    said = saying(project, {"gpus": "4", "largest": "0"})
    assert "\ngpus 1\n" in said
    found = asked(said)["train_member"][3]
    requests = Requests(Workspace.of(load(project.config)))
    assert found == requests.mib("train", 4, 4) > requests.mib("train", 4) + 3000


def test_a_network_that_is_to_run_on_cpus_asks_for_no_gpu(tmp_path: Path) -> None:
    project = Project(tmp_path, base=TERA | {"prediction": {"device": "cpu"}})
    assert "\ngpus 0\n" in saying(project, None)


def test_a_site_without_bounds_sets_none() -> None:
    bounded, free = evaluated(longest="9", largest="9"), evaluated(longest="0", largest="0")
    bounds = bounded["default-resources"].keys() - free["default-resources"].keys()
    assert bounds == {"runtime", "mem_mb"}


@pytest.mark.parametrize("longest", ["1-00:00:00", "120 * attempt"])
def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, longest: str) -> None:
    project = Project(tmp_path)
    profile = tmp_path / "profile"
    profile.mkdir()
    text = slurm_profile({"longest": "77"}).replace("longest: 77", f"longest: {longest!r}")
    (profile / "config.yaml").write_text(text)
    line = refusal(project.snakemake("-n", "--profile", str(profile)))
    assert f"runtime is {longest!r}" in line
    assert "give a number of minutes" in line


def test_requests_change_when_the_volume_has_been_looked_at(tmp_path: Path) -> None:
    volume = {"name": "small", "source": "em.npy", "voxel_size": [50, 4, 4]}
    project = Project(tmp_path, base={"volume": volume, "output": "results"})
    np.save(tmp_path / "em.npy", np.zeros((2, 64, 64), np.uint8))
    probing = tmp_path / "Snakefile"
    probing.write_text(ASKING_TWICE.format(root=ROOT))
    done = project.snakemake("-n", "--snakefile", str(probing))
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(re.findall(r"(?m)^asked (\w+) (\d+)$", done.stderr))
    assert int(found["before"]) > int(found["after"]) + 300


def test_a_cluster_without_gpus_is_asked_for_none() -> None:
    network = evaluated(partition="long", gpus="0")["set-resources"]
    assert all(of["gpu"] == 0 and of["slurm_partition"] == "long" for of in network.values())


def test_gpus_of_a_job_their_kind_and_the_quality_of_service_are_the_sites() -> None:
    plain = evaluated()
    assert "qos" not in plain["default-resources"]
    assert all(of.keys() == {"slurm_partition"} for of in plain["set-resources"].values())
    given = evaluated(gpus="4", gpu_model='"a100"', qos='"long"')
    assert given["default-resources"]["qos"] == "long"
    network = given["set-resources"]
    assert {rule: of.get("gpu") for rule, of in network.items()} == {
        "resolve": None, "train_member": 4, "calibrate": None, "predict": 4,
    }  # fmt: skip
    assert {rule: of.get("nodes") for rule, of in network.items() if "gpu" in of} == {
        "train_member": 1, "predict": 1,
    }  # fmt: skip
    assert {of["gpu_model"] for of in network.values()} == {"a100"}
    assert all(
        "gpu_model" not in of for of in evaluated(gpus="0", gpu_model="a")["set-resources"].values()
    )


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
    project = Project(tmp_path, base=TERA)
    dry = project.snakemake("-n", through=(sys.executable, "-c", MEASURED))
    assert dry.returncode == 0, dry.stdout + dry.stderr
    jobs = int(re.findall(r"^total +(\d+)$", dry.stdout + dry.stderr, re.MULTILINE)[-1])
    assert all_jobs(load(project.config)) + 1 == jobs <= 400, "beside them the target"
    seconds, kib = map(float, re.findall(r"(?m)^spent (\S+) (\S+)$", dry.stdout)[0])
    assert 0.5 < seconds < 10
    assert 30 * 1024 < kib < 300 * 1024
