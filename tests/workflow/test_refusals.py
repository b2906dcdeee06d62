"""What cannot work is refused: one clear line, a non-zero exit, no traceback, nothing lost."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Project

MINIMAL: dict[str, Any] = {
    "volume": {"name": "mine", "source": "phantom", "voxel_size": [50, 4, 4]},
    "phantom": {"shape": [4, 40, 48]},
}


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused run prints."""
    said = done.stdout + done.stderr
    assert done.returncode not in (0, -9), said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("dcan: error: ")]
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"segmentaton": {}}, ["segmentaton", "segmentation"]),
        ({"segmentation": {"sgma": 1}}, ["segmentation.sgma", "sigma"]),
        ({"segmentation": {"w_f": 7}}, ["segmentation.w_f", "7"]),
        ({"volume": {"source": "no/such.tif"}}, ["volume.source", "no/such.tif"]),
        ({"evaluation": {"sections": "0:2"}}, ["evaluation", "truth"]),
    ],
    ids=["section", "key", "value", "source", "together"],
)
def test_a_wrong_configuration_is_one_line(
    tmp_path: Path, over: dict[str, Any], words: list[str]
) -> None:
    project = Project(tmp_path, over, MINIMAL)
    for done in (project.snakemake("-n"), project.snakemake()):
        line = refusal(done)
        assert all(word in line for word in words), line
    assert not project.results.exists()


def test_an_unreadable_source_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "em.tif").write_bytes(b"II*\0 not a TIFF")
    project = Project(tmp_path, {"volume": {"source": "em.tif"}}, MINIMAL)
    line = refusal(project.snakemake())
    assert "volume.source" in line
    assert "em.tif" in line


def test_blocks_that_are_not_whole_shards_are_refused_with_the_nearest_that_are(
    tmp_path: Path,
) -> None:
    cut = {"blocks": {"shape": [2, 24, 48]}, "storage": {"shard": [2, 16, 16]}}
    project = Project(tmp_path, cut, MINIMAL)
    line = refusal(project.snakemake())
    assert "blocks.shape" in line
    assert "[2, 40, 48]" in line


def test_a_minimal_file_inherits_nothing_of_the_demo(tmp_path: Path) -> None:
    project = Project(tmp_path, {}, MINIMAL)
    line = refusal(project.snakemake())
    assert "calibrat" in line or "train" in line
    shown = project.dcan("plan", "-c", "volume.yaml")
    assert "[4, 40, 48]" in shown.stdout


def test_two_configuration_files_are_refused(tmp_path: Path) -> None:
    project = Project(tmp_path, {}, MINIMAL)
    line = refusal(project.snakemake("-n", "--configfile", "volume.yaml", "volume.yaml"))
    assert "2 configuration files" in line
