"""A user's own file as a table: Parquet, CSV, TSV or JSONL, with the place of every row for messages.

Text columns of CSV and TSV stay text here: only the meaning of a column, which this file does not know,
says whether "007" is a number.
"""

from __future__ import annotations

import csv
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from headwater.errors import SchemaError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """Columns of one file, or of a folder of Parquet files, such as one for each day, one after another.

    Attributes
    ----------
    path : Path
    names : tuple of str
        All columns that the file has.
    frame : polars.DataFrame
        The wanted ones among them.
    mixed : dict of str to (int, str)
        JSONL columns whose values are of several types: the first row (from 0) that differs, and how.
        Such a column is not in `frame`.
    lines : list of int, or None
        The file's line of each row, where that is not simply row + first line.
    parts : tuple of (Path, int)
        The files of a folder, and the first row of each.
    """

    path: Path
    names: tuple[str, ...]
    frame: pl.DataFrame
    mixed: dict[str, tuple[int, str]] = field(default_factory=dict)
    lines: list[int] | None = None
    parts: tuple[tuple[Path, int], ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the file's format has no types, so that every column is text."""
        return self.path.suffix.lower() in SEPARATORS

    def place(self, row: int | None = None, column: str | None = None) -> str:
        """`events.csv, line 5, column 'rating'`: lines of the file (1-based, header included), Parquet rows from 1."""
        path, is_parquet = self.path, bool(self.parts) or self.path.suffix.lower() == ".parquet"
        if row is not None and self.parts:
            path, first = self.parts[bisect_right([first for _, first in self.parts], row) - 1]
            row -= first
        parts = [str(path)]
        if row is not None:
            parts.append(f"row {row + 1}" if is_parquet else f"line {self._line(row)}")
        if column is not None:
            parts.append(f"column {column!r}")
        return ", ".join(parts)

    def _line(self, row: int) -> int:
        if self.lines is not None:
            return self.lines[row]
        if self.is_text:
            # Quoted fields may hold line ends, so only reading again tells the line; this happens in messages alone.
            return next(line for at, (line, _) in enumerate(_csv_records(self.path)) if at == row + 1)
        return row + 1


def read_table(path: Path | str, wanted: Collection[str] | None = None) -> Table:
    """Read the columns of `path` that are `wanted`; those it lacks are simply not there.

    By default all columns are read, and those of a JSONL file may then hold booleans, lists and objects too. Parquet
    files of a folder are read in the order of their names, as one.

    Raises
    ------
    SchemaError
        No such file, an unknown type, an empty or truncated file, text that is not UTF-8, a row with another
        number of fields than the header, or a line that is no JSON object: each with its line. Where all columns
        of a JSONL file are read, NaN and Infinity, which JSON does not have, are refused with line and column.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, wanted)
    if not path.is_file():
        raise SchemaError(f"{path}: there is no such file. Give the path of one {', '.join(SUFFIXES)} file.")
    if path.suffix.lower() not in SUFFIXES:
        raise SchemaError(
            f"{path}: unknown file type {path.suffix or '(no suffix)'!r}. Known are {', '.join(SUFFIXES)}; "
            f"unpack an archive, or rename the file by what it holds."
        )
    if not os.access(path, os.R_OK):
        raise SchemaError(f"{path}: may not be read. Grant yourself the right to: chmod u+r.")
    if not path.stat().st_size:
        raise SchemaError(f"{path}: the file is empty. Write the events into it first, one a row.")
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, wanted)
    if path.suffix.lower() in SEPARATORS:
        return _read_csv(path, wanted)
    return _read_jsonl_whole(path) if wanted is None else _read_jsonl(path, wanted)


def _among(names: Collection[str], wanted: Collection[str] | None) -> list[str]:
    return [name for name in names if wanted is None or name in wanted]


# -- Parquet


def _read_parquet(path: Path, wanted: Collection[str] | None) -> Table:
    try:
        names = tuple(pl.read_parquet_schema(path))
        frame = pl.read_parquet(path, columns=_among(names, wanted))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SchemaError(
            f"{path}: this is not a whole Parquet file ({_first_line(error)}). It may be truncated: copy it again."
        ) from error
    return Table(path, names, frame)


def _read_folder(folder: Path, wanted: Collection[str] | None) -> Table:
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise SchemaError(
            f"{folder}: is a folder without Parquet files. Give the path of one {', '.join(SUFFIXES)} file, "
            f"or a folder of .parquet files."
        )
    tables = [read_table(path, wanted) for path in paths]
    first = tables[0]
    for table in tables[1:]:
        for name, kind in first.frame.schema.items():
            if table.frame.schema.get(name) != kind:
                found = table.frame.schema.get(name, "not there")
                raise SchemaError(f"{table.path}, column {name!r}: is {found}, and in {first.path} it is {kind}.")
    heights = [0, *(table.frame.height for table in tables)]
    starts = [sum(heights[: at + 1]) for at in range(len(tables))]
    frame = pl.concat([table.frame.select(first.frame.columns) for table in tables])
    return Table(folder, first.names, frame, parts=tuple(zip(paths, starts, strict=True)))


# -- CSV and TSV


def _read_csv(path: Path, wanted: Collection[str] | None) -> Table:
    separator = SEPARATORS[path.suffix.lower()]
    try:
        names = _csv_header(path)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SchemaError(f"{path}, line 1: two columns are named {twice!r}. Rename one of them.")
        frame = pl.read_csv(path, separator=separator, infer_schema=False, columns=_among(names, wanted))
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error) as error:
        _refuse_bad_text(path)
        _refuse_ragged(path, strict=True)
        raise SchemaError(f"{path}: cannot be read as {path.suffix[1:].upper()}: {_first_line(error)}.") from error
    # A row with too few fields and a blank line both read as nulls: only looking at the text tells them apart.
    if frame.height and any(frame.null_count().row(0)):
        blank = _refuse_ragged(path)
        if blank:
            records = [line for line, _ in _csv_records(path)][1:]
            keep = [at for at, line in enumerate(records) if line not in blank]
            return Table(path, tuple(names), frame[keep], lines=[records[at] for at in keep])
    return Table(path, tuple(names), frame)


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next((row for row in csv.reader(file, delimiter=SEPARATORS[path.suffix.lower()]) if row), [])


def _csv_records(path: Path, *, strict: bool = False) -> Iterator[tuple[int, int]]:
    """(first line, number of fields) of every record from the header on; 0 fields is a blank line.

    Where `strict`, a wrong or unclosed quote raises `csv.Error`.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=SEPARATORS[path.suffix.lower()], strict=strict)
        line, started = 1, False
        for row in reader:
            started = started or bool(row)
            if started:
                yield line, len(row)
            line = reader.line_num + 1


