"""Attributes of items or users from a file of the user's own, one row an id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from headwater.data.columns import WHOLE, find_column, parse_ids
from headwater.data.finding import Finding
from headwater.data.tables import Table, read_table
from headwater.data.vocabulary import Vocabulary
from headwater.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_COLUMNS = ("title", "category")
"""Always text, whatever the file's type: the rest of the package shows or groups by them."""
_PLAIN_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"


def read_attributes(
    path: Path | str, id_column: str, vocabulary: Vocabulary, *, add_new: bool = False
) -> tuple[Vocabulary, pa.Table]:
    """One row for each code, with the ids as the column `id`; ids that the file lacks get nulls.

    Parameters
    ----------
    add_new : bool
        Append ids that only this file has to the vocabulary, which is returned. Else they are left out.

    Raises
    ------
    SchemaError
        The file cannot be read, has no such column, lacks an id, has one id twice, has ids of another kind,
        shares no id with the events, or holds values that are not alike in a column, or no text in a title or
        category: file, row and column are named.
    """
    path = Path(path)
    table = read_table(path)
    if id_column not in table.names:
        raise SchemaError(str(find_column(table, id_column, "item or user id")))
    if id_column != "id" and "id" in table.names:
        raise SchemaError(f"{path}, column 'id': the ids are read from {id_column!r}. Rename or drop the column 'id'.")
    ids = parse_ids(table, id_column)
    if isinstance(ids, Finding):
        raise SchemaError(str(ids))
    if vocabulary.kind == "string" and ids.dtype.is_integer() and table.is_text:
        # A CSV file whose ids all look like numbers, beside events in which some do not.
        ids = table.frame[id_column]
    if (vocabulary.kind == "integer") != ids.dtype.is_integer():
        raise SchemaError(
            f"{table.place(None, id_column)}: the ids are {'integers' if ids.dtype.is_integer() else 'text'}, "
            f"those of the events are {vocabulary.kind} ids. Write both alike."
        )
    twice = ids.is_duplicated() & ~ids.is_first_distinct()
    if twice.any():
        row = int(twice.arg_true()[0])
        raise SchemaError(
            f"{table.place(row, id_column)}: {ids[row]!r} stands here again ({int(twice.sum()):,} such rows). "
            f"Keep one row for each id."
        )
    listed = ids.to_numpy() if ids.dtype.is_integer() else ids.to_list()
    if len(vocabulary) and not (vocabulary.encode(listed) >= 0).any():
        raise SchemaError(
            f"{table.place(None, id_column)}: no id here is among the {len(vocabulary):,} of the events. "
            f"Is it the right file and column?"
        )
    if add_new:
        vocabulary = vocabulary.extended(listed)
    known = pl.DataFrame({"id": pl.Series(vocabulary.ids, dtype=ids.dtype)})
    joined = known.join(_values(table, id_column, ids), on="id", how="left", maintain_order="left")
    return vocabulary, joined.to_arrow(compat_level=pl.CompatLevel.oldest())


def _values(table: Table, id_column: str, ids: pl.Series) -> pl.DataFrame:
    """All columns of the file, with the parsed ids as `id` in front."""
    for column, (row, what) in table.mixed.items():
        raise SchemaError(f"{table.place(row, column)}: {what}. Write the values of a column alike.")
    columns = [ids.alias("id")]
    for column in table.frame.drop(id_column):
        if column.name in TEXT_COLUMNS:
            column = _text(table, column)
        elif table.is_text:
            column = _numbers_in_text(column)
        columns.append(column)
    return pl.DataFrame(columns)


def _text(table: Table, column: pl.Series) -> pl.Series:
    """A title or category as text; numbers, dates and booleans as they print."""
    if table.is_text:
        return _empty_as_null(column)
    if not column.dtype.is_nested() and column.dtype != pl.Binary:
        try:
            return column.cast(pl.String)
        except pl.exceptions.PolarsError:
            pass  # No text can be made of the type, such as a duration.
    filled = column.is_not_null()
    if not filled.any():
        return pl.repeat(None, len(column), dtype=pl.String, eager=True).alias(column.name)
    row = int(filled.arg_true()[0])
    value = column[row]
    shown = value.to_list() if isinstance(value, pl.Series) else value
    raise SchemaError(
        f"{table.place(row, column.name)}: {shown!r} ({column.dtype}) where text is expected. "
        f"Write one {column.name} an id, and lists into a column of another name."
    )


def _numbers_in_text(column: pl.Series) -> pl.Series:
    """A column of a file without types: integers, decimals or booleans where every value is one, else text.

    A leading zero, as in a postal code, or a number beyond 64 bits makes it text.
    """
    text = _empty_as_null(column)
    if text.null_count() == len(text):
        return text
    if text.str.contains(WHOLE).all():
        whole = text.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == text.null_count() else text
    if text.str.contains(_PLAIN_DECIMAL).all():
        decimals = text.cast(pl.Float64)
        return decimals if decimals.is_finite().all() else text
    if text.is_in(["true", "false"]).all():
        return text == "true"
    return text


def _empty_as_null(column: pl.Series) -> pl.Series:
    return column.set(column == "", None)
