"""SIGTERM, which a scheduler sends some time before it kills: take no more blocks, and end."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dcan.errors import Stopped

GRACE = 12.0
"""Seconds for the blocks under way."""
END = 18
"""Seconds until the process ends, whatever it is in."""

_blocks = threading.Event()
_asked = threading.Event()


def asked() -> bool:
    """Whether this process is to stop."""
    return _asked.is_set()


def refusal() -> Stopped:
    """What ends a process that is to stop."""
    return Stopped(
        "stopped by SIGTERM, as a job is at its time limit: what is done is kept; give the same "
        "snakemake command again"
    )


@contextmanager
def blocks() -> Iterator[None]:
    """Run blocks in the body, which looks at `asked` before each and ends by itself.

    Raises Stopped in the body when blocks are still under way GRACE seconds after SIGTERM.
    """
    _blocks.set()
    try:
        yield
    finally:
        _blocks.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(number: int, _: FrameType | None) -> None:
    if number == signal.SIGTERM:
        if asked():
            return  # on its way: a second one must not interrupt the giving back of a claim
        _asked.set()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        faulthandler.dump_traceback_later(END, exit=True, file=nowhere)
        if _blocks.is_set():
            signal.setitimer(signal.ITIMER_REAL, GRACE)
            return
    raise refusal()


@contextmanager
def on_sigterm() -> Iterator[None]:
    """End the body soon after SIGTERM: by Stopped, between blocks where it runs blocks.

    Only the main thread can be told; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    except SystemError as error:
        # what a compiled function makes of an exception that the handler raises within it
        if asked():
            raise refusal() from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
