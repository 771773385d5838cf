"""What the values of one column mean: ids, times, behaviours, ratings; or the first one that means nothing.

Every parser returns a clean column, or one error `Finding` that names the first bad row and how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

import polars as pl

from headwater.data.finding import Finding
from headwater.data.schema import BEHAVIOURS, LATEST_TIME, Behaviour
from headwater.data.tables import Table

# "007" and "+7" are not here: as integers they would not come back as they were.
WHOLE = r"^(0|-?[1-9][0-9]*)$"
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
EXACT_FLOAT = 2**53


def find_column(table: Table, column: str, role: str) -> Finding:
    """The error of a missing column, which names the nearest that is there."""
    near = get_close_matches(column, table.names, n=1, cutoff=0.0)
    present = ", ".join(repr(name) for name in table.names[:12]) + (" …" if len(table.names) > 12 else "")
    return Finding(
        "error",
        str(table.path),
        f"there is no column {column!r} for the {role}" + (f" (the nearest is {near[0]!r})" if near else ""),
        f"The file has {present or 'none'}: name the right one with --{role} or Columns({role}=…)",
    )


def parse_ids(table: Table, column: str) -> pl.Series | Finding:
    """Int64 where every id is a plain integer, else text. Whole decimals such as 7.0 become integers."""
    if column in table.mixed:
        row, what = table.mixed[column]
        return _error(table, row, column, what, "Write every id of the column as an integer, or every one as text")
    ids = table.frame[column]
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        ids = ids.cast(pl.String)
    missing = ids.is_null() | (ids == "" if ids.dtype == pl.String else ids.is_nan() if ids.dtype.is_float() else False)
    if bad := _first(table, column, missing, "no id", "Fill it, or leave the row out"):
        return bad
    if ids.dtype == pl.String:
        return _integers_in_text(table, column, ids) if table.is_text else ids
    if ids.dtype.is_float():
        fraction = ~ids.is_finite() | (ids != ids.floor())
        if bad := _first(table, column, fraction, "{} is no whole number", "Ids are integers or text"):
            return bad
        if bad := _first(
            table, column, ids.abs() > EXACT_FLOAT, "{} is beyond what a decimal holds exactly", "Use text"
        ):
            return bad
        return ids.cast(pl.Int64)
    if ids.dtype.is_integer():
        whole = ids.cast(pl.Int64, strict=False)
        return _first(table, column, whole.is_null(), "{} does not fit 64 bits", "Give such ids as text") or whole
    return Finding("error", table.place(None, column), f"ids are {ids.dtype}", "Write them as integers or as text")


def _integers_in_text(table: Table, column: str, ids: pl.Series) -> pl.Series | Finding:
    if ids.str.contains(WHOLE).all():
        whole = ids.cast(pl.Int64, strict=False)
        return ids if whole.null_count() else whole
    if ids.str.contains(DECIMAL).all() and not ids.str.contains(r"^-?0[0-9]").any():
        # A file written from decimals: the ids were integers once ("7.0"), unless one has a true fraction.
        fraction = ~ids.str.contains(WHOLE) & ~ids.str.contains(r"\.0+$")
        if bad := _first(table, column, fraction, "{} is no whole number", "Ids are integers or text"):
            return bad
        return ids.str.replace(r"\.0+$", "").cast(pl.Int64)
    return ids


def parse_times(table: Table, column: str) -> pl.Series | Finding:
    """Unix seconds: Int64, or Float64 where some have a fraction. Naive date-times are taken as UTC."""
    if column in table.frame.columns and table.frame[column].dtype.is_temporal():
        moments = table.frame[column]
        if not isinstance(moments.dtype, pl.Date | pl.Datetime):
            return Finding("error", table.place(None, column), f"holds {moments.dtype}", "Give Unix seconds")
        if bad := _first(table, column, moments.is_null(), "no time", "Fill it, or leave the row out"):
            return bad
        times = moments.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    else:
        times = _numbers(table, column, "Give Unix seconds, such as 978300760")
        if isinstance(times, Finding):
            return times
    if bad := _first(table, column, times < 0, "{} is negative", "Times are Unix seconds, from 1970 on"):
        return bad
    late = times > LATEST_TIME
    if late.any():
        value = float(times.filter(late)[0])
        unit, factor = next(
            ((unit, factor) for unit, factor in _FINER if LATEST_TIME / 100 < value / factor <= LATEST_TIME),
            ("no time", 0),
        )
        advice = f"It looks like {unit}: divide by {factor:,}" if factor else "Give Unix seconds"
        return _first(table, column, late, "{} is after the year 2100", advice) or times
    whole = times == times.floor() if times.dtype.is_float() else None
    return times.cast(pl.Int64) if whole is not None and whole.all() else times


_FINER = (("milliseconds", 1_000), ("microseconds", 1_000_000), ("nanoseconds", 1_000_000_000))


def parse_positions(table: Table, column: str) -> pl.Series | Finding:
    """Places in a history: whole numbers from 0, Int64."""
    places = _numbers(table, column, "Give whole numbers from 0")
    if isinstance(places, Finding):
        return places
    bad = _first(
        table,
        column,
        (places < 0) | (places != places.floor()) | (places > EXACT_FLOAT),
        "{} is no position",
        "Give whole numbers from 0",
    )
    return bad or places.cast(pl.Int64)


def parse_ratings(table: Table, column: str) -> pl.Series | Finding:
    """Finite numbers, Float32. Missing, NaN and infinite ratings are refused, not guessed."""
    advice = "Fill it, leave the row out, or leave ratings out with --rating ''"
    ratings = _numbers(table, column, advice)
    if isinstance(ratings, Finding):
        return ratings
    single = ratings.cast(pl.Float32)
    return _first(table, column, ~single.is_finite(), "{} is too great a number", advice) or single


def parse_behaviours(table: Table, column: str, words: Mapping[str, str]) -> pl.Series | Finding:
    """`Behaviour` values, Int8: our own words in any case, or the user's, translated by `words`."""
    for theirs, ours in words.items():
        if ours not in BEHAVIOURS:
            near = get_close_matches(ours, BEHAVIOURS, n=1, cutoff=0.0)[0]
            what = f"{theirs!r} is mapped to the unknown behaviour {ours!r} (the nearest is {near!r})"
            return Finding("error", table.place(None, column), what, f"Map to one of {', '.join(BEHAVIOURS)}")
    if column in table.mixed:
        return _error(table, table.mixed[column][0], column, table.mixed[column][1], "Write every behaviour as text")
    found = table.frame[column].cast(pl.String)
    known: dict[str | None, int] = {}
    for word in found.unique().drop_nulls():
        ours = words.get(word, word.strip().lower())
        if ours in BEHAVIOURS:
            known[word] = int(Behaviour[ours.upper()])
    codes = found.replace_strict(known, default=None, return_dtype=pl.Int8)
    unknown = codes.is_null()
    if not unknown.any():
        return codes
    word = found.filter(unknown)[0]
    near = get_close_matches((word or "").lower(), [*BEHAVIOURS, *words], n=1, cutoff=0.0)
    what = "no behaviour" if word is None else f"unknown behaviour {word!r} (the nearest is {near[0]!r})"
    advice = f"Known are {', '.join(BEHAVIOURS)}; translate others with --behaviour-map {word or 'word'}=click"
    return _first(table, column, unknown, what, advice) or codes


