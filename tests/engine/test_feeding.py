"""Every item once, on devices that do not wait, with few items in memory."""

from __future__ import annotations

import threading
import time

import pytest

from dcan.engine.feeding import AHEAD, Feed


def test_every_item_is_computed_once_whoever_submits_it() -> None:
    seen: list[int] = []

    def square(item: int) -> int:
        seen.append(item)
        return item * item

    feed = Feed([square, square])
    found: dict[int, int] = {}

    def block(first: int) -> None:
        futures = {item: feed.submit(item) for item in range(first, first + 50)}
        found.update({item: future.result() for item, future in futures.items()})

    blocks = [threading.Thread(target=block, args=(50 * i,)) for i in range(4)]
    for thread in blocks:
        thread.start()
    for thread in blocks:
        thread.join()
    feed.close()
    assert found == {item: item * item for item in range(200)}
    assert sorted(seen) == list(range(200))


def test_no_more_items_wait_than_the_queue_holds() -> None:
    go = threading.Event()
    submitted: list[int] = []
    feed = Feed([lambda _: go.wait(10)])

    def reader() -> None:
        for item in range(100):
            feed.submit(item)
            submitted.append(item)

    thread = threading.Thread(target=reader)
    thread.start()
    time.sleep(0.2)
    assert len(submitted) == AHEAD + 1  # and the one that is computed
    go.set()
    thread.join()
    feed.close()


def test_an_error_is_its_items_own() -> None:
    feed = Feed([lambda item: 1 // item])
    bad, good = feed.submit(0), feed.submit(1)
    assert good.result() == 1
    with pytest.raises(ZeroDivisionError):
        bad.result()
    feed.close()


def test_two_devices_compute_at_once() -> None:
    both = threading.Barrier(2, timeout=10)
    feed = Feed([lambda _: both.wait(), lambda _: both.wait()])
    assert sorted(future.result() for future in [feed.submit(0), feed.submit(1)]) == [0, 1]
    feed.close()


def test_what_waits_when_it_is_closed_is_cancelled() -> None:
    go, begun = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.set()
        go.wait(10)
        return item

    feed = Feed([work])
    futures = [feed.submit(item) for item in range(AHEAD)]
    begun.wait(10)
    closing = threading.Thread(target=feed.close)
    closing.start()
    time.sleep(0.1)
    go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert futures[0].result() == 0
    assert all(future.cancelled() for future in futures[1:])


def test_a_result_is_there_once_it_is_counted() -> None:
    feed = Feed([time.sleep])
    seen: list[float] = []
    feed.submit(0.05).add_done_callback(lambda _: seen.append(feed.look()[0]))
    feed.submit(0.0).result()
    feed.close()
    assert seen[0] >= 0.05


def test_the_busy_share_is_that_of_computing() -> None:
    feed = Feed([time.sleep])
    assert feed.look() == (0.0, 0.0)
    for future in [feed.submit(0.1) for _ in range(3)]:
        future.result()
    seconds, busy = feed.look()
    assert seconds >= 0.3
    assert busy > 0.9
    time.sleep(0.4)
    feed.submit(0.1).result()
    feed.close()
    seconds, busy = feed.look()
    assert seconds >= 0.8
    assert busy < 0.7
