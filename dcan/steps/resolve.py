"""What networks run on, decided once for the volume, and the networks ready on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from dcan.errors import DcanError
from dcan.net.device import DTYPES, hold
from dcan.net.device import resolve as found_here
from dcan.net.members import torch_members
from dcan.net.model import Architecture
from dcan.net.networks import reach
from dcan.net.predict import Predictor, Views
from dcan.steps.onnx import networks, onnx_members
from dcan.steps.train import members
from dcan.steps.vouching import vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import Tensors
from dcan.storage.receipts import digest

T = TypeVar("T")

_log = logging.getLogger("dcan")


def resolve(space: Workspace) -> None:
    """Find out what the volume is predicted on, once, and record it."""
    with working(space, "resolve"):
        record = found_here(space.config.prediction, onnx=space.config.model.onnx is not None)
        shown = [str(record[key]) for key in ("device", "name", "backend", "precision")]
        _log.info("resolve: %s", ", ".join(shown))
        vouch(space, "resolve", space.fingerprint("resolve"), record, identity=digest(record))


def predictor(
    space: Workspace,
    which: Sequence[int] | None = None,
    device: str | None = None,
    *,
    exact: bool = False,
) -> Predictor:
    """The ensemble, or those members of it, as the run's record has it.

    `device`: torch's name of one of the record's kind; None: the first. `exact`: in float32 by
    torch, whatever the record says, but for networks in ONNX.
    """
    record, given = dict(space.receipt("resolve").values), space.config.prediction
    onnx = space.config.model.onnx
    hold(record, given, onnx=onnx is not None)
    if onnx:
        where, threads = device or str(record["device"]), int(record["threads"])
        made = onnx_members(space, onnx, _picked(networks(space), which), where, threads)
        return Predictor(made, onnx.halo, where, threads, views=given.views)
    found = _picked(members(space), which)
    halo = max(m.meta.halo for m in found)
    if given.halo < halo:
        raise DcanError(
            f"prediction.halo is {given.halo}: the network reads {halo} pixels "
            f"around a tile, give {halo} or more"
        )
    if exact:
        record |= {"backend": "torch", "precision": "float32"}
    architecture = Architecture.parse(found[0].meta.architecture)
    return ready(architecture, [m.tensors for m in found], record, device, given.views)


def _picked(every: list[T], which: Sequence[int] | None) -> list[T]:
    return every if which is None else [every[i] for i in which]


def ready(
    architecture: Architecture,
    ensemble: Sequence[Tensors],
    record: Mapping[str, Any],
    device: str | None = None,
    views: Views = 1,
) -> Predictor:
    """Networks on a device, by the backend and in the precision of a record."""
    where, threads = device or str(record["device"]), int(record["threads"])
    precision, reached = str(record["precision"]), reach(architecture)
    if record["backend"] == "openvino":
        from dcan.net.openvino import openvino_members

        made = openvino_members(architecture, ensemble, precision, threads)
        return Predictor(made, reached, "cpu", threads, views=views)
    made = torch_members(architecture, ensemble, where, DTYPES[precision])
    return Predictor(made, reached, where, threads, views=views)
