"""Receipts and journals: what vouches for a block, and what must not."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcan.errors import DcanError
from dcan.storage.journals import Journal
from dcan.storage.objects import Stored, crc32c, write_bytes
from dcan.storage.receipts import Entry, Ledger, Receipt, digest
from dcan.storage.tables import TableRef

QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "fuse", "fingerprint")


def do(ledger: Ledger, keys: Iterable[str]) -> list[Entry]:
    """Blocks as a stage does them: a stored object, a table, and then the line."""
    entries = []
    with ledger.attempt() as (journal, pack):
        for number, key in enumerate(keys):
            stored = write_bytes(ledger.root, ledger.root / "store" / key, key.encode() * 9)
            table = pack.append({"a": np.arange(number + 1)})
            entries.append(Entry(key, (stored,), table, {"voxels": number}))
            journal.append(entries[-1])
    return entries


def journal_of(ledger: Ledger) -> Path:
    (path,) = ledger.folder.glob("*.journal")
    return path


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_what_is_recorded_is_read(ledger: Ledger) -> None:
    entries = do(ledger, "abc")
    assert ledger.entries() == {entry.key: entry for entry in entries}


def test_nothing_is_recorded_at_first(ledger: Ledger) -> None:
    assert ledger.entries() == {}
    ledger.begin()
    assert files(ledger.root) == []


def test_attempts_add_up_and_each_has_files_of_its_own(ledger: Ledger) -> None:
    first, second = do(ledger, "ab"), do(ledger, "bc")
    assert ledger.entries().keys() == set("abc")
    assert len(list(ledger.folder.glob("*.journal"))) == 2
    assert first[0].table is not None
    assert second[0].table is not None
    assert first[0].table.path != second[0].table.path


def test_the_journal_may_be_torn_at_every_byte(ledger: Ledger) -> None:
    entries = do(ledger, ["a", "b", "c", "d"])
    path = journal_of(ledger)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 5
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = max(0, sum(end <= length for end in ends) - 1)
        assert list(ledger.entries().values()) == entries[:kept]


GARBAGE = [b"\n", b"\n\n", b"\0" * 50, b"}\n", b"00000000 \n", b"0" * 3000, b"\xff\xfe\n"]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_after_a_tear_and_garbage_nothing_counts(ledger: Ledger, garbage: bytes) -> None:
    entries = do(ledger, ["a", "b", "c"])
    path = journal_of(ledger)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in range(4):
        before = b"".join(lines[: kept + 1])
        path.write_bytes(before + garbage)
        assert list(ledger.entries().values()) == entries[:kept]
        path.write_bytes(before + lines[1][:-7] + garbage + b"".join(lines[kept + 1 :]))
        assert list(ledger.entries().values()) == entries[:kept]
    path.write_bytes(lines[0] + lines[1] + garbage)
    again = do(ledger, ["c"])
    assert ledger.entries() == {"a": entries[0], "c": again[0]}, "not behind the damage"


def test_every_flipped_bit_ends_the_journal_at_its_line(ledger: Ledger) -> None:
    entries = do(ledger, ["a", "b", "c"])
    path = journal_of(ledger)
    whole = path.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(whole)), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        line = whole[: bit // 8].count(b"\n")
        assert list(ledger.entries().values()) == entries[: max(0, line - 1)]


def line_of(plain: object) -> bytes:
    text = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    return b"%08x %s\n" % (crc32c(text), text)


GOOD = {"key": "x", "objects": [], "table": None, "counts": {}}
ODD: list[object] = [
    *([], 3, None, "text", {}, b"{", b"", b"[" * 9999, b"\xff"),
    GOOD | {"key": None},
    GOOD | {"key": [1]},
    GOOD | {"objects": 3},
    GOOD | {"objects": [3]},
    GOOD | {"objects": [{"path": "a"}]},
    GOOD | {"objects": [{"path": 3, "size": 1, "checksum": 1}]},
    GOOD | {"objects": [{"path": "a", "size": 1, "checksum": 1, "more": 1}]},
    GOOD | {"table": 5},
    GOOD | {"counts": 5},
    {"key": "x"},
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_whole_line_that_is_no_entry_ends_the_journal(ledger: Ledger, odd: object) -> None:
    entries = do(ledger, ["a", "b"])
    path = journal_of(ledger)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + line_of(odd) + lines[2])
    assert list(ledger.entries().values()) == entries[:1]
    path.write_bytes(line_of(odd) + lines[1])
    assert ledger.entries() == {}
    ledger.begin()


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..", "a/.."])
def test_nothing_outside_the_output_folder_is_vouched_for(ledger: Ledger, path: str) -> None:
    for entry in (Entry("a", (Stored(path, 1, 1),)), Entry("a", (), TableRef(path, 0, 1, 1))):
        receipt = Receipt("fuse", "f", "i", (entry,))
        receipt.write(ledger.receipt)
        with pytest.raises(DcanError, match="it is damaged"):
            Receipt.read(ledger.receipt)
        with ledger.attempt() as (journal, _):
            journal.append(entry)
    assert ledger.entries() == {}


@pytest.mark.parametrize("damage", ["delete", "truncate", "extend", "table gone", "table cut"])
def test_an_entry_whose_data_is_not_there_is_not_done(ledger: Ledger, damage: str) -> None:
    entries = do(ledger, ["a", "b"])
    first, table = ledger.root / entries[0].objects[0].path, entries[1].table
    assert table is not None
    pack = ledger.root / table.path
    if damage == "delete":
        first.unlink()
    elif damage == "truncate":
        os.truncate(first, 8)
    elif damage == "extend":
        os.truncate(first, 10)
    elif damage == "table gone":
        pack.unlink()
    else:
        os.truncate(pack, table.offset + table.length - 1)
    lost = {"table gone": {"a", "b"}, "table cut": {"b"}}.get(damage, {"a"})
    assert ledger.entries().keys() == {"a", "b"} - lost
    do(ledger, sorted(lost))
    assert ledger.entries().keys() == {"a", "b"}, "a later attempt makes up for it"


def test_begin_discards_another_fingerprint_and_keeps_its_own(tmp_path: Path) -> None:
    old, new = (Ledger(tmp_path, "fuse", name) for name in ("old", "new"))
    do(old, ["a", "b"])
    old.seal(["a", "b"])
    kept = do(new, ["c"])
    assert new.entries().keys() == {"c"}
    assert old.entries().keys() == {"a", "b"}, "nothing is discarded unasked"
    new.begin()
    assert old.entries() == {}
    assert not old.receipt.exists()
    assert list(new.entries().values()) == kept
    new.seal(["c"])
    new.begin()
    assert Receipt.read(new.receipt).fingerprint == "new"
    assert list(new.entries().values()) == kept


def test_begin_leaves_other_stages_alone(tmp_path: Path) -> None:
    other, mine = Ledger(tmp_path, "flood", "old"), Ledger(tmp_path, "fuse", "new")
    do(other, ["a"])
    other.seal(["a"])
    mine.begin()
    assert other.entries().keys() == {"a"}
    assert other.receipt.exists()


def test_begin_leaves_a_journal_that_is_just_being_started(tmp_path: Path) -> None:
    """Several batches of a stage begin at once; none may remove the journal of another."""
    ledger = Ledger(tmp_path, "fuse", "new")
    ledger.folder.mkdir(parents=True)
    empty = ledger.folder / "0.journal"
    empty.touch()
    first = line_of({"fingerprint": "new"})
    torn = ledger.folder / "1.journal"
    torn.write_bytes(first[:-4])
    ledger.begin()
    assert empty.exists()
    assert torn.exists()
    assert ledger.entries() == {}
    empty.write_bytes(first + line_of(GOOD))
    assert ledger.entries().keys() == {"x"}


def test_begin_discards_a_receipt_that_is_damaged(ledger: Ledger) -> None:
    do(ledger, ["a"])
    ledger.seal(["a"])
    os.truncate(ledger.receipt, 30)
    ledger.begin()
    assert not ledger.receipt.exists()
    assert ledger.entries().keys() == {"a"}


def test_seal_writes_the_sorted_union(ledger: Ledger) -> None:
    second = do(ledger, ["c", "a"])
    first = do(ledger, ["b", "a"])
    receipt = ledger.seal(["c", "b", "a"], {"note": [1, 2]})
    assert [entry.key for entry in receipt.entries] == ["a", "b", "c"]
    assert receipt.entries[1] == first[0]
    assert receipt.entries[2] == second[0]
    assert receipt.values == {"note": [1, 2]}
    assert receipt.identity == receipt.fingerprint == "fingerprint"
    assert Receipt.read(ledger.receipt) == receipt


def test_seal_leaves_out_what_was_not_asked_for(ledger: Ledger) -> None:
    do(ledger, ["a", "b"])
    assert [entry.key for entry in ledger.seal(["b"]).entries] == ["b"]


def test_seal_names_blocks_that_are_not_done(ledger: Ledger) -> None:
    do(ledger, ["a", "c"])
    with pytest.raises(DcanError, match=r"fuse: 2 of 4 blocks are not done \(first: b\)"):
        ledger.seal(["a", "b", "c", "d"])
    assert not ledger.receipt.exists()


def test_seal_of_what_is_gone_lets_the_same_command_do_it_again(ledger: Ledger) -> None:
    """The batches' receipts are what snakemake goes by: they must not outlive the data."""
    entries = do(ledger, ["a", "b"])
    ledger.seal(["a", "b"])
    for number in range(2):
        (ledger.folder / f"batch-{number}.json").write_text("{}")
    (ledger.root / entries[0].objects[0].path).unlink()
    with pytest.raises(DcanError, match="1 of 2 blocks"):
        ledger.seal(["a", "b"])
    assert not ledger.receipt.exists()
    assert list(ledger.folder.glob("batch-*")) == []
    assert ledger.entries().keys() == {"b"}


