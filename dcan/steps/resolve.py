"""What networks run on, decided once for the volume, and the networks ready on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dcan.errors import DcanError
from dcan.net.device import hold
from dcan.net.device import resolve as found_here
from dcan.net.model import Architecture
from dcan.net.predict import Predictor
from dcan.steps.train import members
from dcan.steps.vouching import vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import digest

_log = logging.getLogger("dcan")


def resolve(space: Workspace) -> None:
    """Find out what the volume is predicted on, once, and record it."""
    with working(space, "resolve"):
        given = space.config.prediction
        record = found_here(given.device, given.threads)
        _log.info("resolve: %s (%s), %s", record["device"], record["name"], record["precision"])
        vouch(space, "resolve", space.fingerprint("resolve"), record, identity=digest(record))


def predictor(space: Workspace, which: Sequence[int] | None = None) -> Predictor:
    """The ensemble, or those members of it, on the device of the run's record."""
    record = dict(space.receipt("resolve").values)
    device = hold(record)
    every = members(space)
    found = [every[i] for i in which] if which is not None else every
    halo = max(m.meta.halo for m in found)
    if space.config.prediction.halo < halo:
        raise DcanError(
            f"prediction.halo is {space.config.prediction.halo}: the network reads {halo} pixels "
            f"around a tile, give {halo} or more"
        )
    architecture = Architecture.parse(found[0].meta.architecture)
    tensors, views = [m.tensors for m in found], space.config.prediction.views
    return Predictor(architecture, tensors, device, int(record["threads"]), views=views)
