"""Packs of small tables: named arrays appended to one file, each with its checksum.

A record is a magic word, the length of its header, a JSON header with dtype, shape, place and
CRC-32C of each array, and the arrays. Its reference names file, place, and the header's
checksum, which vouches for the arrays' checksums in turn; so one array can be read and
checked without the rest. A writer has a pack of its own, so nothing is ever overwritten.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.storage import failpoints
from dcan.storage.objects import cannot_write, crc32c, sync_folder

MAGIC = b"DCANTAB1"
_PREFIX = struct.Struct("<8sI")
_lock = threading.Lock()
_host = uuid.uuid4().hex[:8]  # two hosts may have a process of one number in one attempt

NO_SENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a header raises whose checksum holds but which is none."""

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """Where a record lies: file relative to the output folder, byte range, header CRC-32C."""

    path: str
    offset: int
    length: int
    checksum: int


def _record(arrays: Mapping[str, Array]) -> tuple[bytes, list[Array]]:
    """Header and bodies; these are the arrays themselves where they lie as they are stored."""
    header: dict[str, dict[str, object]] = {}
    bodies: list[Array] = []
    place = 0
    for name, array in arrays.items():
        little = array.dtype.newbyteorder("<")
        if little.hasobject:
            raise TypeError(f"array {name!r} holds Python objects, not numbers")
        body = np.ascontiguousarray(array, little)
        header[name] = {
            "dtype": little.str,
            "shape": list(array.shape),
            "at": place,
            "size": body.nbytes,
            "checksum": crc32c(body),
        }
        bodies.append(body)
        place += body.nbytes
    return json.dumps(header).encode(), bodies


@dataclass(frozen=True, slots=True)
class Pack:
    """A writer's place for records, `<root>/tables/<stage>/<attempt>-<writer>.tables`.

    Each process that gets a copy of a pack writes a file of its own.
    """

    root: Path
    stage: str
    attempt: str

    def append(self, arrays: Mapping[str, Array]) -> TableRef:
        """Add a record, durably, and return its reference. Safe from several threads."""
        header, bodies = _record(arrays)
        relative = f"tables/{self.stage}/{self.attempt}-{_host}-{os.getpid()}.tables"
        path = self.root / relative
        with _lock:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                failpoints.storage_operation()
                with path.open("ab") as file:
                    offset = file.seek(0, os.SEEK_END)
                    file.write(_PREFIX.pack(MAGIC, len(header)) + header)
                    file.writelines(body.data for body in bodies)
                    length = file.tell() - offset
                    file.flush()
                    os.fsync(file.fileno())
                if offset == 0:
                    sync_folder(path.parent)
            except OSError as error:
                raise cannot_write(path, error) from None
        return TableRef(relative, offset, length, crc32c(header))


def read_table(root: Path, ref: TableRef, prefix: str = "") -> dict[str, Array]:
    """The arrays of a record whose names start with `prefix`, by the rest of their names.

    Read-only and little-endian; of the others nothing is read. Raises DcanError when the file
    or a checksum does not hold.
    """
    path = root / ref.path
    damaged = DcanError(
        f"table {path} at byte {ref.offset} is damaged: run `dcan verify --repair`, then snakemake"
    )
    try:
        with path.open("rb") as file:
            file.seek(ref.offset)
            magic, length = _PREFIX.unpack(file.read(_PREFIX.size))
            if magic != MAGIC or length > ref.length:
                raise damaged
            header = file.read(length)
            if crc32c(header) != ref.checksum:
                raise damaged
            start = ref.offset + _PREFIX.size + length
            arrays: dict[str, Array] = {}
            for name, entry in json.loads(header).items():
                if not name.startswith(prefix):
                    continue
                file.seek(start + entry["at"])
                body = file.read(entry["size"])
                if crc32c(body) != entry["checksum"]:
                    raise damaged
                array = np.frombuffer(body, np.dtype(entry["dtype"])).reshape(entry["shape"])
                arrays[name[len(prefix) :]] = array
            return arrays
    except (OSError, struct.error, *NO_SENSE):
        raise damaged from None
