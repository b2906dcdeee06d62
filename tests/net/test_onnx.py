"""Networks in ONNX are computed as they say, and refused where they are not what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from dcan.config.onnx import Onnx
from dcan.errors import DcanError
from dcan.net import device
from dcan.net.members import torch_members
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor
from tests.net.test_predict import ARCHITECTURE, image, weights

pytest.importorskip("dcan.net.onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto

from dcan.net.onnx import OnnxMember, version_on
from tests.net.onnx_networks import WINDOW, exported, filtered, model_of, node, tensor

SIDE = 48
RNG = np.random.default_rng(0)
KERNELS = RNG.standard_normal((3, 3, 3)).astype(np.float32)


def given(**over: Any) -> Onnx:
    return Onnx(**{"halo": 8, "normalisation": "none", "output": "sigmoid", **over})


def member(content: bytes, side: int = SIDE, threads: int = 1, **over: Any) -> OnnxMember:
    return OnnxMember("net.onnx", content, given(**over), side, device="cpu", threads=threads)


def window(seed: int = 0, side: int = SIDE) -> torch.Tensor:
    return torch.randn((1, 1, side, side), generator=torch.Generator().manual_seed(seed))


def graph(*nodes: Any, **more: Any) -> bytes:
    return bytes(model_of(nodes, **more).SerializeToString())


@pytest.mark.parametrize("views", [1, 8])
def test_this_package_s_network_gives_the_same_map_to_a_level(views: Any) -> None:
    drawn = weights(0)
    section = image((176, 176))
    em = section_table(histogram(section))[section][None]
    content = exported(ARCHITECTURE, drawn)
    one = torch_members(ARCHITECTURE, [drawn])
    two = [member(content, 176, output="softmax", channel=1)]
    maps = [Predictor(m, 56, threads=1, views=views).tile(em, 56).astype(int) for m in (one, two)]
    assert np.ptp(maps[0]) > 100
    assert np.abs(maps[0] - maps[1]).max() <= 1
    assert (maps[0] != maps[1]).mean() < 0.01


def test_the_same_window_gives_the_same_bits_whatever_ran_before() -> None:
    content = exported(ARCHITECTURE, weights(0))
    over = {"output": "softmax", "channel": 1, "threads": 2}
    first, second = (member(content, 64, **over) for _ in range(2))
    found = first(window(0, 64))
    kept = found.clone()
    other = first(window(1, 64))
    assert torch.equal(found, kept)
    assert torch.equal(second(window(0, 64)), kept)
    assert torch.equal(first(window(0, 64)), kept)
    assert not torch.equal(other, kept)


def maps_of(em: torch.Tensor) -> torch.Tensor:
    kernels = torch.from_numpy(KERNELS)[:, None]
    return torch.nn.functional.conv2d(em, kernels, padding=1)[0]


@pytest.mark.parametrize("white", ["membrane", "neurite"])
@pytest.mark.parametrize("channel", [0, 2])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_what_is_said_of_the_output_is_done(output: str, channel: int, white: str) -> None:
    em = window()
    maps = maps_of(em)
    p = torch.softmax(maps, 0)[channel] if output == "softmax" else torch.sigmoid(maps[channel])
    made = member(filtered(KERNELS), output=output, channel=channel, white=white)(em)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, p if white == "membrane" else 1 - p, atol=1e-5, rtol=0)


def test_a_probability_is_taken_as_it_is() -> None:
    em = torch.rand((1, 1, SIDE, SIDE))
    assert torch.equal(member(graph(node("Identity", "em")), output="probability")(em), em[0, 0])


@pytest.mark.parametrize("value", [-0.1, 1.1, 7.0])
def test_a_probability_out_of_range_is_refused(value: float) -> None:
    em = torch.rand((1, 1, SIDE, SIDE))
    em[0, 0, 5, 7] = value
    network = member(graph(node("Identity", "em")), output="probability")
    with pytest.raises(DcanError, match=rf"gives {value:g} where model.onnx.output is probability"):
        network(em)


SAME = node("Identity", "em")
REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "two inputs": (
        graph(node("Add", "em", "em1"), inputs=(WINDOW, WINDOW)), {}, "2 inputs and 1 outputs",
    ),
    "two outputs": (
        graph(SAME, node("Neg", "em", to="maps1"), outputs=2), {}, "1 inputs and 2 outputs",
    ),
    "float64": (graph(SAME, dtypes=(TensorProto.DOUBLE,) * 2), {}, "in float32"),
    "integers": (
        graph(node("ArgMax", "em"), dtypes=(TensorProto.FLOAT, TensorProto.INT64)),
        {}, "export one of float32",
    ),
    "three channels": (graph(SAME, inputs=((1, 3, "y", "x"),)), {}, "reads a window"),
    "three axes": (graph(SAME, inputs=((1, "y", "x"),)), {}, "reads a window"),
    "two at once": (graph(SAME, inputs=((2, 1, "y", "x"),)), {}, "reads a window"),
    "another size": (
        graph(SAME, inputs=((1, 1, 64, 64),)), {}, "windows of 64 x 64 pixels alone, and .* are 48",
    ),
    "another width": (graph(SAME, inputs=((1, 1, 48, 64),)), {}, "windows of 48 x 64"),
    "an operator of its own": (
        graph(node("Steal", "em", domain="own")), {}, "own:Steal.* is not a registered",
    ),
    "a name that is no text": (
        filtered(KERNELS[:1]).replace(b"kernels", b"kernel\xe2", 1),
        {}, "restore the file, or export it anew",
    ),
    "softmax of one": (
        filtered(KERNELS[:1]), {"output": "softmax"}, "one channel, of which that is 1 everywhere",
    ),
    "no channel": (filtered(KERNELS), {}, r"channel is null and .* 3 channels: give one of 0 to 2"),
    "no such channel": (filtered(KERNELS), {"channel": 3}, "channel is 3 and .* 3 channels"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_network_that_is_not_what_is_said_is_refused_before_it_runs(what: str) -> None:
    content, over, words = REFUSED[what]
    with pytest.raises(DcanError, match=words) as caught:
        member(content, **over)
    assert "net.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given_by(st.lists(st.integers(0, 8 * len(filtered(KERNELS[:1])) - 1), min_size=1, max_size=4))
def test_a_damaged_network_runs_or_is_refused_in_one_line(bits: list[int]) -> None:
    content = bytearray(filtered(KERNELS[:1]))
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    said = ""
    try:
        assert member(bytes(content))(window()).shape == (SIDE, SIDE)
    except (DcanError, MemoryError) as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    "shape", [(1, 1, SIDE, SIDE), (None, None, SIDE, None), ("n", "c", "y", "x")]
)
def test_a_shape_that_fits_is_taken(shape: Any) -> None:
    content = graph(SAME, inputs=(shape,))
    em = torch.rand((1, 1, SIDE, SIDE))
    assert torch.equal(member(content, output="probability")(em), em[0, 0])


@pytest.mark.parametrize(
    ("nodes", "tensors", "words"),
    [
        ([node("MaxPool", "em", kernel_shape=[2, 2])], {}, r"makes \[1, 1, 47, 47\] of a window"),
        ([node("Concat", "em", "em", axis=0)], {}, r"makes \[2, 1, 48, 48\] of a window"),
        ([node("Squeeze", "em")], {}, r"makes \[48, 48\] of a window"),
        ([node("Reshape", "em", "s")], {"s": [1, 1, 31, 31]}, "cannot be run on a window of 48"),
    ],
)
def test_a_map_of_another_size_is_refused(nodes: Any, tensors: Any, words: str) -> None:
    content = graph(*nodes, tensors=[tensor(*each) for each in tensors.items()])
    with pytest.raises(DcanError, match=words) as caught:
        member(content)(window())
    assert "\n" not in str(caught.value)


def test_what_takes_more_memory_than_there_is_says_so() -> None:
    size = [node("Shape", "em", to="shape"), node("Mul", "shape", "factor", to="size")]
    tensors = [tensor("factor", np.array([1, 1, 1 << 20, 1 << 20]))]
    content = graph(*size, node("ConstantOfShape", "size"), tensors=tensors)
    predictor = Predictor([member(content)], 8, threads=1)
    with pytest.raises(
        DcanError, match=r"prediction\.tile is 32: the device has too little memory"
    ):
        predictor.tile(window()[0].numpy(), 8)


def test_nothing_is_reported_or_left_when_onnxruntime_is_loaded(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "ORT_DISABLE_TELEMETRY": "",
    }
    environment.pop("XDG_CACHE_HOME", None)
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", "import dcan.net.onnx"], env=environment, cwd=work, check=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert [*home.rglob("*"), *work.rglob("*")] == []


def test_a_device_that_onnxruntime_has_no_part_for_is_refused() -> None:
    assert version_on("cpu")
    with pytest.raises(DcanError, match="computes on CPUs alone: install onnxruntime-gpu"):
        version_on("cuda")


def test_without_the_extra_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dcan.net.onnx", None)
    with pytest.raises(DcanError, match=r"not installed: pip install 'dcan\[onnx\]'"):
        device.onnxruntime_version("cpu")