def _refuse_ragged(path: Path, *, strict: bool = False) -> set[int]:
    """Raise on the first record whose number of fields differs from the header's; return the blank lines."""
    blank = set()
    line = width = 0
    try:
        for line, fields in _csv_records(path, strict=strict):
            width = width or fields
            if not fields:
                blank.add(line)
            elif fields != width:
                raise SchemaError(
                    f"{path}, line {line}: {fields} fields where the header has {width} columns. "
                    f"Quote fields that hold the separator, and fill missing ones."
                )
    except csv.Error as error:
        raise SchemaError(
            f"{path}, after line {line}: {error}. Is a quote opened there and never closed? Double quotes in fields."
        ) from error
    return blank


def _refuse_bad_text(path: Path) -> None:
    """Raise on the first line that is not UTF-8, or that holds a NUL."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise SchemaError(f"{path} is UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8.") from error
                raise SchemaError(
                    f"{path}, line {number}: byte 0x{line[error.start]:02x} at {error.start + 1} is not UTF-8. "
                    f"Convert the file: iconv -f LATIN1 -t UTF-8 (or from the encoding it was written in)."
                ) from error
            if "\0" in text:
                raise SchemaError(f"{path}, line {number}: holds a NUL byte. Convert the file to UTF-8 text.")


# -- JSONL


def _read_jsonl(path: Path, wanted: Collection[str]) -> Table:
    names = _jsonl_names(path)
    fields = list(wanted)
    # Only the wanted fields of each line are decoded into Python values.
    slots = [f"c{at}" for at in range(len(fields))]
    record = msgspec.defstruct(
        "Event", [(slot, Any, None) for slot in slots], rename=dict(zip(slots, fields, strict=True)), gc=False
    )
    decoder = msgspec.json.Decoder(record)
    records, lines = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                records.append(decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                records.append(record(*_lenient(path, number, line, fields, error)))
            lines.append(number)
    columns: dict[str, pl.Series] = {}
    mixed: dict[str, tuple[int, str]] = {}
    for slot, name in zip(slots, fields, strict=True):
        values = [getattr(event, slot) for event in records]
        if name not in names and all(value is None for value in values):
            continue
        names.setdefault(name)
        series = _typed(values)
        if isinstance(series, pl.Series):
            columns[name] = series
        else:
            mixed[name] = series
    return Table(path, tuple(names), pl.DataFrame(columns), mixed, lines if lines and lines[-1] != len(lines) else None)


def _read_jsonl_whole(path: Path) -> Table:
    """Every column of every line, of whatever type, in the order in which the columns first appear."""
    _jsonl_names(path)
    decoder = msgspec.json.Decoder(dict[str, Any])
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                records.append(decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise _not_json(path, number, line, error) from error
            lines.append(number)
    names = dict.fromkeys(name for record in records for name in record)
    columns: dict[str, pl.Series] = {}
    mixed: dict[str, tuple[int, str]] = {}
    for name in names:
        values = [record.get(name) for record in records]
        plain = all(value is None or type(value) in (str, int, float) for value in values)
        series = _typed(values) if plain else _inferred(values)
        if isinstance(series, pl.Series):
            columns[name] = series
        else:
            mixed[name] = series
    return Table(path, tuple(names), pl.DataFrame(columns), mixed, lines if lines[-1] != len(lines) else None)


def _not_json(path: Path, number: int, line: bytes, error: Exception) -> SchemaError:
    """What to say of a line that could not be decoded: the column that holds NaN or Infinity, or the parser's word."""
    for name, value in _object(path, number, line).items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            return SchemaError(
                f"{path}, line {number}, column {name!r}: NaN or Infinity, which JSON does not have. "
                f"Write null, or a finite number."
            )
    return SchemaError(f"{path}, line {number}: not a JSON object ({error}). Every line must hold one whole object.")


