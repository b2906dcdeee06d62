"""What a stage computes on: found out once, recorded, and held to."""

from __future__ import annotations

from typing import Any, Literal

import torch

from dcan.errors import DcanError
from dcan.net.recipe import Precision


def resolve(wanted: str, threads: int) -> dict[str, Any]:
    """The device that `wanted` (auto, cpu, cuda) means here, as a record of what decides bits.

    Raises DcanError when cuda is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise DcanError("prediction.device is cuda but no GPU is visible: use auto or cpu")
    kind = "cuda" if present and wanted != "cpu" else "cpu"
    name = (
        torch.cuda.get_device_name() if kind == "cuda" else torch.backends.cpu.get_cpu_capability()
    )
    return {
        "device": kind,
        "name": name,
        "precision": "float32",
        "batch": 1,
        "threads": threads,
        "torch": torch.__version__,
    }


def training_precision(wanted: Literal["auto"] | Precision, device: str) -> Precision:
    """What `training.precision` (auto, float32, bfloat16) means on a device of this machine.

    auto is bfloat16 where the processor or GPU multiplies it in hardware. That is a fact of the
    machine's class, where a short timing would now and then find another answer.
    """
    if wanted != "auto":
        return wanted
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = any(able.get(feature, False) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if native else "float32"


def hold(record: dict[str, Any]) -> str:
    """The device of a record, when this machine can compute as it did.

    Raises DcanError that names the first difference: its bits would differ.
    """
    here = resolve(str(record["device"]), int(record["threads"]))
    for key, value in record.items():
        if here.get(key) != value:
            raise DcanError(
                f"this stage was resolved for {key} {value}, this machine has {here.get(key)}: run "
                "it on such a machine, or remove receipts/resolve.json to begin the stage anew"
            )
    return str(here["device"])