VALUES = {"shape": [1, 2, 3], "é": None, "weights": {"a": 1.5}}
RECEIPT = Receipt(
    "fuse",
    "f" * 64,
    "i" * 64,
    (
        Entry("0:1", (Stored("a/0", 3, 7), Stored("a/1", 3, 8)), TableRef("t", 0, 9, 1), {"n": 4}),
        Entry("1:2"),
    ),
    VALUES,
)


def test_a_receipt_comes_back_as_it_was(tmp_path: Path) -> None:
    RECEIPT.write(tmp_path / "r" / "fuse.json")
    assert Receipt.read(tmp_path / "r" / "fuse.json") == RECEIPT
    assert files(tmp_path) == ["r/fuse.json"]


def refused(path: Path) -> None:
    with pytest.raises(DcanError, match=re.escape(f"receipt {path}: ")) as caught:
        Receipt.read(path)
    assert "dcan verify --repair" in str(caught.value)


def test_every_cut_receipt_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "fuse.json"
    RECEIPT.write(path)
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        refused(path)


def test_every_flipped_bit_of_a_receipt_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fuse.json"
    RECEIPT.write(path)
    whole = path.read_bytes()
    harmless = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            same = json.loads(damaged) == json.loads(whole)
        except ValueError:
            same = False
        if same:  # the case of a digit of an escaped letter
            harmless += 1
            assert Receipt.read(path) == RECEIPT
        else:
            refused(path)
    assert harmless < 5


