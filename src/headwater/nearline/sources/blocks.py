"""Reading a growing Arrow IPC stream file from any of its batches on."""

# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
from bisect import bisect_left
from pathlib import Path

import pyarrow as pa

from headwater.nearline.sources.base import Block, Line
from headwater.nearline.sources.frames import Frame, frame_at

MAX_BATCH = 512 << 20
"""Bytes of one record batch. A longer one is no batch of rank logs but a fault, and is refused."""

_KEPT_BYTES = 4_096


class StreamFile:
    """One `*.arrows` file. A batch is read with the schema and the dictionaries that stand before it.

    Their places are remembered, so that a file is gone through once, however often it is polled.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heads: list[Frame] = []
        self._head_bytes: list[bytes] = []
        self._passed = 0

    def read(
        self, start: int, size: int, room: int, budget: int, appended: float, lines: list[Line], blocks: list[Block]
    ) -> int:
        """Add the whole batches from byte `start` on; returns where the last of them ends.

        Parameters
        ----------
        start, size : int
            Bytes: where to begin, and how long the file is known to be.
        room, budget : int
            Rows and bytes after which no further batch is begun.
        appended : float
            Unix seconds at which the file was last appended to.
        lines, blocks : list
            Faults and batches are added here.

        Raises
        ------
        OSError
            The file cannot be read; it may be gone.
        """
        at = start
        file = os.open(self._path, os.O_RDONLY)
        try:
            # A reader that starts in the middle needs what stands before.
            while self._passed < start and (frame := frame_at(file, self._passed, start)) and frame.kind != "fault":
                self._pass(file, frame)
            while room > 0 and at - start < budget:
                frame = frame_at(file, at, size)
                if frame is None:
                    break
                if frame.kind == "fault":
                    # Nothing tells where the next message begins. What is appended from now on may be whole again.
                    lines.append(self._fault(file, at, size, appended, "no Arrow message begins here"))
                    return size
                if frame.kind == "batch":
                    found = self._batch(file, frame, appended)
                    blocks.append(found) if isinstance(found, Block) else lines.append(found)
                    room -= frame.rows or 1
                elif frame.start >= self._passed:
                    self._pass(file, frame)
                at = frame.end
        finally:
            os.close(file)
        return at

    def _pass(self, file: int, frame: Frame) -> None:
        if frame.kind in ("schema", "dictionary"):
            self._heads.append(frame)
            self._head_bytes.append(os.pread(file, frame.end - frame.start, frame.start))
        self._passed = frame.end

    def _batch(self, file: int, frame: Frame, appended: float) -> Block | Line:
        length = frame.end - frame.start
        if length > MAX_BATCH:
            reason = f"the Arrow batch has {length} bytes; at most {MAX_BATCH} are read"
            return self._fault(file, frame.start, frame.end, appended, reason)
        head = self._head(frame.start)
        # Read, not mapped: a file that is cut while it is mapped kills the process that looks at it.
        buffer = bytearray(len(head) + length)
        buffer[: len(head)] = head
        if os.preadv(file, [memoryview(buffer)[len(head) :]], frame.start) != length:
            raise OSError(f"{self._path}: the file was cut at byte {frame.start}")
        try:
            with pa.ipc.open_stream(pa.py_buffer(buffer)) as reader:
                rows = reader.read_next_batch()
            rows.validate(full=True)
        except (pa.ArrowException, OSError, StopIteration) as error:
            return self._fault(file, frame.start, frame.end, appended, f"the Arrow batch cannot be read: {error}")
        return Block(rows, self._path.name, frame.start, length, appended)

    def _head(self, start: int) -> bytes:
        """The schema and the dictionaries that count at byte `start`; a file may hold several streams in turn."""
        before = bisect_left(self._heads, start, key=lambda head: head.start)
        since = before
        while since and self._heads[since - 1].kind != "schema":
            since -= 1
        return b"".join(self._head_bytes[max(since - 1, 0) : before])

    def _fault(self, file: int, start: int, end: int, appended: float, reason: str) -> Line:
        raw = os.pread(file, min(end - start, _KEPT_BYTES), start)
        return Line(raw, self._path.name, start, end - start, appended, reason)
