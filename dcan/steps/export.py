"""A trained network as one small file, to be handed on."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from dcan.errors import DcanError
from dcan.steps.train import members
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import save_weights

_log = logging.getLogger("dcan")


def export(space: Workspace, member: int, out: str) -> None:
    """Write one member's weights to a new file, rounded to float16.

    The file says all that the member's own says, and serves as `model.weights` or
    `training.start_from`.

    Raises DcanError: there is no such member, the file exists, or the networks are not this
    package's.
    """
    if space.config.model.onnx:
        raise DcanError(
            f"model.weights is {space.config.model.weights!r}, of networks in ONNX: hand on those "
            "files as they are"
        )
    found, path = members(space), Path(out)
    if not 0 <= member < len(found):
        raise DcanError(f"--member {member}: {len(found)} are trained, give 0..{len(found) - 1}")
    if path.exists():
        raise DcanError(f"--out {out} exists: give another name, or remove it")
    weights = found[member]
    save_weights(path, weights.tensors, weights.meta, "float16")
    # Of the whole file, as sha256sum has it; its header holds one of its tensors.
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _log.info("export: %s, %d bytes, sha256 %s", path, path.stat().st_size, sha256)