@QUIET
@given(st.binary(max_size=80) | JSON.map(lambda plain: json.dumps(plain).encode()))
def test_any_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.json").write_bytes(data)
    refused(tmp_path / "r.json")


@pytest.mark.parametrize(
    "changed",
    [
        {"entries": None},
        {"entries": [{}]},
        {"entries": [GOOD | {"key": 5}]},
        {"more": 1},
        {"stage": ...},
        {"values": ...},
    ],
    ids=str,
)
def test_a_receipt_of_another_form_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    """As another version of this package may have left it, its digest right."""
    path = tmp_path / "fuse.json"
    RECEIPT.write(path)
    plain = json.loads(path.read_text())
    plain.pop("digest")
    plain = {k: v for k, v in (plain | changed).items() if v is not ...}
    path.write_text(json.dumps({"digest": digest(plain), **plain}))
    if changed == {"values": ...}:
        assert Receipt.read(path).values == {}
    else:
        refused(path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.json")
    refused(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    refused(tmp_path / "deep.json")


@given(JSON)
def test_a_digest_has_one_spelling(plain: Any) -> None:
    assert digest(plain) == digest(json.loads(json.dumps(plain, indent=2)))
    assert re.fullmatch("[0-9a-f]{64}", digest(plain))


def test_a_digest_follows_every_value() -> None:
    values: list[Any] = [
        None,
        0,
        1,
        "1",
        1.5,
        True,
        [],
        {},
        [1],
        [[1]],
        {"a": 1},
        {"b": 1},
        ["a", 1],
    ]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_line_is_durable_when_append_returns(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ledger.folder / "a.journal"
    with Journal(path, "f") as journal:
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.stat().st_size))
        journal.append(Entry("a"))
        assert synced == [path.stat().st_size]
        assert path.read_bytes().endswith(b"\n")


def test_a_file_system_that_refuses_is_one_line(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with Journal(ledger.folder / "a.journal", "f") as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DcanError, match=r"cannot write .*a\.journal: No space left"):
            journal.append(Entry("a"))
    monkeypatch.undo()
    (ledger.root / "file").touch()
    with pytest.raises(DcanError, match="cannot write"):
        Journal(ledger.root / "file" / "a.journal", "f")


@QUIET
@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.integers(1, 4))
def test_any_order_and_any_attempts_record_the_same(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], attempts: int
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("any"), "fuse", "f")
    for number in range(attempts):
        do(ledger, keys[number::attempts])
    assert ledger.entries().keys() == set(keys)
    assert [e.key for e in ledger.seal(set(keys)).entries] == sorted(set(keys))


def test_an_entry_of_before_there_were_skipped_ones_is_one_that_was_done() -> None:
    plain = {"key": "a", "objects": [], "table": None, "counts": {"voxels": 8}}
    assert Entry.read(plain) == Entry("a", counts={"voxels": 8})
    assert Entry.read(plain | {"skipped": True}).skipped