def _jsonl_names(path: Path) -> dict[str, None]:
    """The keys of the first object, in order."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.isspace():
                return dict.fromkeys(_object(path, number, line))
    raise SchemaError(f"{path}: the file holds only blank lines. Write the events into it first, one a line.")


def _lenient(path: Path, number: int, line: bytes, fields: list[str], error: Exception) -> list[Any]:
    """The fields of a line that is JSON but for NaN or Infinity, which Python's own writer lets through."""
    if b"NaN" not in line and b"Infinity" not in line:
        raise SchemaError(
            f"{path}, line {number}: not a JSON object ({error}). Every line must hold one whole object."
        ) from error
    found = _object(path, number, line)
    return [found.get(name) for name in fields]


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
        # Half a surrogate pair can be escaped in JSON, but is no text.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SchemaError(
            f"{path}, line {number}: not a JSON object ({error}). Every line must hold one whole object."
        ) from error
    if not isinstance(found, dict):
        raise SchemaError(f"{path}, line {number}: a JSON {type(found).__name__} where one object is expected.")
    return found


def _typed(values: list[Any]) -> pl.Series | tuple[int, str]:
    """A series of one type, or the first row whose type differs from the first value's."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds or kinds == {str}:
        return pl.Series(values, dtype=pl.String)
    if kinds <= {int, float}:
        try:
            return pl.Series(values, dtype=pl.Int64 if kinds == {int} else pl.Float64)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            row = next(
                at for at, value in enumerate(values) if isinstance(value, int) and not -(2**63) <= value < 2**63
            )
            return row, f"{values[row]} does not fit 64 bits"
    first = next(value for value in values if value is not None)
    plain = type(first) in (int, float, str)
    row = next(
        at for at, value in enumerate(values) if value is not None and (not plain or type(value) is not type(first))
    )
    if not plain:
        return row, f"{values[row]!r} is {_JSON_NAMES.get(type(first), 'neither a number nor text')}"
    what = _JSON_NAMES.get(type(values[row]), "neither a number nor text")
    return row, f"{values[row]!r} is {what}, while {first!r} before it is {_JSON_NAMES[type(first)]}"


def _inferred(values: list[Any]) -> pl.Series | tuple[int, str]:
    """A series of booleans, lists or objects, or the first row that does not fit the rows before it."""
    import pyarrow as pa

    def fault(n: int) -> str:
        """Why the first n values are not of one type; empty where they are."""
        try:
            kind = pa.array(values[:n]).type
        except (pa.ArrowException, OverflowError, TypeError) as error:
            return _first_line(error)
        # Parquet cannot hold it.
        return "an object without any key" if "struct<>" in str(kind) else ""

    if not fault(len(values)):
        # Polars reads an Arrow array of one type as it is; from Python values it would guess again.
        return pl.Series(pl.from_arrow(pa.array(values)))
    row = bisect_left(range(1, len(values) + 1), True, key=lambda n: bool(fault(n)))
    return row, f"{values[row]!r} does not fit the rows before it: {fault(row + 1)}"


_JSON_NAMES = {int: "an integer", float: "a decimal", str: "text", bool: "a boolean"}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
