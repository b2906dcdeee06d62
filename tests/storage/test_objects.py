"""Stored objects: written whole or not at all, and known by size and checksum."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcan.errors import DcanError
from dcan.storage.objects import (
    ABANDONED,
    Stored,
    checksum,
    crc32c,
    extended,
    replacing,
    seal_file,
    write_bytes,
    write_text,
)
from dcan.storage.processes import started


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_crc32c_is_that_of_castagnoli(tmp_path: Path) -> None:
    # RFC 3720, B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == crc32c(np.frombuffer(b"123456789", "u1")) == 0xE3069283
    assert extended(extended(0, b"1234"), b"56789") == 0xE3069283
    (tmp_path / "a").write_bytes(b"123456789")
    assert checksum(tmp_path / "a") == 0xE3069283


def test_the_checksum_of_a_long_file_is_made_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1000)
    (tmp_path / "a").write_bytes(data)
    monkeypatch.setattr("dcan.storage.objects.PIECE", 7)
    assert checksum(tmp_path / "a") == crc32c(data)


def test_describes_what_it_wrote(tmp_path: Path) -> None:
    stored = write_bytes(tmp_path, tmp_path / "x" / "y", b"123456789")
    assert stored == Stored("x/y", 9, 0xE3069283) == seal_file(tmp_path, tmp_path / "x" / "y")
    assert (tmp_path / "x" / "y").read_bytes() == b"123456789"
    assert stored.fault(tmp_path, bytes_too=True) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=40), st.data())
def test_every_flipped_bit_and_every_cut_is_a_fault(
    tmp_path: Path, data: bytes, draw: st.DataObject
) -> None:
    path = tmp_path / "a"
    stored = write_bytes(tmp_path, path, data)
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    assert stored.fault(tmp_path) is None, "bytes are not read unasked"
    assert str(path) in (stored.fault(tmp_path, bytes_too=True) or "")
    path.write_bytes(data[:-1])
    assert f"{len(data) - 1} bytes, {len(data)} were written" in (stored.fault(tmp_path) or "")
    path.write_bytes(data + b"x")
    assert stored.fault(tmp_path) is not None


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    stored = write_bytes(tmp_path, tmp_path / "a", b"")
    (tmp_path / "a").unlink()
    assert "No such file" in (stored.fault(tmp_path) or "")
    (tmp_path / "a").mkdir()
    folder = Stored("a", (tmp_path / "a").stat().st_size, 0)
    assert "directory" in (folder.fault(tmp_path, bytes_too=True) or "")


def test_replaces_at_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename stays on one file system"
    assert path.read_text() == "new"
    assert names(path.parent) == ["a"]


def test_a_body_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), replacing(tmp_path / "a") as temporary:
        fail(temporary)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        said.append(f"sync {os.readlink(f'/proc/self/fd/{descriptor}')}")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        said.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a", "x")
    assert [line.split("/")[0] for line in said] == ["sync ", "rename", "sync "]
    assert said[0].endswith(".part")
    assert said[2] == f"sync {tmp_path}"


def test_a_file_system_that_refuses_is_one_line_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "taken", tmp_path / ("n" * 300)):
        with pytest.raises(DcanError, match=re.escape(f"cannot write {path}: ")):
            write_text(path, "x")
    assert names(tmp_path) == ["file", "taken"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def full(temporary: Path) -> None:
        temporary.write_text("half")
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(DcanError, match="No space left"), replacing(tmp_path / "a") as temporary:
        full(temporary)
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from dcan.storage.objects import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "a"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 1
    assert not path.exists()
    with replacing(path) as mine:
        mine.write_text("whole")
        (living,) = names(tmp_path)
        assert living == mine.name
    assert names(tmp_path) == ["a"]


def test_a_killed_writer_that_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)]) as killed:
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # still in the process table
        assert len(names(tmp_path)) == 1
        write_text(path, "whole")
        assert names(tmp_path) == ["a"]


def test_what_others_have_not_finished(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as mine:
        mine.write_text("mine")
        me = f"{socket.gethostname()}.{os.getpid()}.{started():.0f}"
        assert mine.name == f".a.{me}.part"
        own, host = f"{os.getpid()}.{started():.0f}", socket.gethostname()
        living = f"{os.getppid()}.{started(os.getppid()):.0f}"
        reused = f"{os.getppid()}.{started(os.getppid()) - 60:.0f}"
        stays = [f".a.{host}.{living}.part", f".ab.{host}.9.9.part"]
        stays += [f".a.another-host.{process}.part" for process in (own, "999999999.1")]
        goes = [f".a.{host}.{reused}.part", f".a.{host}.999999999.1.part"]
        old = [f".a.another-host.{reused}.part", ".a.of-an-older-version.12.part"]
        for name in stays + goes + old:
            (tmp_path / name).write_text("other")
        for name in old:
            os.utime(tmp_path / name, (0, time.time() - ABANDONED - 10))
    write_text(tmp_path / "a", "again")
    assert names(tmp_path) == sorted(["a", *stays])
