"""The promise: block shape, workers, batches, order and repetition change no bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dcan.cli import main
from tests.workflow.conftest import SHAPE, Project

BLOCKS = {"one shard": [8, 64, 64], "several shards": [8, 128, 192], "all": list(SHAPE)}
LABELS = ("em.ome.zarr/labels/segments/0", "em.ome.zarr/labels/neurites/0")


def drive(project: Project, workers: int, batches: list[str]) -> None:
    """The stages from source to neurites, in this process; batches in the order given."""

    def verb(name: str, *arguments: str) -> None:
        assert main([name, "-c", str(project.config), *arguments]) == 0, name

    def batched(name: str) -> None:
        for batch in batches:
            verb(name, "--batch", batch, "--workers", str(workers))
        verb("seal", "--stage", name)

    for name in ("probe", "allocate"):
        verb(name)
    batched("ingest")
    for name in ("survey", "weights", "resolve", "calibrate"):
        verb(name)
    batched("predict")
    verb("drift", "--workers", str(workers))
    batched("flood")
    verb("merge", "--workers", str(workers))
    batched("fuse")
    verb("stitch", "--workers", str(workers))
    batched("relabel")
    if project.values.get("labels", {}).get("grow"):
        batched("grow")
        verb("settle", "--workers", str(workers))
    batched("overlap")
    verb("link")
    batched("unite")


def cut(
    tiny: Project, folder: Path, blocks: list[int], shard: tuple[int, ...] = (8, 64, 64)
) -> Project:
    """The volume of `tiny` on its weights and calibration, cut otherwise."""
    return Project(
        folder,
        {
            "truth": None,
            "evaluation": None,
            "model": {"weights": str(tiny.results / "models")},
            "segmentation": {"calibration": str(tiny.results / "calibration.json")},
            "blocks": {"shape": blocks},
            "storage": {"shard": list(shard)},
            "output": str(folder / "results"),
        },
    )


def labels(project: Project) -> list[NDArray[np.uint64]]:
    return [project.array(path) for path in LABELS]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_block_shape_and_workers_change_no_bit(
    tiny: Project, tmp_path: Path, blocks: list[int], workers: int
) -> None:
    project = cut(tiny, tmp_path, blocks)
    drive(project, workers, ["0/1"])
    assert (project.array("membrane.ome.zarr/0") == tiny.array("membrane.ome.zarr/0")).all()
    for found, wanted in zip(labels(project), labels(tiny), strict=True):
        assert wanted.any()
        assert (found == wanted).all()


def test_batches_in_any_order_and_twice_change_no_bit(tiny: Project, tmp_path: Path) -> None:
    project = cut(tiny, tmp_path, BLOCKS["one shard"])
    drive(project, 2, ["2/3", "0/3", "2/3", "1/2", "1/3"])
    for found, wanted in zip(labels(project), labels(tiny), strict=True):
        assert (found == wanted).all()


def test_shard_shape_changes_no_bit(tiny: Project, tmp_path: Path) -> None:
    project = cut(tiny, tmp_path, [16, 128, 128], (4, 32, 128))
    drive(project, 2, ["0/1"])
    for found, wanted in zip(labels(project), labels(tiny), strict=True):
        assert (found == wanted).all()


def test_another_block_shape_predicts_nothing_again(
    tiny: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = cut(tiny, tmp_path, BLOCKS["one shard"])
    drive(first, 1, ["0/1"])
    second = cut(tiny, tmp_path, BLOCKS["several shards"])
    caplog.clear()
    with caplog.at_level("INFO", "dcan"):
        drive(second, 1, ["0/1"])
    assert "predict: 0 done, 8 were done before" in caplog.text
    assert "flood: 8 done" in caplog.text
    for found, wanted in zip(labels(second), labels(tiny), strict=True):
        assert (found == wanted).all()