def _numbers(table: Table, column: str, advice: str) -> pl.Series | Finding:
    """A finite number in every row: Int64, or Float64."""
    if column in table.mixed:
        row, what = table.mixed[column]
        return _error(table, row, column, what, advice)
    given = table.frame[column]
    if given.dtype == pl.String:
        numbers = given.cast(pl.Int64, strict=False)
        if numbers.null_count() > given.null_count():
            numbers = given.cast(pl.Float64, strict=False)
    elif given.dtype.is_integer():
        numbers = given.cast(pl.Int64, strict=False)
    elif given.dtype.is_numeric():
        numbers = given.cast(pl.Float64, strict=False)
    else:
        return Finding("error", table.place(None, column), f"holds {given.dtype}, not numbers", advice)
    if bad := _first(table, column, given.is_null(), "no value", advice):
        return bad
    not_finite = ~numbers.is_finite() if numbers.dtype.is_float() else pl.Series([False])
    bad = numbers.is_null() | not_finite.fill_null(value=False)
    return _first(table, column, bad, "{} is not a finite number", advice) or numbers


def _first(table: Table, column: str, bad: pl.Series, what: str, advice: str) -> Finding | None:
    """The error at the first marked row; `{}` in `what` stands for the value there."""
    count = int(bad.sum())
    if not count:
        return None
    row = int(bad.arg_true()[0])
    value = table.frame[column][row] if "{}" in what else None
    more = f" ({count:,} such rows)" if count > 1 else ""
    return _error(table, row, column, what.replace("{}", f"{value!r}") + more, advice)


def _error(table: Table, row: int, column: str, what: str, advice: str) -> Finding:
    return Finding("error", table.place(row, column), what, advice)
