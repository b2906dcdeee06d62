"""How far a volume is: before it begins, under way, failed, killed, done."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dcan.cli import main
from dcan.config import write
from dcan.errors import DcanError
from dcan.steps import ingest, probe
from dcan.steps.jobs import Setting, jobs_of
from dcan.steps.sealing import seal
from dcan.steps.status import seconds_left, status
from dcan.steps.vouching import do_batch, working
from dcan.steps.watching import RECENT, Standing, standings
from dcan.steps.workspace import Part, Workspace
from dcan.storage.logs import Failure, failures
from dcan.storage.receipts import Entry, marks
from dcan.storage.tables import Pack
from tests.steps.conftest import Make, noise

BLOCKS = 12  # of 4 x 32 x 32 in 8 x 70 x 60


@pytest.fixture
def space(make: Make) -> Workspace:
    """Probed and allocated; a map is given, so that nothing is trained."""
    space = make(noise(8, 70, 60), membrane={"source": "em.npy"}, segmentation={"sigma": 1})
    plain = space.config.model_dump(mode="json")
    plain["membrane"]["source"] = plain["volume"]["source"]
    return Workspace.of(type(space.config).model_validate(plain))


@pytest.fixture
def begun(space: Workspace) -> Workspace:
    probe.probe(space)
    probe.allocate(space)
    return Workspace.of(space.config)


def of(space: Workspace, stage: str, now: float | None = None) -> Standing:
    found = standings(space, time.time() if now is None else now)
    return next(standing for standing in found if standing.stage == stage)


def untouched(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder with its size and times."""
    paths = [root, *root.rglob("*")] if root.exists() else []
    stats = {str(path): path.stat() for path in paths}
    return {path: (s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in stats.items()}


def test_before_it_begins_everything_waits_and_no_folder_is_made(space: Workspace) -> None:
    found = list(standings(space, time.time()))
    assert len(found) > 15
    assert {standing.state for standing in found} == {"waiting"}
    assert {s.stage for s in found} >= {"probe", "flood", "pyramid_neurites", "report"}
    assert of(space, "flood").total is None
    assert "nobody is at it" in status(space)
    assert not space.root.exists()


def test_half_done_by_a_job_that_ended_is_stopped_and_all_of_it_done(begun: Workspace) -> None:
    assert of(begun, "ingest").state == "waiting"
    ingest.ingest(begun, Part(0, 2), 1)
    half = of(begun, "ingest")
    assert (half.state, half.done, half.total, half.left) == ("stopped", BLOCKS // 2, BLOCKS, None)
    ingest.ingest(begun, Part(1, 2), 1)
    assert of(begun, "ingest").state == "stopped", "not vouched for yet"
    seal(begun, "ingest")
    done = of(begun, "ingest")
    assert (done.state, done.done, done.total, done.left) == ("done", BLOCKS, BLOCKS, 0.0)


def test_a_living_holder_is_named_with_its_share_and_its_pace(begun: Workspace) -> None:
    ingest.ingest(begun, Part(0, 4), 1)
    ingest.ingest(begun, Part(1, 4), 1)
    with working(begun, "ingest", "batch-1-of-3"):
        now = time.time()
        found = of(begun, "ingest", now)
        later = of(begun, "ingest", now + 2 * RECENT)
        shown = status(begun)
    assert found.state == "working"
    (holder,) = found.holders
    assert (holder.claim.part, holder.claim.pid) == ("batch-1-of-3", os.getpid())
    assert holder.claim.lives
    # 0..5 are done; the second of three batches is 4..7
    assert (holder.done, holder.total) == (2, 4)
    began = max(now - RECENT, holder.claim.started)
    assert found.rate == pytest.approx(6 / (now - began))
    assert found.left == pytest.approx(6 / found.rate)
    assert found.voxels == 8 * 70 * 60 / BLOCKS
    assert later.rate == 0, "long ago is not of late"
    assert f"batch-1-of-3: 2 of 4, process {os.getpid()}" in shown


def test_what_is_left_in_all_is_the_pace_of_one_stage_and_the_plan_of_the_others(
    begun: Workspace,
) -> None:
    ingest.ingest(begun, Part(0, 2), 1)
    assert seconds_left(begun, list(standings(begun, time.time()))) is None, "nobody is at it"
    with working(begun, "ingest", "batch-1-of-2"):
        found = list(standings(begun, time.time()))
        left = seconds_left(begun, found)
    (own,) = (standing.left for standing in found if standing.stage == "ingest")
    assert own is not None
    done = ("probe", "allocate", "ingest")
    planned = jobs_of(Setting(begun.config, begun.shape, 1))
    others = sum(jobs.seconds for jobs in planned if jobs.stage not in done)
    assert others > 10
    assert left == pytest.approx(own + others)


def test_a_dead_holder_is_said_to_be_dead_and_gives_no_pace(begun: Workspace) -> None:
    ingest.ingest(begun, Part(0, 4), 1)
    with working(begun, "ingest", "batch-1-of-4"):
        claim = begun.root / "receipts/ingest/batch-1-of-4.claim"
        text = claim.read_text()
    claim.write_text(json.dumps(json.loads(text) | {"started": 1.0}))
    found = of(begun, "ingest")
    assert (found.state, found.rate, found.left) == ("stopped", 0, None)
    assert not found.holders[0].claim.lives
    assert "which is dead" in status(begun)


def test_looking_changes_no_file_and_takes_no_claim(begun: Workspace) -> None:
    ingest.ingest(begun, Part(0, 2), 1)
    with working(begun, "ingest", "batch-1-of-2"):
        before = untouched(begun.root)
        assert json.loads(status(begun, as_json=True))["volume"] == "made"
        assert len(before) > 10
        assert untouched(begun.root) == before


def test_a_failed_block_is_named_until_it_is_done(
    begun: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "made.yaml"
    write(begun.config, config)
    shard = begun.root / "em.ome.zarr/0/c/0/0/0"
    shard.parent.mkdir(parents=True)
    shard.mkdir()  # the first block cannot be written there
    log = begun.root / "logs" / "ingest-0.log"
    job = ["ingest", "-c", str(config), "--batch", "0/1", "--log", str(log)]
    assert main(job) == 1
    found = of(begun, "ingest")
    (failure,) = found.failed
    assert failure.key == "0:4,0:32,0:32"
    assert "cannot write" in failure.why
    assert found.state == "stopped"
    assert "block 0:4,0:32,0:32 failed" in status(begun)
    shard.rmdir()
    assert main(job) == 0
    assert of(begun, "ingest").failed == ()
    logging.getLogger("dcan").handlers.clear()
    capsys.readouterr()


def test_a_batch_that_failed_is_named_while_another_goes_on(begun: Workspace) -> None:
    log = begun.root / "logs" / "ingest-1.log"
    log.parent.mkdir()
    log.write_text("2001-01-02 03:04:06,678 ERROR dcan: error: the disk is full\n")
    with working(begun, "ingest", "batch-2-of-3"):
        found = of(begun, "ingest")
    assert [failure.why for failure in found.failed] == ["the disk is full"]
    with working(begun, "ingest", "batch-1-of-3"):
        assert of(begun, "ingest").failed == (), "it is being tried again"


def test_a_job_that_refused_says_why(begun: Workspace) -> None:
    log = begun.root / "logs" / "survey.log"
    log.parent.mkdir()
    log.write_text(
        "2001-01-02 03:04:05,678 INFO survey: begun\n"
        "2001-01-02 03:04:06,678 ERROR dcan: error: section 3 has one intensity everywhere\n"
        "2001-01-02 03:04:07,000 ERROR flood: block 0:1,0:2,0:3 failed: odd\n"
        "Traceback (most recent call last):\n"
        "2001-01-02 03:04:08,000 ERROR dcan: error: flood: block 0:1,0:2,0:3 failed: odd\n"
    )
    first, second = failures(log)
    assert (first.key, first.why) == (None, "section 3 has one intensity everywhere")
    assert second == Failure("0:1,0:2,0:3", first.at + 0.322, "odd")
    assert time.localtime(first.at)[:6] == (2001, 1, 2, 3, 4, 6)
    found = of(begun, "survey")
    assert found.state == "stopped"
    assert {failure.why for failure in found.failed} == {first.why, "odd"}
    with working(begun, "survey"):
        tried = of(begun, "survey")
    assert (tried.state, tried.failed) == ("working", ()), "it is being tried again"


def test_weights_that_were_refused_are_a_failure_of_train(make: Make) -> None:
    space = make(noise(2, 32, 32))
    log = space.root / "logs" / "weights.log"
    log.parent.mkdir(parents=True)
    log.write_text("2001-01-02 03:04:06,678 ERROR dcan: error: checkpoint a is damaged\n")
    assert [failure.why for failure in of(space, "train").failed] == ["checkpoint a is damaged"]


def test_what_was_done_under_other_values_is_outdated(begun: Workspace) -> None:
    ingest.ingest(begun, Part(0, 1), 1)
    seal(begun, "ingest")
    ingest.survey(begun)
    changed = begun.config.model_dump(mode="json")
    changed["volume"]["missing"] = [3]
    other = Workspace.of(type(begun.config).model_validate(changed))
    states = {standing.stage: standing.state for standing in standings(other, time.time())}
    assert (states["probe"], states["survey"], states["ingest"]) == ("outdated", "outdated", "done")
    (begun.root / "receipts" / "ingest.json").unlink()
    states = {standing.stage: standing.state for standing in standings(begun, time.time())}
    assert (states["survey"], states["ingest"]) == ("outdated", "stopped")


def test_a_mask_that_the_probe_has_not_seen_makes_the_probe_outdated(begun: Workspace) -> None:
    ingest.ingest(begun, Part(0, 1), 1)
    changed = begun.config.model_dump(mode="json")
    changed["volume"]["mask"] = changed["volume"]["source"]
    masked = Workspace.of(type(begun.config).model_validate(changed))
    states = {standing.stage: standing.state for standing in standings(masked, time.time())}
    assert states["probe"] == "outdated"
    assert states["merge"] == "waiting"
    with pytest.raises(DcanError, match="the probe has not looked at the mask"):
        _ = masked.missing


def test_a_journal_says_when_a_block_was_recorded_and_what_it_took(begun: Workspace) -> None:
    def work(pack: Pack, box: object) -> Entry:
        time.sleep(0.02)
        return Entry(box.key)  # type: ignore[attr-defined]

    ledger = begun.ledger("ingest")
    before = time.time()
    do_batch(begun, ledger, Part(0, 1), work, 1)
    found = marks(ledger.folder, ledger.fingerprint)
    assert set(found) == {box.key for box in begun.grid}
    assert all(0.02 <= (mark.seconds or 0) < 5 for mark in found.values())
    assert all(before - 0.01 <= mark.at <= time.time() for mark in found.values())
    assert marks(ledger.folder, "another") == {}
    assert marks(ledger.folder, None) == found


def test_of_two_marks_of_a_block_the_later_counts(begun: Workspace) -> None:
    ledger = begun.ledger("ingest")
    for seconds in (1.0, 2.0):
        with ledger.attempt() as (journal, _):
            journal.append(Entry("a"), seconds)
        time.sleep(0.01)
    assert marks(ledger.folder, None)["a"].seconds == 2.0


def test_a_journal_that_cannot_be_read_is_one_line(begun: Workspace) -> None:
    (begun.root / "receipts/ingest/a.journal").mkdir(parents=True)
    with pytest.raises(DcanError, match=r"cannot read .*a\.journal"):
        status(begun)


def test_journals_of_before_times_were_recorded_are_read(begun: Workspace) -> None:
    ledger = begun.ledger("ingest")
    with ledger.attempt() as (journal, _):
        journal._append({"key": "0:4,0:32,0:32", "objects": [], "table": None, "counts": {}})
    found = of(begun, "ingest")
    assert (found.done, found.rate) == (1, 0)
    assert np.isclose(found.voxels, 2800)


def test_looking_waits_neither_for_torch_nor_for_compiled_kernels() -> None:
    loaded = "print([m for m in ('torch', 'numba') if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", f"import dcan.steps.status, sys; {loaded}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "[]\n"
