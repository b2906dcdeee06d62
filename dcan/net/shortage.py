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
    "unable to find an engine",  # cuDNN, where no engine's workspace fits: pytorch#108645
)
"""What is said in a RuntimeError."""
ELSEWHERE = "a device that nobody else computes on, or a narrower network"


@contextmanager
def memory_for(what: str, given: str, instead: str) -> Iterator[None]:
    """Compute `what`, whose size follows from `given`, in the body.

    Raises DcanError: memory is short; `instead` is what to give.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(text in str(error) for text in SHORT):
            raise
        first = (str(error) or "out of memory").splitlines()[0][:120]
        raise DcanError(
            f"{given}: the device has too little memory for {what} ({first}): give {instead}"
        ) from None
