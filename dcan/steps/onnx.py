"""Networks of the user's own in ONNX, as `model.onnx` describes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dcan.config.onnx import ENDING, Onnx
from dcan.net.device import onnxruntime_version
from dcan.net.members import Member
from dcan.steps.starting import checkpoints, vouched
from dcan.steps.vouching import vouch
from dcan.steps.workspace import Workspace
from dcan.storage.onnx_files import OnnxFile, read_onnx
from dcan.storage.receipts import digest

_log = logging.getLogger("dcan")


def vouch_for_onnx(space: Workspace, onnx: Onnx) -> None:
    """Vouch for the networks that are given, when each can be run as it is described.

    Raises DcanError: one cannot, or onnxruntime is not installed.
    """
    named = str(space.config.model.weights)
    found = [read_onnx(path) for path in checkpoints(named, "model.weights", ENDING)]
    onnx_members(space, onnx, found, "cpu", 1)
    _log.info("train: networks are ready (%s): there is nothing to train", found[0].path)
    hashes = [each.sha256 for each in found]
    values = {
        "members": [str(each.path.absolute()) for each in found],
        "sha256": hashes,
        "given": True,
        "sections": None,  # a file does not say what it was trained on
        "halo": onnx.halo,
    }
    vouch(space, "train", digest(hashes), values)


def networks(space: Workspace) -> list[OnnxFile]:
    """The networks of the ensemble, checked against the receipt of training."""
    return vouched(space, read_onnx)


def onnx_members(
    space: Workspace, onnx: Onnx, found: Sequence[OnnxFile], device: str, threads: int
) -> list[Member]:
    """Networks on a device (torch's name of it), computed by onnxruntime."""
    onnxruntime_version(device.partition(":")[0])
    from dcan.net.onnx import OnnxMember

    given = space.config.prediction
    side = given.tile + 2 * given.halo
    return [
        OnnxMember(str(each.path), each.content, onnx, side, device=device, threads=threads)
        for each in found
    ]
