"""Grown and renumbered labels: from any blocks those of whole sections; what a change reruns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from dcan.cli import main
from dcan.ops.frames import Frame
from dcan.ops.growth import grow
from dcan.ops.smoothing import smooth
from dcan.steps.numbering import Numbering
from dcan.steps.segment import table_of
from dcan.steps.workspace import Workspace
from dcan.storage.tables import read_table
from tests.workflow.conftest import Project
from tests.workflow.test_blocking import BLOCKS, cut, drive, labels

Labels = NDArray[np.uint64]


def change(project: Project, **values: bool) -> None:
    """Write another `labels` section into a project's configuration."""
    project.values = {**project.values, "labels": values}
    project.config.write_text(yaml.safe_dump(project.values))


def grown(tiny: Project) -> Labels:
    """The neurites of `tiny`, grown by whole sections in memory."""
    segments, neurites = labels(tiny)
    membrane = tiny.array("membrane.ome.zarr/0")
    sigma = tiny.json("calibration.json")["chosen"]["sigma"]
    whole = Frame.whole(*segments.shape[1:])
    names, first = np.unique(segments, return_index=True)
    sections = [
        grow(smooth(m, sigma), s, whole, np.empty(0, np.uint64))
        for m, s in zip(membrane, segments, strict=True)
    ]
    return neurites.ravel()[first][np.searchsorted(names, np.stack(sections))]


def numbered(names: Labels) -> Any:
    return relabel_sequential(names.astype(np.int64))[0]


def reran(text: str) -> set[str]:
    """The stages with blocks or sections that were done."""
    return {stage for stage, done in re.findall(r"(\w+): (\d+) done,", text) if int(done)}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
def test_any_blocks_give_the_grown_and_numbered_sections(
    tiny: Project, tmp_path: Path, blocks: list[int]
) -> None:
    project = cut(tiny, tmp_path, blocks)
    change(project, grow=True, compact=True)
    drive(project, 2, ["1/2", "0/2"])
    segments, neurites = labels(tiny)
    stored = labels(project)
    assert stored[0].dtype == stored[1].dtype == np.uint64
    assert (stored[0] == numbered(segments)).all()
    assert (stored[1] == numbered(grown(tiny))).all()
    assert (stored[1][neurites > 0] > 0).all()
    assert (stored[1] > 0).sum() > (neurites > 0).sum()
    assert not stored[1][10].any()


def test_a_change_of_labels_reruns_what_depends_on_it(
    tiny: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = cut(tiny, tmp_path, BLOCKS["several shards"])
    drive(project, 2, ["0/1"])
    wanted = labels(tiny)
    expected: list[tuple[dict[str, bool], set[str], Labels, Labels]] = [
        ({"grow": True}, {"grow", "settle", "unite"}, wanted[0], grown(tiny)),
        ({}, {"unite"}, wanted[0], wanted[1]),
        ({"grow": True}, {"unite"}, wanted[0], grown(tiny)),
        (
            {"compact": True},
            {"relabel", "overlap", "unite"},
            numbered(wanted[0]),
            numbered(wanted[1]),
        ),
    ]
    for values, stages, segments, neurites in expected:
        change(project, **values)
        caplog.clear()
        with caplog.at_level("INFO", "dcan"):
            drive(project, 2, ["0/1"])
        assert reran(caplog.text) == stages, values
        assert main(["verify", "-c", str(project.config)]) == 0
        stored = labels(project)
        assert (stored[0] == segments).all(), values
        assert (stored[1] == neurites).all(), values
    # numbers lead back to names
    space = Workspace.open(project.config)
    names = np.concatenate([[0], Numbering(space).names()])
    assert (names[stored[0]] == wanted[0]).all()
    table = table_of(space.receipt("link"))["neurites"]
    names = np.concatenate([[0], read_table(space.root, table, "names")[""]])
    assert (names[stored[1]] == wanted[1]).all()


def test_stages_of_growth_run_only_where_it_is_asked_for(tiny: Project) -> None:
    assert not list((tiny.results / "receipts").glob("*grow*"))
    assert not list((tiny.results / "receipts").glob("*settle*"))
    for verb in (("grow",), ("settle",), ("seal", "--stage", "grow")):
        refused = tiny.dcan(*verb, "-c", "volume.yaml")
        assert refused.returncode == 1
        assert re.search("error: stage (grow|settle) has nothing to do for tiny", refused.stderr)
    receipt = str(tiny.results.relative_to(tiny.folder) / "receipts" / "unite.json")
    text = tiny.config.read_text()
    tiny.config.write_text(text + "labels: {grow: true}\n")
    try:
        planned = tiny.snakemake("-n", receipt)
    finally:
        tiny.config.write_text(text)
    assert planned.returncode == 0, planned.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned.stdout + planned.stderr, re.MULTILINE))
    assert jobs == {"grow": "1", "settle": "1", "seal": "2", "unite": "1", "total": "5"}
