"""Single files of rank logs: every record checked, and one form turned into another.

The stream reads what it needs; here all of a record is looked at, with the place of what is wrong.
"""

# pyright: basic
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from headwater.errors import SchemaError
from headwater.nearline.records import MAX_LINE, Record, Visit, decode_line, encode_line
from headwater.nearline.sources.base import Block, Line

if TYPE_CHECKING:
    import pyarrow as pa

LINES, STREAM, FILE = (".jsonl", ".ndjson"), (".arrows",), (".arrow",)
"""What a file's name ends in: JSON Lines, an Arrow IPC stream, an Arrow IPC file."""

_KEPT = 20
_ROWS = 1_000
_POLL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Bad:
    """One record, or a stretch of a file, that cannot be read: where it is, and why."""

    place: str
    reason: str


@dataclass(slots=True)
class Checked:
    """What a file holds.

    Attributes
    ----------
    visits, events, items : int
        Good records, and the items of the visits.
    bad : int
    first : list of Bad
        The first 20 of those.
    """

    visits: int = 0
    events: int = 0
    items: int = 0
    bad: int = 0
    first: list[Bad] = field(default_factory=list)

    def add(self, found: Record | Bad) -> None:
        """Count one more."""
        if isinstance(found, Bad):
            self.bad += 1
            if len(self.first) < _KEPT:
                self.first.append(found)
        elif isinstance(found, Visit):
            self.visits += 1
            self.items += len(found.items)
        else:
            self.events += 1


def validate(path: Path, *, told: Callable[[int], None] | None = None) -> Checked:
    """Check every record of a file. `told` is called with how many bytes are done. Raises as `records` does."""
    checked = Checked()
    for found in records(path, told=told):
        checked.add(found)
    return checked


def convert(
    path: Path,
    to: Path,
    *,
    columnar: bool = False,
    skip_bad: bool = False,
    told: Callable[[int], None] | None = None,
) -> Checked:
    """Write the records of one file in the form that the other one's name asks for; the same records in the same order.

    `to` is there whole or not at all: where a record is bad and `skip_bad` is not set, it is not written.

    Parameters
    ----------
    path, to : Path
        `to` ends in ``.jsonl`` or ``.arrows``, and is not there yet.
    columnar : bool
        Of JSON Lines: visits by columns, see `VisitColumns`.
    skip_bad : bool
        Leave bad records out.
    told : callable, optional
        Called with how many bytes of `path` are done.

    Raises
    ------
    SchemaError
        As `records` does, or `to` is there, or is named otherwise.
    OSError
        `to` cannot be written.
    """
    if to.exists():
        raise SchemaError(f"{to} is there already: move it away, or choose another name")
    if to.suffix not in (*LINES, *STREAM):
        raise SchemaError(f"{to}: a rank log is written as .jsonl or .arrows, by the end of its name")
    checked = Checked()
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            good = _counted(records(path, told=told), checked)
            if to.suffix in STREAM:
                _write_stream(good, file)
            else:
                for record in good:
                    file.write(encode_line(record, columnar=columnar))
            file.flush()
            os.fsync(file.fileno())
        if skip_bad or not checked.bad:
            partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return checked


def records(path: Path, *, told: Callable[[int], None] | None = None) -> Iterator[Record | Bad]:
    """The records of a file in order, and what stands between them that is none.

    Raises `SchemaError` where the file is not there, is of no known kind, or is no Arrow file at all.
    """
    if not path.is_file():
        hint = f"; name the files in it, such as {path}/*.jsonl" if path.is_dir() else ""
        raise SchemaError(f"{path} is no file{hint}")
    if path.suffix in LINES:
        return _of_lines(path, told)
    if path.suffix in STREAM:
        return _of_stream(path, told)
    if path.suffix in FILE:
        return _of_arrow_file(path, told)
    raise SchemaError(f"{path}: a rank log ends in {', '.join((*LINES, *STREAM, *FILE))}")


# -- reading


