"""Any event file of the user's own (Parquet, CSV, TSV, JSONL) with a column mapping, as a `Dataset`.

Rules, all of them also in docs/data.md: ids are integers or text, never mixed; codes follow the order of first
appearance; times are whole Unix seconds, of which fractions only order events; an exact repetition (user, item,
time, behaviour) is dropped, the first kept; impressions are counted and kept out of the interactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater.config import Settings
from headwater.data.attributes import read_attributes
from headwater.data.columns import (
    find_column,
    parse_behaviours,
    parse_ids,
    parse_positions,
    parse_ratings,
    parse_times,
)
from headwater.data.dataset import Dataset
from headwater.data.finding import Finding
from headwater.data.schema import Behaviour, TimeUnit
from headwater.data.tables import read_table
from headwater.data.vocabulary import Vocabulary
from headwater.errors import SchemaError


class Columns(Settings):
    """Which column of the user's file is which.

    A column that is named here explicitly must be there; of the defaults, `behaviour` and `rating` may lack.
    """

    user: str = "user_id"
    """Integer or text ids of users."""
    item: str = "item_id"
    """Integer or text ids of items."""
    time: str = "timestamp"
    """Unix seconds or a Parquet date-time (UTC); with positions, the place in the user's history, from 0."""
    behaviour: str | None = "behaviour"
    """impression, click, cart or purchase, or words that a behaviour map translates; all are clicks without it."""
    rating: str | None = "rating"
    """A finite number; None leaves ratings out."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A data set and what was dropped on the way.

    Attributes
    ----------
    dataset : Dataset
    rows : int
        Events in the file.
    duplicates : int
        Exact repetitions, dropped.
    impressions : int
        Impressions, kept out of the interactions.
    has_fractions : bool
        Whether times had fractions of a second, which ordered events and were then dropped.
    """

    dataset: Dataset
    rows: int
    duplicates: int
    impressions: int
    has_fractions: bool


def read_events(
    path: Path | str,
    columns: Columns | None = None,
    *,
    name: str | None = None,
    time_unit: TimeUnit = "seconds",
    behaviours: Mapping[str, str] | None = None,
    items_file: Path | str | None = None,
    users_file: Path | str | None = None,
    every_item: bool = False,
) -> Imported:
    """Read an event file, one event a row.

    Parameters
    ----------
    path : path
        A .parquet, .csv, .tsv, .jsonl or .ndjson file.
    columns : Columns, optional
    name : str, optional
        Name of the data set; the file's name without its suffix by default.
    time_unit : "seconds" or "position"
        With "position", the column `columns.time` is read only where it was named explicitly; else the place of
        an interaction in its user's history is the order of the file.
    behaviours : mapping, optional
        From the file's words to impression, click, cart or purchase, such as {"buy": "purchase"}.
    items_file, users_file : path, optional
        Attributes, one row an id, under the same id column; ids without a row get nulls.
    every_item : bool
        Also add the items that only `items_file` knows, after all others. Users are never added so.

    Raises
    ------
    SchemaError
        Anything that does not fit; the message names file, row and column, and how many more problems there are.
    """
    table, findings = parse_events(path, columns, time_unit=time_unit, behaviours=behaviours)
    if table is None:
        more = f" ({len(findings) - 1} more: `headwater data check` lists all.)" if len(findings) > 1 else ""
        raise SchemaError(f"{findings[0]}{more}")
    return build(
        table,
        path,
        columns or Columns(),
        name=name or Path(path).stem,
        time_unit=time_unit,
        items_file=items_file,
        users_file=users_file,
        every_item=every_item,
    )


