"""Where the messages of an Arrow IPC stream begin and end, found without reading what they hold.

pyarrow reads a stream from its beginning and cannot be told to come back later, so a log that grows needs to know by
itself which of its messages are whole. The encapsulated message format: a mark of four 0xFF bytes, the length of the
metadata (int32), the metadata (a flatbuffer `Message`), and a body whose length the metadata state.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Literal

_PREFIX = struct.Struct("<4si")
_MARK = b"\xff\xff\xff\xff"
_KINDS: dict[int, Literal["schema", "dictionary", "batch"]] = {1: "schema", 2: "dictionary", 3: "batch"}
_MAX_METADATA = 16 << 20
_MAX_BODY = 1 << 40
"""More is damage: nobody is going to finish that message."""

# Places in the tables Message and RecordBatch of Arrow's Message.fbs.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_ROWS = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes
    ----------
    kind : str
        ``end`` is the mark that a closed stream ends with, ``fault`` a place where no message begins.
    start, end : int
        Bytes of the file; a fault's end is unknown, and its start.
    rows : int
        Of a batch; else 0.
    """

    kind: Literal["schema", "dictionary", "batch", "end", "fault"]
    start: int
    end: int
    rows: int = 0


def frame_at(file: int, start: int, size: int) -> Frame | None:
    """The message that begins at byte `start` of a file descriptor; None while it is not whole.

    Parameters
    ----------
    file : int
        A file descriptor open for reading.
    start, size : int
        Bytes; nothing at or behind `size` is looked at.
    """
    if start + _PREFIX.size > size:
        return None
    mark, length = _PREFIX.unpack(os.pread(file, _PREFIX.size, start))
    body_at = start + _PREFIX.size + length
    if mark != _MARK or not 0 <= length <= _MAX_METADATA or body_at % 8 != start % 8:
        return Frame("fault", start, start)
    if length == 0:
        return Frame("end", start, body_at)
    if body_at > size:
        return None
    try:
        kind, body_length, rows = _parse(os.pread(file, length, start + _PREFIX.size))
    except (struct.error, KeyError, ValueError):
        return Frame("fault", start, start)
    end = body_at + body_length
    return Frame(kind, start, end, rows) if end <= size else None


def _parse(metadata: bytes) -> tuple[Literal["schema", "dictionary", "batch"], int, int]:
    """Kind, body length and rows. Raises where the metadata are no `Message`."""
    (message,) = struct.unpack_from("<I", metadata, 0)
    kind = _KINDS[_number(metadata, message, _HEADER_TYPE, "<B")]
    body_length = _number(metadata, message, _BODY_LENGTH, "<q")
    rows = 0
    if kind == "batch":
        at = _place(metadata, message, _HEADER)
        (offset,) = struct.unpack_from("<I", metadata, at)
        rows = _number(metadata, at + offset, _ROWS, "<q")
    if not 0 <= body_length <= _MAX_BODY or rows < 0:
        raise ValueError
    return kind, body_length, rows


def _number(metadata: bytes, table: int, field: int, layout: str) -> int:
    """A number of a flatbuffer table; 0 where it is left out."""
    at = _place(metadata, table, field)
    return struct.unpack_from(layout, metadata, at)[0] if at else 0


def _place(metadata: bytes, table: int, field: int) -> int:
    """Where a field of a table lies; 0 where it is left out."""
    (back,) = struct.unpack_from("<i", metadata, table)
    vtable = table - back
    if vtable < 0:  # struct would count it from the end
        raise ValueError
    (vtable_size,) = struct.unpack_from("<H", metadata, vtable)
    entry = 4 + 2 * field
    if entry + 2 > vtable_size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, vtable + entry)
    return table + offset if offset else 0
