"""Attributes of items or users from a file of the user's own, one row an id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from headwater.data.columns import find_column, parse_ids
from headwater.data.finding import Finding
from headwater.data.tables import SEPARATORS, read_table
from headwater.data.vocabulary import Vocabulary
from headwater.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_COLUMNS = ("title", "category")
"""Always text, whatever the file's type: the rest of the package shows or groups by them."""


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
        The file cannot be read, has no such column, lacks an id, has one id twice, has ids of another kind, or
        shares no id with the events.
    """
    path = Path(path)
    table = read_table(path, {id_column})
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
    joined = known.join(_values(path, id_column, ids), on="id", how="left", maintain_order="left")
    return vocabulary, joined.to_arrow(compat_level=pl.CompatLevel.oldest())


def _values(path: Path, id_column: str, ids: pl.Series) -> pl.DataFrame:
    """All columns of the file, with the parsed ids as `id` in front."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
        elif suffix in SEPARATORS:
            text = {name: pl.String for name in (id_column, *TEXT_COLUMNS)}
            frame = pl.read_csv(path, separator=SEPARATORS[suffix], infer_schema_length=None, schema_overrides=text)
        else:
            frame = pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    frame = frame.filter(pl.col(id_column).is_not_null()).drop(id_column)
    texts = [pl.col(name).cast(pl.String) for name in TEXT_COLUMNS if name in frame.columns]
    return frame.with_columns(texts).insert_column(0, ids.alias("id"))
