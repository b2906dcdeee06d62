"""The ordinary use: weights and calibration of one volume on another that has no truth."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.workflow.conftest import Project


def test_a_volume_without_truth_runs_on_the_weights_of_another(
    tiny: Project, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny.results / "models", weights)
    project = Project(
        tmp_path,
        base={
            "volume": {"name": "other", "source": "phantom", "voxel_size": [50, 4, 4]},
            "phantom": {"shape": [5, 100, 90], "seed": 8},
            "model": {"weights": str(weights)},
            "prediction": {"tile": 64, "halo": 64, "threads": 1},
            "segmentation": {"calibration": str(tiny.results)},
        },
    )
    trained = project.snakemake("train")
    assert trained.returncode == 0, trained.stderr
    assert "weights are ready" in trained.stderr
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert project.array("em.ome.zarr/labels/neurites/0").any()
    assert project.json("metrics.json") == {"absent": "no truth is configured for this volume"}
    assert "no truth is configured" in (project.results / "report.html").read_text()
    assert project.json("calibration.json")["chosen"] == tiny.json("calibration.json")["chosen"]
    assert not list((project.results / "models").glob("*"))
    # other files under the names that the configuration gives are looked at again
    assert "Nothing to be done" in (again := project.snakemake("-n")).stdout + again.stderr
    os.utime(next(weights.glob("member-*.safetensors")), (1, 1))
    assert "weights: Vouch" in (again := project.snakemake("-n")).stdout + again.stderr
