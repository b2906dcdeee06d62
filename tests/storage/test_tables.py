"""Packs of tables: what was appended comes back, and damage is noticed."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.storage.objects import crc32c
from dcan.storage.tables import Pack, TableRef, read_table

Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return Pack(tmp_path, "flood", "attempt")


def same(found: Arrays, wanted: Arrays) -> bool:
    return list(found) == list(wanted) and all(
        found[name].shape == wanted[name].shape
        and found[name].dtype == wanted[name].dtype.newbyteorder("<")
        and found[name].astype(wanted[name].dtype).tobytes() == wanted[name].tobytes()
        for name in wanted
    )


DTYPES = (
    hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.boolean_dtypes()
)
ARRAYS = st.dictionaries(
    st.text(max_size=6),
    hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)),
    max_size=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ARRAYS, min_size=1, max_size=4))
def test_records_come_back_as_they_were(pack: Pack, records: list[Arrays]) -> None:
    references = [pack.append(arrays) for arrays in records]
    for reference, arrays in zip(references, records, strict=True):
        assert same(read_table(pack.root, reference), arrays)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">u4").reshape(3, 4),
        np.arange(12).reshape(3, 4).T,
        np.arange(12)[::-2],
        np.empty((0, 2), np.uint64),
        np.array(7, ">i2"),
    ],
)
def test_any_layout_in_memory_comes_back(pack: Pack, array: NDArray[Any]) -> None:
    (found,) = read_table(pack.root, pack.append({"a": array})).values()
    assert found.shape == array.shape
    assert (found == array).all()
    assert not found.flags.writeable


def test_objects_are_refused(pack: Pack) -> None:
    with pytest.raises(TypeError, match="'a' holds Python objects"):
        pack.append({"a": np.array([None])})


RECORDS: list[Arrays] = [
    {
        "0.minima": np.arange(40, dtype=np.uint32),
        "0.levels": np.linspace(0, 1, 7),
        "1.minima": np.arange(5, dtype=np.uint64),
    },
    {"1.sizes": np.arange(9), "1.empty": np.empty(0, np.uint8), "10.sizes": np.arange(3)},
]


def test_every_flipped_bit_is_noticed_by_the_record_it_is_in(pack: Pack) -> None:
    references = [pack.append(arrays) for arrays in RECORDS]
    path = pack.root / references[0].path
    whole = path.read_bytes()
    assert references[1].offset == references[0].length
    assert len(whole) == references[1].offset + references[1].length
    chance = random.Random(0)
    for bit in chance.sample(range(8 * len(whole)), 400):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        for reference, arrays in zip(references, RECORDS, strict=True):
            inside = reference.offset <= bit // 8 < reference.offset + reference.length
            if inside:
                with pytest.raises(DcanError, match=re.escape(str(path))):
                    read_table(pack.root, reference)
            else:
                assert same(read_table(pack.root, reference), arrays)


def test_every_cut_is_noticed(pack: Pack) -> None:
    reference = pack.append(RECORDS[0])
    path = pack.root / reference.path
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DcanError, match="is damaged: run `dcan verify --repair`"):
            read_table(pack.root, reference)
    path.unlink()
    with pytest.raises(DcanError, match=re.escape(str(path))):
        read_table(pack.root, reference)


@pytest.mark.parametrize("changed", [{"offset": -1}, {"offset": 3}, {"length": 4}, {"checksum": 0}])
def test_a_reference_to_something_else_is_noticed(pack: Pack, changed: dict[str, int]) -> None:
    reference = replace(pack.append(RECORDS[0]), **changed)  # type: ignore[arg-type]
    with pytest.raises(DcanError):
        read_table(pack.root, reference)


@pytest.mark.parametrize(
    "header",
    [
        *("", "3", "[]", "{", "\udcff", "[" * 9999, '{"a": 3}', '{"a": {}}'),
        '{"a": {"at": -99, "size": 0, "checksum": 0, "dtype": "<u4", "shape": [0]}}',
        '{"a": {"at": "0", "size": 0, "checksum": 0, "dtype": "<u4", "shape": [0]}}',
        '{"a": {"at": 0, "size": 0, "checksum": 0, "dtype": "nothing", "shape": [0]}}',
        '{"a": {"at": 0, "size": 0, "checksum": 0, "dtype": "|O", "shape": [0]}}',
        '{"a": {"at": 0, "size": 0, "checksum": 0, "dtype": "<u4", "shape": [5]}}',
        '{"a": {"at": 0, "size": 0, "checksum": 0, "dtype": "<u4", "shape": "x"}}',
    ],
)
def test_a_header_that_makes_no_sense_is_damage(tmp_path: Path, header: str) -> None:
    data = header.encode("utf-8", "surrogateescape")
    (tmp_path / "odd").write_bytes(struct.pack("<8sI", b"DCANTAB1", len(data)) + data)
    with pytest.raises(DcanError, match="is damaged"):
        read_table(tmp_path, TableRef("odd", 0, 12 + len(data), crc32c(data)))


def test_a_prefix_reads_its_arrays_and_no_others(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack.append(RECORDS[1])
    reference = pack.append(RECORDS[0])
    read: list[tuple[int, int]] = []
    real = Path.open

    class Watched(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            start = self.tell()
            data = super().read(size)
            read.append((start, start + len(data)))
            return data

    def opened(self: Path, mode: str = "r", **rest: Any) -> Any:
        file = real(self, mode, **rest)
        return Watched(file.detach()) if mode == "rb" else file

    monkeypatch.setattr(Path, "open", opened)
    found = read_table(pack.root, reference, "0.")
    assert same(found, {"minima": RECORDS[0]["0.minima"], "levels": RECORDS[0]["0.levels"]})
    end = reference.offset + reference.length
    assert max(stop for _, stop in read) == end - RECORDS[0]["1.minima"].nbytes
    assert min(start for start, _ in read) == reference.offset
    assert read_table(pack.root, reference, "nothing") == {}


def test_damage_to_other_arrays_does_not_hinder_a_prefix(pack: Pack) -> None:
    reference = pack.append(RECORDS[0])
    path = pack.root / reference.path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert len(read_table(pack.root, reference, "0.")) == 2
    with pytest.raises(DcanError):
        read_table(pack.root, reference, "1.")


def test_threads_append_whole_records(pack: Pack) -> None:
    def append(number: int) -> tuple[int, TableRef]:
        return number, pack.append({"n": np.full(50, number)})

    with ThreadPoolExecutor(8) as pool:
        references = list(pool.map(append, range(60)))
    assert len({reference.path for _, reference in references}) == 1
    for number, reference in references:
        assert (read_table(pack.root, reference)["n"] == number).all()


def test_a_torn_record_does_not_shift_the_next(pack: Pack) -> None:
    first = pack.append(RECORDS[0])
    with (pack.root / first.path).open("ab") as file:
        file.write(b"DCANTAB1 torn")
    second = pack.append(RECORDS[1])
    assert same(read_table(pack.root, first), RECORDS[0])
    assert same(read_table(pack.root, second), RECORDS[1])


OTHER = """
import sys, numpy as np
from pathlib import Path
from dcan.storage.objects import crc32c
from dcan.storage.tables import Pack
import os; os.getpid = lambda: 7
print(Pack(Path(sys.argv[1]), "flood", "attempt").append({"a": np.arange(3)}).path)
"""


def test_two_hosts_with_a_process_of_one_number_write_two_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    paths = {subprocess.run(command, check=True, capture_output=True).stdout for _ in range(2)}
    assert len(paths) == 2


def test_a_file_system_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tables").touch()
    with pytest.raises(DcanError, match=re.escape(f"cannot write {tmp_path / 'tables'}")):
        Pack(tmp_path, "flood", "a").append({})


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DcanError, match="No space left"):
        Pack(tmp_path, "flood", "a").append({"a": np.arange(3)})
