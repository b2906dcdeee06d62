"""Files beside the sources that a configuration names: which they are, and changes are seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcan.config import Config
from dcan.errors import DcanError
from dcan.steps.sources import MODELS, given_files, named_path
from tests.steps.conftest import Make, noise

KEY = "model.weights"


def naming(make: Make, weights: str, calibration: str = "auto") -> Config:
    config = make(noise(2, 32, 32)).config
    model = config.model.model_copy(update={"weights": weights})
    segmentation = config.segmentation.model_copy(update={"calibration": calibration})
    return config.model_copy(update={"model": model, "segmentation": segmentation})


def test_files_in_models_are_looked_at_as_others_are(make: Make) -> None:
    found = given_files(naming(make, "isbi2012", "isbi2012"))
    (weights,), (calibration,) = found[KEY], found["segmentation.calibration"]
    assert weights[:2] == (
        "isbi2012.safetensors",
        (MODELS / "isbi2012.safetensors").stat().st_size,
    )
    assert calibration[0] == "isbi2012.calibration.json"


def test_a_file_that_was_replaced_is_another(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"one")
    config = naming(make, str(path))
    before = given_files(config)
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 1))
    after = given_files(config)
    assert (before["segmentation.calibration"], len(before[KEY])) == ([], 1)
    assert before[KEY] != after[KEY]


def test_a_path_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").touch()
    path = tmp_path / "net"
    assert named_path(str(path), KEY, ".safetensors") == path
    beside = str(MODELS / "isbi2012")
    assert named_path(beside, KEY, ".safetensors") == Path(beside)


def test_a_name_that_the_system_refuses_is_one_line() -> None:
    with pytest.raises(DcanError, match=r"^model.weights is 'a+': File name too long: give"):
        named_path("a" * 300, KEY, ".safetensors")
