"""What is said of a network in ONNX, and what it can be run with."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.config.test_model import config, refused

SAID = {"halo": 46, "normalisation": "zero-one", "output": "softmax", "channel": 1}


def given(**over: Any) -> dict[str, Any]:
    return {"model": {"weights": "net.onnx", "onnx": {**SAID, **over}}}


def test_it_is_described_by_a_few_keys_and_read_as_they_say() -> None:
    onnx = config(**given()).model.onnx
    assert onnx is not None
    assert (onnx.multiple, onnx.white) == (8, "membrane")
    assert config(**given()).model.normalisation == "zero-one"
    assert config(model={"weights": "net"}).model.normalisation == "section-mean-deviation"


@pytest.mark.parametrize("key", ["halo", "normalisation", "output"])
def test_what_cannot_be_guessed_is_asked_for(key: str) -> None:
    said = {name: value for name, value in SAID.items() if name != key}
    assert f"model.onnx.{key}" in refused(model={"weights": "net.onnx", "onnx": said})


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"weights": "a/net.onnx"}}, "model.weights is 'a/net.onnx', and model.onnx is"),
        ({"model": {"onnx": SAID}}, "model.onnx describes a network, and model.weights is null"),
        ({"training": {"start_from": "net.onnx"}}, "training.start_from is 'net.onnx'"),
        (given() | {"prediction": {"backend": "torch"}}, "prediction.backend is torch"),
        (given() | {"prediction": {"backend": "openvino"}}, "prediction.backend is openvino"),
        (given() | {"prediction": {"precision": "bfloat16"}}, "prediction.precision is bfloat16"),
        (given() | {"prediction": {"precision": "float16"}}, "prediction.precision is float16"),
        (given() | {"prediction": {"halo": 40}}, "prediction.halo is 40: the network reads 46"),
        (given(multiple=16) | {"prediction": {"halo": 56}}, "prediction.halo is 56: .* 16 pixels"),
        (given(multiple=48), "prediction.tile is 1024: the network pools 48 pixels into one"),
        (given() | {"membrane": {"source": "map.tif"}}, "membrane gives a map and model.weights"),
    ],
)
def test_what_does_not_go_together_is_refused(sections: Any, words: str) -> None:
    assert re.search(words, refused(**sections))


def test_what_it_is_run_with_may_be_said() -> None:
    prediction = {"precision": "float32", "device": "cpu", "tile": 96, "halo": 48}
    assert config(**given(multiple=16), prediction=prediction).prediction.halo == 48
