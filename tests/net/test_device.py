"""What a record tells apart, what it refuses, and what torch is switched to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dcan.config.networks import Prediction
from dcan.errors import DcanError
from dcan.net import device
from dcan.net.device import be_deterministic, hold, precision_of, resolve


def test_a_record_holds_on_this_machine_and_names_the_first_difference() -> None:
    record = resolve(Prediction(device="cpu", threads=3))
    hold(record, Prediction(device="cpu", threads=3))
    with pytest.raises(DcanError, match="resolved for threads 3, this machine has 2: run it on"):
        hold(record, Prediction(device="cpu", threads=2))
    half = resolve(Prediction(device="cpu", precision="bfloat16"))
    with pytest.raises(DcanError, match=r"resolved for precision bfloat16, .* has float32"):
        hold(half, Prediction(device="cpu", precision="float32"))


@pytest.mark.parametrize("features", [{"amx_bf16": True}, {"avx512_bf16": True}, {}])
def test_processors_with_other_kernels_have_other_records(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool]
) -> None:
    asked = Prediction(device="cpu", precision="float32", backend="torch")
    names = set()
    for able in (features, {"amx_fp16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        names.add(resolve(asked)["name"])
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    names.add(resolve(asked)["name"])
    assert len(names) == 3


@pytest.mark.parametrize(
    ("features", "precision"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_auto_is_bfloat16_where_it_is_in_hardware(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert precision_of("auto", "cpu") == precision
    assert precision_of("float16", "cpu") == "float16"


def test_auto_takes_openvino_with_amx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    found = []
    for able in ({"amx_bf16": True}, {"avx512_bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        found.append(resolve(Prediction(device="cpu"))["backend"])
    assert found == ["openvino", "torch"]
    assert resolve(Prediction(device="cpu", backend="openvino"))["backend"] == "openvino"


def test_a_backend_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> Any:
        raise device.PackageNotFoundError(package)

    monkeypatch.setattr(device, "version", absent)
    with pytest.raises(DcanError, match=r"openvino, which is not installed: .*dcan\[openvino\]"):
        resolve(Prediction(device="cpu", backend="openvino"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_refused() -> None:
    with pytest.raises(DcanError, match="device is cuda but no GPU is visible"):
        resolve(Prediction(device="cuda"))


def test_float32_is_no_less_and_kernels_give_the_same_bits() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.use_deterministic_algorithms(False)
    be_deterministic(torch.device("cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