def _of_lines(path: Path, told: Callable[[int], None] | None) -> Iterator[Record | Bad]:
    appended = path.stat().st_mtime
    with path.open("rb") as file:
        number = done = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            length = len(raw) + (0 if raw.endswith(b"\n") else _rest_of_line(file))
            place = f"{path}:{number}"
            if length > MAX_LINE:
                yield Bad(place, f"the line has {length} bytes; at most {MAX_LINE} are read")
            elif not raw.endswith(b"\n"):
                yield Bad(place, "the last line has no newline: a stream waits for it to be finished")
            else:
                try:
                    yield decode_line(raw, appended=appended)
                except SchemaError as error:
                    yield Bad(place, str(error))
            done += length
            if told is not None:
                told(done)


def _rest_of_line(file: BinaryIO) -> int:
    """Bytes up to the end of the line, which are read and let go."""
    length = 0
    while rest := file.readline(1 << 20):
        length += len(rest)
        if rest.endswith(b"\n"):
            break
    return length


def _of_stream(path: Path, told: Callable[[int], None] | None) -> Iterator[Record | Bad]:
    from headwater.nearline.sources.blocks import StreamFile

    stream, found = StreamFile(path), path.stat()
    at = 0
    while True:
        lines: list[Line] = []
        blocks: list[Block] = []
        end = stream.read(at, found.st_size, 1, _POLL_BYTES, found.st_mtime, lines, blocks)
        yield from (Bad(f"{path}, byte {line.offset}", line.fault) for line in lines)
        for block in blocks:
            yield from _of_rows(block.rows, block.appended, f"{path}, byte {block.offset}")
        if told is not None:
            told(end)
        if end == at:
            break
        at = end
    if at < found.st_size:
        reason = f"the last {found.st_size - at} bytes are no whole batch: a stream waits for the rest"
        yield Bad(f"{path}, byte {at}", reason)


def _of_arrow_file(path: Path, told: Callable[[int], None] | None) -> Iterator[Record | Bad]:
    import pyarrow as pa

    found = path.stat()
    with path.open("rb") as file:
        try:
            reader = pa.ipc.open_file(file)
        except (pa.ArrowException, OSError) as error:
            raise SchemaError(f"{path} is no Arrow IPC file: {error}; a stream's file ends in .arrows") from error
        n = reader.num_record_batches
        for number in range(n):
            try:
                rows = reader.get_batch(number)
                rows.validate(full=True)
            except (pa.ArrowException, OSError) as error:
                yield Bad(f"{path}, batch {number}", f"the Arrow batch cannot be read: {error}")
                continue
            yield from _of_rows(rows, found.st_mtime, f"{path}, batch {number}")
            if told is not None:
                told(found.st_size * (number + 1) // n)


def _of_rows(rows: pa.RecordBatch, appended: float, place: str) -> Iterator[Record | Bad]:
    from headwater.nearline.arrow import decode_batch, to_records

    try:
        refused = dict(decode_batch(rows, appended=appended).refused)
    except SchemaError as error:
        yield Bad(place, str(error))
        return
    for row in range(rows.num_rows):
        if row in refused:
            yield Bad(f"{place}, row {row}", refused[row])
            continue
        try:
            yield from to_records(rows.slice(row, 1))
        except SchemaError as error:
            yield Bad(f"{place}, row {row}", str(error).removeprefix("row 0: "))


# -- writing


def _counted(found: Iterable[Record | Bad], checked: Checked) -> Iterator[Record]:
    for one in found:
        checked.add(one)
        if not isinstance(one, Bad):
            yield one


def _write_stream(good: Iterable[Record], file: BinaryIO) -> None:
    import pyarrow as pa

    from headwater.nearline.arrow import SCHEMA, to_batch

    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(file, SCHEMA, options=options) as writer:
        held: list[Record] = []
        for record in good:
            held.append(record)
            if len(held) == _ROWS:
                writer.write_batch(to_batch(held))
                held = []
        if held:
            writer.write_batch(to_batch(held))
