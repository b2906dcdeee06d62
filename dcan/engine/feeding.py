"""Devices that never wait: threads that compute, fed by others through one bounded queue.

    readers (the threads of blocks) --> queue --> a thread for each device --> futures --> writers

Whoever submits waits when the queue is full, so that memory does not follow the number of
items; a device's thread takes the next one that is there, from whichever block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Queue
from typing import Generic, TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")

AHEAD = 4  # items that wait for each device: a tile's reading takes less than its computing


class Feed(Generic[A, B]):
    """`work(item)` of submitted items, each of `works` on a thread of its own.

    To be closed; what is not begun by then is cancelled.
    """

    def __init__(self, works: Sequence[Callable[[A], B]]) -> None:
        if not works:
            raise ValueError("no work to feed")
        self._queue: Queue[tuple[A, Future[B]] | None] = Queue(AHEAD * len(works))
        self._lock = threading.Lock()
        self._computing = 0.0  # seconds, of all threads
        self._begun: float | None = None
        self._ended = 0.0
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._compute, args=(work,), name="dcan-device", daemon=True)
            for work in works
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, item: A) -> Future[B]:
        """Have the item computed; waits while the queue is full."""
        future: Future[B] = Future()
        self._queue.put((item, future))
        return future

    def _compute(self, work: Callable[[A], B]) -> None:
        while (taken := self._queue.get()) is not None:
            item, future = taken
            if self._closed.is_set():
                future.cancel()
                continue
            began = time.perf_counter()
            with self._lock:
                self._begun = began if self._begun is None else self._begun
            try:
                found, error = work(item), None
            except BaseException as raised:
                found, error = None, raised
            with self._lock:
                self._ended = time.perf_counter()
                self._computing += self._ended - began
            if error is None:
                future.set_result(cast(B, found))
            else:
                future.set_exception(error)
            del taken, item, future, found, error  # not held while waiting for the next

    def look(self) -> tuple[float, float]:
        """Seconds from the first item's start to the last one's end, and the devices' busy share.

        0 and 0 before the first item is done.
        """
        with self._lock:
            if self._begun is None or self._computing == 0:
                return 0.0, 0.0
            seconds = self._ended - self._begun
            return seconds, min(1.0, self._computing / (seconds * len(self._threads)))

    def close(self) -> None:
        """Wait for what is being computed, cancel the rest, and end the threads."""
        self._closed.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
