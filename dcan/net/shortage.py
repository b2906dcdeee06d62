"""A device that has too little memory, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcan.errors import DcanError

ON_CPU = "allocate memory"  # what torch's own allocator says on the CPU, in a RuntimeError


@contextmanager
def memory_for(what: str, given: str, instead: str) -> Iterator[None]:
    """Compute `what`, whose size follows from `given`, in the body.

    Raises DcanError: memory is short; `instead` is what to give.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and ON_CPU not in str(error):
            raise
        first = (str(error) or "out of memory").splitlines()[0][:120]
        raise DcanError(
            f"{given}: the device has too little memory for {what} ({first}): give {instead}"
        ) from None
