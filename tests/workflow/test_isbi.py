"""Real EM: a short training on ISBI 2012 sections, scored on sections that were held out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Project

DATA = ROOT.parent / "shared" / "data" / "isbi2012"


@pytest.mark.skipif(not DATA.exists(), reason=f"the ISBI 2012 data is not at {DATA}")
def test_a_short_training_segments_real_sections(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "config" / "isbi2012.yaml").read_text())
    shipped["volume"]["source"] = str(DATA / "train-volume.tif")
    shipped["truth"]["source"] = str(DATA / "train-labels.tif")
    project = Project(
        tmp_path,
        {
            "training": {"steps": 150, "crop": 160, "batch": 2, "validate_every": 75},
            "model": {"width": 8},
            "prediction": {"views": 1},
        },
        shipped,
    )
    done = project.snakemake("results/isbi2012/metrics.json")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = project.json("metrics.json")
    assert metrics["sections"] == [18, 19, 20, 21, 22, 23]
    assert metrics["seen_in_training"] == []
    assert metrics["fused"]["rand_error"] < 0.6
    calibration = project.json("calibration.json")
    assert calibration["rand_error"] < 0.7 * min(error for _, error in calibration["p"])
    assert metrics["segments"]["pixel_error"] < 0.25
