"""Sources and configuration of a run over a volume of any size; the run itself is any other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

import onnxruntime

from benchmarks import scale
from dcan.config import load
from dcan.geometry import Box
from dcan.ops import phantom
from tests.steps.test_plan import HEADER

SHAPE = (32, 1024, 2048)


@pytest.mark.parametrize("stubbed", [False, True], ids=["map", "stub"])
def test_its_sources_repeat_one_tile_and_take_the_space_of_one(
    tmp_path: Path, stubbed: bool
) -> None:
    path = scale.prepared(tmp_path / "run", SHAPE, stubbed)
    config = load(path)
    assert config.declared() == SHAPE
    assert (config.membrane is None) == stubbed
    em = zarr.open_array(tmp_path / "run" / "em.zarr", mode="r")
    tile = phantom.render(scale.TILE, 0, Box.whole(scale.TILE)).em
    assert em.shape == SHAPE
    np.testing.assert_array_equal(em[16:, :, 1024:], tile)
    chunks = [file for file in (tmp_path / "run" / "em.zarr" / "c").rglob("*") if file.is_file()]
    assert len(chunks) == 4
    assert len({file.stat().st_ino for file in chunks}) == 1
    assert scale.prepared(tmp_path / "run", SHAPE, stubbed) == path, "it is gone on with"
    with pytest.raises(SystemExit, match="holds a run of"):
        scale.prepared(tmp_path / "run", SHAPE, not stubbed)
    with pytest.raises(SystemExit, match="holds a run of"):
        scale.prepared(tmp_path / "run", (16, 1024, 1024), stubbed)


def test_a_file_that_can_have_no_more_names_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def few(source: Path, name: Path) -> None:
        if source.stat().st_nlink >= 3:
            raise OSError(errno.EMLINK, "Too many links")
        link(source, name)

    monkeypatch.setattr(os, "link", few)
    tile = np.arange(np.prod(scale.TILE), dtype=np.uint8).reshape(scale.TILE)
    scale.laid_out(tmp_path / "em.zarr", tile, (32, 2048, 2048))
    chunks = [file for file in (tmp_path / "em.zarr" / "c").rglob("*") if file.is_file()]
    assert len(chunks) == 8
    assert len({file.stat().st_ino for file in chunks}) == 3
    assert len({file.read_bytes() for file in chunks}) == 1


def test_what_can_not_be_laid_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give whole tiles"):
        scale.prepared(tmp_path / "run", (16, 1024, 1000), False)
    with pytest.raises(SystemExit, match="exists, without a run"):
        scale.prepared(tmp_path, SHAPE, False)


def test_the_report_is_in_proportion(tmp_path: Path) -> None:
    path = scale.prepared(tmp_path / "run", SHAPE, False)
    root = tmp_path / "run" / "results" / scale.NAME
    (root / "benchmarks").mkdir(parents=True)
    for job in ("flood-0", "flood-1"):
        (root / "benchmarks" / f"{job}.tsv").write_text(f"{HEADER}30\tx\t100\t60\n")
    line = next(x for x in scale.report(path, SHAPE).splitlines() if x.startswith("flood"))
    voxels = 32 * 1024 * 2048 / 1e6
    assert line.split() == [
        *("flood", "2", "60.0", "120.0", "100"),
        *(f"{120 / voxels:.4f}", f"{120 / voxels * 1e6 / 3600:.1f}"),
    ]


def test_the_stub_takes_what_is_dark_for_membrane() -> None:
    session = onnxruntime.InferenceSession(scale.stub(), providers=["CPUExecutionProvider"])
    window = np.ones((1, 1, 9, 9), np.float32)
    window[0, 0, :, 5:] = -1
    (found,) = session.run(None, {"em": window})
    assert found.shape == window.shape
    np.testing.assert_allclose(found[0, 0, 4, [2, 6]], [-6, 0.4], rtol=1e-4)
