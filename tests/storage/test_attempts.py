"""Attempts of jobs: those that came to their end, and those that did not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dcan.errors import DcanError
from dcan.storage.attempts import attempt, attempts, count, holding


def test_an_attempt_that_fails_is_kept_beside_the_one_that_makes_it_good(tmp_path: Path) -> None:
    path = tmp_path / "all.attempts"
    assert attempts(path) == []
    with pytest.raises(KeyError), attempt(path):
        raise KeyError
    with attempt(path):
        during = attempts(path)
    assert [each.ended for each in during] == [False, False]
    assert [each.ended for each in attempts(path)] == [False, True]
    assert during[0].began <= during[1].began


def test_a_line_that_was_torn_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "all.attempts"
    path.write_text('\n{"began": 1.5, "asked": 7}\n{"end')
    with attempt(path):
        pass
    path.write_text(path.read_text() + "\n[1]\n" + "[" * 100_000 + '\n{"began": "x"}')
    assert [(each.asked, each.ended) for each in attempts(path)] == [(7, False), (None, True)]


@pytest.mark.parametrize(("said", "asked"), [("6300", 6300), ("", None), ("4G", None)])
def test_memory_is_what_slurm_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, asked: int | None
) -> None:
    monkeypatch.setenv("DCAN_MEMORY_ASKED", said)
    with attempt(tmp_path / "x"):
        pass
    assert attempts(tmp_path / "x")[0].asked == asked


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DcanError, match="cannot write"), attempt(tmp_path):
        pytest.fail("it began")


def test_an_attempt_keeps_what_was_still_to_be_done_and_how_many_did_it(tmp_path: Path) -> None:
    path = tmp_path / "all.attempts"
    with attempt(path, 8.0):
        count(6, 3, workers=4)
        count(2, 1, workers=4)
    with attempt(path, 8.0):
        pass
    one, two = attempts(path)
    assert (one.share, one.workers) == (0.5, 4)
    assert (two.share, two.workers) == (None, None), "it counted nothing"


def test_an_attempt_keeps_the_seconds_of_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.attempts"
    now = [0.0]
    monkeypatch.setattr("dcan.storage.attempts.time.monotonic", lambda: now[0])
    with attempt(path):
        with holding(2):
            now[0] += 10
        with holding(1):
            now[0] += 5
        now[0] += 100
    with attempt(path):
        pass
    with holding(4):  # before it begins, as a network is loaded, and after its end
        now[0] += 100
        with attempt(path):
            now[0] += 3
    assert [(each.gpu, each.gpus) for each in attempts(path)] == [(25, 2), (None, None), (12, 4)]


def test_an_attempt_keeps_its_work_and_the_time_of_the_cores(tmp_path: Path) -> None:
    path = tmp_path / "all.attempts"
    with attempt(path, 12.5):
        assert (attempts(path)[0].work, attempts(path)[0].cpu) == (12.5, None)
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
    (found,) = attempts(path)
    assert found.work == 12.5
    assert 0.25 < (found.cpu or 0) < 5