def parse_events(
    path: Path | str,
    columns: Columns | None = None,
    *,
    time_unit: TimeUnit = "seconds",
    behaviours: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame | None, list[Finding]]:
    """The file's events as columns user, item, time, exact_time, behaviour, rating; or else every error in them.

    Raises `SchemaError` where the file cannot be read as a table at all.
    """
    columns = columns or Columns()
    has_time = time_unit == "seconds" or "time" in columns.model_fields_set
    roles = {"user": True, "item": True, "time": has_time, "behaviour": False, "rating": False}
    wanted = {role: column for role in roles if (column := getattr(columns, role)) and (role != "time" or has_time)}
    table = read_table(path, set(wanted.values()))
    findings: list[Finding] = []
    present: dict[str, str] = {}
    for role, column in wanted.items():
        if column in table.names:
            present[role] = column
        elif roles[role] or role in columns.model_fields_set:
            findings.append(find_column(table, column, role))
    # A column that is missing or mixed has no frame entry, and what stands there counts no rows.
    if not findings and not table.mixed and not table.frame.height:
        findings.append(Finding("error", str(path), "the file has a header and no event", "Write events into it"))
    parsers = {
        "user": parse_ids,
        "item": parse_ids,
        "time": parse_times if time_unit == "seconds" else parse_positions,
        "behaviour": lambda table, column: parse_behaviours(table, column, behaviours or {}),
        "rating": parse_ratings,
    }
    parsed: dict[str, pl.Series] = {}
    for role, column in present.items():
        result = parsers[role](table, column)
        if isinstance(result, Finding):
            findings.append(result)
        else:
            parsed[role] = result
    if findings:
        return None, findings
    exact = parsed.get("time", pl.zeros(table.frame.height, pl.Int64, eager=True))
    clicks = pl.repeat(int(Behaviour.CLICK), table.frame.height, dtype=pl.Int8, eager=True)
    frame = pl.DataFrame(
        {
            "user": parsed["user"],
            "item": parsed["item"],
            "time": exact.floor().cast(pl.Int64) if exact.dtype.is_float() else exact,
            "exact_time": exact,
            "behaviour": parsed.get("behaviour", clicks),
        }
    )
    if "rating" in parsed:
        frame = frame.with_columns(rating=parsed["rating"])
    if (frame["behaviour"] == int(Behaviour.IMPRESSION)).all():
        found = Finding("error", str(path), "holds only impressions", "Nothing can be learned without one interaction")
        return None, [found]
    return frame, []


def build(
    events: pl.DataFrame,
    path: Path | str,
    columns: Columns,
    *,
    name: str,
    time_unit: TimeUnit,
    items_file: Path | str | None,
    users_file: Path | str | None,
    every_item: bool,
) -> Imported:
    """The data set of what `parse_events` returned. Raises `SchemaError` on an attribute file that does not fit."""
    rows = events.height
    order_is_time = time_unit == "position" and "time" not in columns.model_fields_set
    # Without times a repeated row is a repeated interaction, not a copy of one.
    key = ["user", "item", "time", "behaviour"]
    kept = events if order_is_time else events.unique(subset=key, keep="first", maintain_order=True)
    interactions = kept.filter(pl.col("behaviour") > int(Behaviour.IMPRESSION))
    users, items = vocabulary_of(interactions["user"]), vocabulary_of(interactions["item"])
    item_attributes = user_attributes = None
    if items_file is not None:
        items, item_attributes = read_attributes(items_file, columns.item, items, add_new=every_item)
    if users_file is not None:
        users, user_attributes = read_attributes(users_file, columns.user, users)
    if order_is_time:
        interactions = interactions.with_columns(time=pl.int_range(pl.len(), dtype=pl.Int64).over("user"))
    elif interactions["exact_time"].dtype.is_float():
        interactions = interactions.sort("exact_time", maintain_order=True)
    rating = interactions["rating"].to_numpy() if "rating" in interactions.columns else None
    dataset = Dataset.from_events(
        name,
        users,
        items,
        event_users=_codes(interactions["user"], users),
        event_items=_codes(interactions["item"], items),
        event_times=interactions["time"].to_numpy(),
        event_behaviours=interactions["behaviour"].to_numpy(),
        event_ratings=rating,
        item_attributes=item_attributes,
        user_attributes=user_attributes,
        time_unit=time_unit,
    )
    return Imported(
        dataset=dataset,
        rows=rows,
        duplicates=rows - kept.height,
        impressions=kept.height - interactions.height,
        has_fractions=bool((events["exact_time"] != events["time"]).any()),
    )


def vocabulary_of(ids: pl.Series) -> Vocabulary:
    """The distinct ids of an integer or text column, in order of first appearance."""
    distinct = ids.unique(maintain_order=True)
    return Vocabulary(distinct.to_numpy() if distinct.dtype.is_integer() else distinct.to_list())


def _codes(ids: pl.Series, vocabulary: Vocabulary) -> np.ndarray:
    return vocabulary.encode(ids.to_numpy() if ids.dtype.is_integer() else ids.to_list())
