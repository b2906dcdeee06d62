"""Event files: what TensorBoard would read, also after a training was killed and went on."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dcan.errors import DcanError
from dcan.storage.events import Events


def read(path: Path) -> list[Any]:
    """The events of a file: length, CRC, bytes, CRC of each."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += length + 16
    return found


def test_values_are_there_as_soon_as_they_are_added(tmp_path: Path) -> None:
    with Events(tmp_path / "member-0", 0) as events:
        events.add(20, {"loss/total": 0.5, "machine/busy": 1.0})
        (path,) = (tmp_path / "member-0").iterdir()
        version, start, *scalars = read(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (1, SessionLog.START)
    shown = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in scalars]
    assert shown == [(20, "loss/total", 0.5), (20, "machine/busy", 1.0)]
    assert read(path) == [version, start, *scalars]


def test_a_training_that_goes_on_takes_back_what_it_computes_again(tmp_path: Path) -> None:
    with Events(tmp_path, 40) as events:
        events.add(60, {"loss/total": 0.25})
    (path,) = tmp_path.iterdir()
    assert read(path)[1].step == 41


def test_where_it_cannot_write_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DcanError, match=r"cannot write .*file/member-0: Not a directory"):
        Events(tmp_path / "file" / "member-0", 0)
    with pytest.raises(DcanError, match=r"cannot write .*full: No space left"):
        fill(tmp_path / "full")


def fill(folder: Path) -> None:
    with Events(folder, 0) as events:
        writer = events._file._py_recordio_writer
        writer._writer.close()
        writer._writer = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        events.add(1, {"loss/total": 1.0})
