"""What a stage computes on: found out once, recorded, and held to."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch

from dcan.config.networks import Prediction
from dcan.errors import DcanError
from dcan.net.recipe import Precision

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The kind of device that is meant here.

    Raises DcanError when cuda is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise DcanError("prediction.device is cuda but no GPU is visible: use auto or cpu")
    return "cuda" if present and wanted != "cpu" else "cpu"


def kind_of(device: str) -> str | None:
    """The name of the kind of GPU that computes here, the first that is seen; None: a CPU does."""
    return str(torch.cuda.get_device_name()) if device == "cuda" else None


def resolve(wanted: Prediction, *, onnx: bool = False) -> dict[str, Any]:
    """What predicts here, as a record of all that decides bits.

    `onnx`: the networks are in ONNX, which onnxruntime computes in float32.

    Raises DcanError: a device or backend is asked for that is not here.
    """
    device = device_of(wanted.device)
    name = kind_of(device) or _processor()
    if onnx:
        versions = {"onnxruntime": onnxruntime_version(device)}
        backend, precision = "onnxruntime", "float32"
    else:
        backend = _backend(wanted.backend, device)
        versions = {backend: version(backend)}
        precision = precision_of(wanted.precision, device)
    return {
        "device": device,
        "name": name,
        "backend": backend,
        "precision": precision,
        "threads": wanted.threads,
        "versions": {"torch": version("torch"), **versions},
    }


def onnxruntime_version(device: str) -> str:
    """The version of the onnxruntime that computes on such a device here.

    Raises DcanError: it is not installed, or computes on CPUs alone.
    """
    try:
        from dcan.net.onnx import version_on
    except ModuleNotFoundError:
        raise DcanError(
            "model.onnx describes a network for onnxruntime, which is not installed: pip install "
            "'dcan[onnx]'"
        ) from None
    return version_on(device)


def be_deterministic(device: torch.device) -> None:
    """Let torch use kernels alone that give the same bits each time, where it has them.

    And float32 be computed as float32.
    """
    # Deconvolutions have kernels on CUDA whose sums take any order.
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # Ten bits of mantissa are a choice to be made by name.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # A twentieth of a training step: what is written to new tensors first is never read here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


FEATURES = ("avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16", "amx_int8", "bf16", "sve")
"""Of processors: for each of them there are other kernels, whose sums take another order."""
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def _processor() -> str:
    """What of the processor decides bits, and what keeps it from being used."""
    kept = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    able = [feature for feature in FEATURES if _has(feature)]
    return " ".join([str(torch.backends.cpu.get_cpu_capability()), *able, *kept])


def _backend(wanted: Literal["auto", "torch", "openvino"], device: str) -> str:
    """auto is OpenVINO on a CPU with AMX where it is installed; elsewhere it is not faster."""
    if wanted == "torch" or device == "cuda":
        if wanted == "openvino":
            raise DcanError(
                "prediction.backend is openvino, which computes on CPUs, and the device is cuda: "
                "give torch, or device: cpu"
            )
        return "torch"
    try:
        version("openvino")
    except PackageNotFoundError:
        if wanted == "openvino":
            raise DcanError(
                "prediction.backend is openvino, which is not installed: pip install "
                "'dcan[openvino]', or give torch"
            ) from None
        return "torch"
    return "openvino" if wanted == "openvino" or _has("amx_bf16") else "torch"


def _has(*features: str) -> bool:
    able = torch.cpu.get_capabilities()
    return any(able.get(feature, False) for feature in features)


def precision_of(wanted: Literal["auto", "float16"] | Precision, device: str) -> str:
    """What `precision` means on a device of this machine.

    auto is bfloat16 where the processor or GPU multiplies it in hardware, else float32. That is
    a fact of the machine's class, where a short timing would now and then find another answer.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = _has("avx512_bf16", "amx_bf16", "bf16")
    return "bfloat16" if native else "float32"


def hold(record: dict[str, Any], wanted: Prediction, *, onnx: bool = False) -> None:
    """Check that this machine computes as that of the record did; `onnx` as of `resolve`.

    Raises DcanError that names the first difference: its bits would differ.
    """
    here = resolve(wanted, onnx=onnx)
    for key, value in record.items():
        if here.get(key) != value:
            raise DcanError(
                f"this stage was resolved for {key} {value}, this machine has {here.get(key)}: run "
                "it on such a machine, or remove receipts/resolve.json to begin the stage anew"
            )


def visible(name: str | None) -> dict[str, str]:
    """The GPUs that this process sees: torch's name by one that all processes share.

    `name`: of the kind that is wanted; None: any. `CUDA_VISIBLE_DEVICES` numbers them anew in
    each process; their UUIDs stay.
    """
    every = range(torch.cuda.device_count())
    return {
        str(torch.cuda.get_device_properties(i).uuid): f"cuda:{i}"
        for i in every
        if name in (None, torch.cuda.get_device_name(i))
    }
