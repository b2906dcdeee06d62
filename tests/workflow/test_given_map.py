"""A map that another network made: segmented, calibrated and scored without one of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcan.geometry import Box
from dcan.ops import phantom
from tests.workflow.conftest import SHAPE, Project


def run(project: Project) -> None:
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_a_map_of_the_users_own(tmp_path: Path) -> None:
    first = Project(tmp_path / "one", {"membrane": {"source": "phantom"}})
    run(first)
    jobs = {path.stem for path in (first.results / "benchmarks").glob("*.tsv")}
    assert "calibrate" in jobs
    assert not jobs & {"train-0", "resolve"}
    assert not (first.results / "models").exists()
    calibration = first.json("calibration.json")
    assert calibration["from"] == "validation sections"
    assert calibration["weights"] == []
    assert first.json("metrics.json")["segments"]["rand_error"] < 0.3
    assert "the membrane map was made elsewhere" in (first.results / "report.html").read_text()

    # the same map the other way round, in a file, cut otherwise: the same arrays
    shape = (SHAPE[0], SHAPE[1], SHAPE[2])
    given = phantom.membrane(shape, 3, Box.whole(shape))
    second = Project(
        tmp_path / "two",
        {
            "membrane": {"source": "map.npy", "white": "neurite"},
            "blocks": {"shape": [16, 128, 64], "batches": 2},
        },
    )
    np.save(second.folder / "map.npy", (255 - given).astype(np.float32) / 255)
    run(second)
    assert second.outputs() == first.outputs()

    # another map is noticed by its content
    given[0, :40, :40] = 255
    np.save(second.folder / "map.npy", 255 - given)
    done = second.snakemake("--dry-run")
    assert "probe" in done.stdout
    assert second.dcan("probe", "-c", "results/tiny/config.yaml").returncode == 0
    done = second.dcan("predict", "-c", "results/tiny/config.yaml")
    assert "predict: 8 done, 0 were done before" in done.stderr
