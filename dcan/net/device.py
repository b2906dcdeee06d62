"""What a stage computes on: found out once, recorded, and held to."""

from __future__ import annotations

from typing import Any

import torch

from dcan.errors import DcanError


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
