"""A volume as sections that are stored one by one, decoded piece by piece."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.storage.sources.spec import check_inside, reading

CACHE_BYTES = 256 << 20


class Pieces:
    """Decoded pieces of sections in memory, the least recently used dropped first.

    Holds at most `limit` bytes, or one piece larger than that. Safe between threads, two of which
    may decode the same piece. A pickled copy is empty.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit = limit
        self._held: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Pieces], tuple[int]]:
        return Pieces, (self.limit,)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def fetch(self, key: Hashable, decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The piece of this key, decoded when it is not held; not to be written to."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        piece = decode()
        with self._lock:
            if key not in self._held:
                self._held[key] = piece
                self._bytes += piece.nbytes
            while self._bytes > self.limit and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return piece


class Section(Protocol):
    """One section of a stack; hashable, and the same section has the same hash."""

    @property
    def path(self) -> Path:
        """The file that holds it."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """In native byte order."""
        ...

    @property
    def piece(self) -> tuple[int, int]:
        """Rows, columns that are decoded at once; (1, 1) of what is not compressed."""
        ...

    def copy(self, window: Box, out: NDArray[Any], pieces: Pieces) -> None:
        """Fill `out` with a window of one section, z being 0:1; raises anything on damage."""
        ...


@dataclass(frozen=True, slots=True)
class Stack:
    """A source of equal sections."""

    sections: tuple[Section, ...]
    pieces: Pieces = field(default_factory=Pieces, compare=False)

    @classmethod
    def of(cls, sections: Sequence[Section]) -> Stack:
        """Raises DcanError, naming the file, when sections differ in size or type."""
        first = sections[0]
        for z, section in enumerate(sections):
            if (section.size, section.dtype) != (first.size, first.dtype):
                raise DcanError(
                    f"{section.path}, section {z} is {_words(section)}, section 0 is "
                    f"{_words(first)}: give sections of one size and type"
                )
        return cls(tuple(sections))

    @property
    def shape(self) -> Triple:
        """Sections, rows, columns."""
        return len(self.sections), *self.sections[0].size

    @property
    def dtype(self) -> np.dtype[Any]:
        """In native byte order."""
        return self.sections[0].dtype

    @property
    def piece(self) -> Triple:
        """A section; of a tiled one its tiles, which are kept for a while."""
        return 1, *self.sections[0].size

    @property
    def decoded(self) -> Triple:
        """The most that is decoded at once: of a section in strips or tiles, one of them."""
        return 1, *max((section.piece for section in self.sections), key=prod)

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`."""
        check_inside(box, self.shape)
        out = np.empty(box.shape, self.dtype)
        if box.size == 0:
            return out
        (first, top, left), (_, bottom, right) = box.start, box.stop
        window = Box((0, top, left), (1, bottom, right))
        for row in range(box.shape[0]):
            section = self.sections[first + row]
            with reading(f"{section.path}, section {first + row}"):
                section.copy(window, out[row : row + 1], self.pieces)
        return out

    def files(self) -> tuple[Path, ...]:
        """Each file once, in the order of the sections."""
        return tuple(dict.fromkeys(section.path for section in self.sections))


def _words(section: Section) -> str:
    rows, columns = section.size
    return f"{rows} x {columns} {section.dtype}"
