"""A whole run: what it leaves, what a second run does, and what a changed value reruns."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from dcan.steps.watching import standings
from dcan.steps.workspace import Workspace
from tests.workflow.conftest import SHAPE, Project

RESULTS = ("p", "fused", "segments")
METRICS = ("rand_error", "warping_error", "pixel_error", "vrand_thin", "vinfo_thin")


def test_leaves_segments_neurites_metrics_and_report(tiny: Project) -> None:
    segments = tiny.array("em.ome.zarr/labels/segments/0")
    neurites = tiny.array("em.ome.zarr/labels/neurites/0")
    assert segments.shape == neurites.shape == tuple(SHAPE)
    assert segments.dtype == neurites.dtype == np.uint64
    assert len(np.unique(segments)) > 30
    # a neurite is made of whole segments, under the name of its first
    assert ((segments == 0) == (neurites == 0)).all()
    assert 1 < len(np.unique(neurites)) < len(np.unique(segments))
    assert (neurites <= segments).all()
    # a name is one more than the place of its first voxel
    names, first = np.unique(segments, return_index=True)
    assert (names[1:] == first[1:] + 1).all()
    metrics = tiny.json("metrics.json")
    assert all(0 <= metrics[result][key] <= 1 for result in RESULTS for key in METRICS)
    assert {"adapted_rand_error", "voi_split", "voi_merge"} <= metrics["neurites"].keys()
    assert metrics["sections"] == [8, 9, 11, 12, 13, 14, 15]
    assert metrics["seen_in_training"] == []
    assert "<html" in (tiny.results / "report.html").read_text()


def test_leaves_missing_sections_empty(tiny: Project) -> None:
    assert (tiny.array("membrane.ome.zarr/0")[10] == 255).all()
    assert not tiny.array("em.ome.zarr/labels/segments/0")[10].any()
    membrane = np.delete(tiny.array("membrane.ome.zarr/0"), 10, axis=0)
    assert all(len(np.unique(section)) > 2 for section in membrane)


def test_links_across_the_missing_section(tiny: Project) -> None:
    neurites = tiny.array("em.ome.zarr/labels/neurites/0")
    both = set(np.unique(neurites[9])) & set(np.unique(neurites[11]))
    assert len(both - {0}) > 0


def test_verifies_and_runs_a_second_time_without_doing_anything(tiny: Project) -> None:
    again = tiny.snakemake()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    verified = tiny.dcan("verify", "-c", "volume.yaml")
    assert verified.returncode == 0, verified.stderr
    assert "everything holds" in verified.stderr
    dry = tiny.snakemake("-n")
    assert dry.returncode == 0


def test_status_says_that_all_is_done(tiny: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    found = list(standings(Workspace.open("volume.yaml"), time.time()))
    assert {standing.state for standing in found} == {"done"}
    assert {s.total for s in found if s.stage in ("ingest", "flood", "unite")} == {24}
    report = (tiny.results / "report.html").read_text()
    slowest = re.findall(r"<td><code>([\d:,z-]+)</code> ", report)
    assert len(slowest) >= 10, "of each stage that works by blocks or sections"


def test_verify_finds_and_heals_a_flipped_bit(tiny: Project) -> None:
    before = tiny.outputs()
    shard = tiny.results / "membrane.ome.zarr/0/c/1/0/1"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    found = tiny.dcan("verify", "-c", "volume.yaml")
    assert found.returncode == 1
    assert str(shard.relative_to(tiny.results)) in found.stderr
    assert tiny.dcan("verify", "-c", "volume.yaml", "--repair").returncode == 1
    healed = tiny.snakemake()
    assert healed.returncode == 0, healed.stderr
    assert tiny.dcan("verify", "-c", "volume.yaml").returncode == 0
    assert tiny.outputs() == before


def done_blocks(project: Project, stage: str) -> int:
    """How many blocks the last job of a stage did."""
    text = "".join(p.read_text() for p in sorted((project.results / "logs").glob(f"{stage}*.log")))
    return int(re.findall(rf"{stage}: (\d+) done,", text)[-1])


def test_changed_w_f_reruns_fusion_alone_and_changing_it_back_restores(tiny: Project) -> None:
    before = tiny.outputs()
    text = tiny.config.read_text()
    tiny.config.write_text(text + "segmentation: {w_f: 0.9, t: 0.8}\n")
    try:
        done = tiny.snakemake("results/tiny/receipts/relabel.json")
        assert done.returncode == 0, done.stderr
        assert done_blocks(tiny, "fuse-0".removesuffix("-0")) > 0
        chosen = tiny.json("calibration.json")["chosen"]
        assert (chosen["w_f"], chosen["t"]) == (0.9, 0.8)
    finally:
        tiny.config.write_text(text)
    restored = tiny.snakemake()
    assert restored.returncode == 0, restored.stderr
    assert tiny.outputs() == before
