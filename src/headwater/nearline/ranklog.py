"""The rank log in a folder: lines of JSON, a file for each process that writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.errors import StoreError
from headwater.nearline.records import Record, stamped_lines


class RankLog:
    """The writer: one file per process, in a folder that `DirectorySource` reads.

    A file is named `<start in ns>-<process id>.jsonl`, so that names sort by time and no two writers share
    one. Each call is one write of whole lines to a file opened for appending; threads take turns. A line
    whose `append` returned survives kill -9, and with `fsync` a power cut.

    Parameters
    ----------
    folder : Path or str
        Made where there is none.
    rotate_bytes : int
        A new file is begun where a line would make the current one longer than this.
    fsync : bool
        Wait for the disk on each append (a few ms).
    columnar : bool
        Write visits by columns: a third of the work for the stream that reads them.
    clock : callable
        Unix seconds, stamped on every line as `appended`.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        rotate_bytes: int = 64 << 20,
        fsync: bool = False,
        columnar: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._rotate_bytes = rotate_bytes
        self._fsync = fsync
        self._columnar = columnar
        self._clock = clock
        self._turn = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._writer = os.getpid()

    def append(self, record: Record) -> None:
        """Write one record.

        Raises
        ------
        SchemaError
            The record could not be read back: a score that is not finite, a key beyond 64 bits, no items, a
            timestamp far ahead of the clock, …
        StoreError
            The disk is full or the folder cannot be written. Nothing of the line stays.
        """
        self.append_many([record])

    def append_many(self, records: Sequence[Record]) -> None:
        """Write several records, all of them or none. Raises as `append` does."""
        lines = stamped_lines(records, now=self._clock(), columnar=self._columnar)
        if not lines:
            return
        with self._turn:
            try:
                self._write(b"".join(lines))
            except OSError as error:
                raise StoreError(f"{self._folder}: cannot append to the rank log: {error}") from error

    def close(self) -> None:
        """Close the current file; a later `append` begins a new one."""
        with self._turn:
            self._leave_file()

    def _write(self, line: bytes) -> None:
        if self._writer != os.getpid():
            # A forked child must not write into its parent's file.
            self._leave_file()
            self._writer = os.getpid()
        if self._file is not None and self._size + len(line) > self._rotate_bytes:
            self._leave_file()
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            self._size = 0
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("the disk took a part of the line only")
            if self._fsync:
                os.fsync(self._file)
        except OSError:
            # What follows a torn line would be torn with it: take the part back, and begin a new file.
            os.ftruncate(self._file, self._size)
            self._leave_file()
            raise
        self._size += len(line)

    def _leave_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
