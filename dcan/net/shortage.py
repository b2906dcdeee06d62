"""A device that has too little memory, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcan.errors import DcanError

SHORT = (
    "allocate memory",  # torch's own allocator on the CPU
    "out of memory",  # CUDA, where something else than the allocator has asked
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What is said in a RuntimeError."""
NO_ENGINE = "unable to find an engine"
"""cuDNN's word for no workspace that fits, and for libraries that do not fit each other."""
ELSEWHERE = "a device that nobody else computes on, or a narrower network"


def asked_in_vain(device: torch.device | None = None) -> int:
    """How often this process has asked a GPU, the current one, for memory that was not there."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return 0
    return int(torch.cuda.memory_stats(device)["num_ooms"])


@contextmanager
def memory_for(what: str, given: str, instead: str) -> Iterator[None]:
    """Compute `what`, whose size follows from `given`, in the body.

    Raises DcanError: memory is short; `instead` is what to give.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        known = known or any(text in str(error) for text in SHORT)
        if not known and not (NO_ENGINE in str(error) and asked_in_vain()):
            raise
        first = (str(error) or "out of memory").splitlines()[0][:120]
        raise DcanError(
            f"{given}: the device has too little memory for {what} ({first}): give {instead}"
        ) from None
