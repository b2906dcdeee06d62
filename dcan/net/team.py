"""Several processes on one machine that train one network, each on a device of its own.

Every process makes its share of each batch, by torch's DistributedDataParallel; the first one
also validates and keeps the state. The samples of a step are those of one process alone, and
so are the weights, to rounding: sums over the batch are taken in another order.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dcan.config.networks import evenly
from dcan.errors import DcanError
from dcan.net.rule import UNKNOWN

LONGEST = timedelta(days=1)  # others wait while the first one validates; who ends, ends all
END = 60.0  # seconds that the others have to end in
GRACE = 10.0  # seconds that the first has to notice by itself that another ended

_log = logging.getLogger("dcan")


@dataclass(frozen=True, slots=True)
class Team:
    """One process of those that train together: number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are the means over the team after each pass backwards."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def weight(self, target: Tensor) -> Tensor | float:
        """What this process's mean loss counts in the batch's, times `size`.

        The batch's is a mean over all labelled pixels, of which each process has its own number.
        """
        if self.size == 1:
            return 1.0
        own = (target != UNKNOWN).sum().float()
        every = own.clone()
        distributed.all_reduce(every)
        return own * self.size / every.clamp(min=1)

    def mean(self, parts: Tensor) -> Tensor:
        """The mean over the team of values of each process."""
        if self.size == 1:
            return parts
        found = parts.detach() / self.size
        distributed.all_reduce(found)
        return found


ALONE = Team()


def fitting(devices: Sequence[str], batch: int) -> list[str]:
    """As many of the devices as a batch can be dealt out to evenly.

    >>> fitting(["cuda:0", "cuda:1", "cuda:2"], 4)
    ['cuda:0', 'cuda:1']
    """
    return list(devices[: evenly(batch, len(devices))])


@contextmanager
def joined(team: Team, meeting: str, device: str) -> Iterator[None]:
    """Be one of the team in the body. `meeting`: a file that all of them name."""
    cuda = torch.device(device).type == "cuda"
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")  # one machine: nobody else is to reach it
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=distributed.FileStore(meeting, team.size),  # type: ignore[attr-defined]
        rank=team.rank,
        world_size=team.size,
        timeout=LONGEST,
    )
    yield
    # Not where the body fails: NCCL would wait here for the others, which wait in the body.
    distributed.destroy_process_group()


def _abandon() -> None:
    """Leave a group whose others are gone."""
    if distributed.get_backend() == "nccl":
        distributed.distributed_c10d._abort_process_group()  # the other end waits for them
    else:
        distributed.destroy_process_group()


def _alone(target: Callable[..., None], told: Path, *arguments: object) -> None:
    """Run `target` in a process of its own, which ends at once where that fails, and says why.

    The end of an interpreter would wait for the group.
    """
    try:
        target(*arguments)
    except DcanError as error:
        told.write_text(str(error), encoding="utf-8")
        os._exit(1)
    except BaseException:
        told.write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)


@dataclass(frozen=True, slots=True)
class _Other:
    """A process of the team that is not the first."""

    process: BaseProcess
    device: str
    told: Path
    """What it says where it fails; the log is the first one's."""

    def ended(self) -> str | None:
        """What there is to say where it ended as it should not; None: it did not."""
        if not self.process.exitcode:
            return None
        why = self.told.read_text("utf-8").strip() if self.told.exists() else ""
        if "\n" in why:  # a defect
            _log.error("%s", why)
        last = why.splitlines()[-1] if why else f"status {self.process.exitcode}"
        return (
            f"the process that trained on {self.device} ended ({last}): give the same command "
            "again to go on from the last state"
        )


def end_with(parent: int) -> None:
    """End this process when its parent does, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def followed(
    target: Callable[..., None], arguments: Sequence[object], devices: Sequence[str]
) -> Iterator[str]:
    """Processes for all devices but the first; yields the file where they meet the caller.

    `target(rank, meeting, device, parent, *arguments)` is what each runs.

    Raises DcanError: one of them ended before its time. Where the caller waits for it inside
    a kernel that nothing can interrupt, this process ends instead, with the same line.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="dcan-team-") as folder:
        meeting, others = f"{folder}/meeting", []
        for rank, device in enumerate(devices[1:], 1):
            told = Path(folder) / str(rank)
            given = (target, told, rank, meeting, device, os.getpid(), *arguments)
            process = context.Process(target=_alone, args=given, daemon=True)
            others.append(_Other(process, device, told))
            process.start()
        over = threading.Event()
        threading.Thread(target=_watch, args=(others, over), daemon=True).start()
        try:
            yield meeting
            over.set()
            for other in others:
                other.process.join(END)
        except RuntimeError:
            over.set()
            time.sleep(1)  # who was killed may be seen a moment later
            if ended := _ended(others):
                raise DcanError(ended) from None
            raise
        finally:
            over.set()
            _kill(others)
            if distributed.is_initialized():
                _abandon()


def _kill(others: Sequence[_Other]) -> None:
    for other in others:
        other.process.kill()
        other.process.join()


def _ended(others: Sequence[_Other]) -> str | None:
    """What there is to say of the first that ended as it should not; None: none did."""
    return next((line for other in others if (line := other.ended())), None)


def _watch(others: Sequence[_Other], over: threading.Event) -> None:
    """End this process when another has ended and it does not notice by itself."""
    while not over.wait(0.5):
        if (ended := _ended(others)) and not over.wait(GRACE):
            _log.error("dcan: error: %s", ended)
            _kill(others)
            os._exit(1)
