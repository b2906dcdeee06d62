"""The weights in models/: what their cards say of them, and that they tell membranes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dcan.errors import DcanError
from dcan.net.members import torch_members
from dcan.net.model import Architecture
from dcan.net.networks import layout
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor, predict_section
from dcan.steps.borrowing import Borrowed, borrowed_calibration
from dcan.steps.starting import checkpoints
from dcan.storage.checkpoints import load_weights
from tests.steps.conftest import Make, noise

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "isbi2012"
NAMES = sorted(path.stem for path in (ROOT / "models").glob("*.safetensors"))


def test_there_are_weights() -> None:
    assert NAMES == ["isbi2012"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_its_weights(name: str) -> None:
    (path,) = checkpoints(name, "model.weights")
    assert path.stat().st_size <= 17_000_000
    content = path.read_bytes()
    found = load_weights(path, layout)
    card = (ROOT / "models" / f"{name}.md").read_text("utf-8")
    assert f"`{hashlib.sha256(content).hexdigest()}`" in card
    assert f"{sum(tensor.numel() for tensor in found.tensors.values()):,} weights" in card
    assert f"{len(found.meta.sections)} sections" in card
    assert f"{found.meta.halo} pixels" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_calibration_beside_weights_is_of_sections_they_know(name: str, make: Make) -> None:
    (path,) = checkpoints(name, "model.weights")
    calibration = borrowed_calibration(make(noise(2, 32, 32)), name)
    assert isinstance(calibration, Borrowed)
    assert calibration.sections
    known = set(load_weights(path, layout).meta.sections)
    assert known >= {section.sha256 for section in calibration.sections}
    chosen = calibration.values(("sigma", "depth", "w_f", "t"))
    card = (ROOT / "models" / f"{name}.md").read_text("utf-8")
    assert all(f"{key} {value:g}" in card for key, value in chosen.items())


def test_a_name_that_is_also_a_path_here_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make(noise(2, 32, 32))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "isbi2012").mkdir()
    both = r"is 'isbi2012': that names a network in models/, and /.*/isbi2012 too: give ./isbi2012"
    with pytest.raises(DcanError, match=f"^model.weights {both}"):
        checkpoints("isbi2012", "model.weights")
    with pytest.raises(DcanError, match=f"^segmentation.calibration {both}"):
        borrowed_calibration(space, "isbi2012")
    (tmp_path / "isbi2012" / "member-0.safetensors").touch()
    (found,) = checkpoints("./isbi2012", "model.weights")
    assert found.absolute().parent == tmp_path / "isbi2012"
    with pytest.raises(DcanError, match=r"'\./isbi2012': No such file"):
        borrowed_calibration(space, "./isbi2012")


def test_membranes_are_where_the_labels_have_them() -> None:
    if not DATA.exists():
        pytest.skip("the sections that the weights learned from are not here")
    (path,) = checkpoints("isbi2012", "model.weights")
    found = load_weights(path, layout)
    architecture = Architecture.parse(found.meta.architecture)
    network = Predictor(torch_members(architecture, [found.tensors]), found.meta.halo, threads=2)
    em = tifffile.imread(DATA / "train-volume.tif")[20, :256, :256]
    labels = tifffile.imread(DATA / "train-labels.tif")[20, :256, :256]
    found_map = predict_section(network, em, section_table(histogram(em)), 256, 64)
    wrong = np.mean((found_map < 128) != (labels > 0))
    assert wrong < 0.1, "the share of pixels; a map of nothing but neurite has more than 0.2"
