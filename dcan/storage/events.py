"""Curves of a training as TensorBoard reads them, while it runs.

For people to watch: no result and in no receipt. The curve that is kept is a JSON file beside
the weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dcan.errors import DcanError


class Events:
    """An event file of its own for each start of a training; a context manager.

    `since`: the step that the training goes on from. What earlier files of the folder say of
    later steps is not shown any more: it is computed again.
    """

    def __init__(self, folder: Path, since: int) -> None:
        # In the thread that trains: the library's own thread waits for ever on a full disk.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}.{since}")
        except OSError as error:
            raise self._refusal(error) from None
        self._write(since + 1, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step by their names, `group/name`, and write them out."""
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._write(step, summary=scalar(name, value))
        self._flush()

    def _write(self, step: int, **what: object) -> None:
        from tensorboardX.proto.event_pb2 import Event

        try:
            self._file.write_event(Event(step=step, wall_time=time.time(), **what))
        except OSError as error:
            raise self._refusal(error) from None

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> DcanError:
        return DcanError(
            f"cannot write {self._folder}: {error.strerror or error}: free space or mend "
            "permissions, then give the same command again"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as fault:
            if error is None:  # else the first fault is the one to speak of
                raise self._refusal(fault) from None
