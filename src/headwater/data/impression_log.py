"""The user's own impression log (Parquet, CSV, TSV, JSONL): one impression a row, with what was done with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater.config import Settings
from headwater.data.attributes import read_attributes
from headwater.data.columns import find_column, parse_ids, parse_times
from headwater.data.dataset import Dataset
from headwater.data.events import Columns, parse_events, vocabulary_of
from headwater.data.finding import Finding
from headwater.data.impressions import TASKS, Impressions
from headwater.data.levels import CLOCK, clock_context, levels_of
from headwater.data.packed import unpack_impressions
from headwater.data.schema import Behaviour
from headwater.data.tables import Table, read_table
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError, DatasetUnavailable, SchemaError


class LogColumns(Settings):
    """Which column of the log is which. One that is named explicitly must be there; labels by default may lack."""

    user: str = "user_id"
    """Integer or text ids of users."""
    item: str = "item_id"
    """Integer or text ids of items."""
    time: str = "timestamp"
    """Unix seconds or a Parquet date-time (UTC)."""
    click: str | None = "click"
    """0 or 1; None where clicks are not known."""
    cart: str | None = "cart"
    """0 or 1."""
    conversion: str | None = "conversion"
    """0 or 1."""
    sub_domain: str | None = None
    """Text or integers; the log has one sub-domain without."""
    context: tuple[str, ...] = ()
    """Features of the request, text or integers: scenario, position. Hour and weekday are always there."""


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Impressions, and what is worth knowing about them.

    Attributes
    ----------
    impressions : Impressions
    notes : tuple of Finding
        Such as days without a click.
    """

    impressions: Impressions
    notes: tuple[Finding, ...]


def read_impressions(
    path: Path | str,
    columns: LogColumns | None = None,
    *,
    name: str | None = None,
    history: Path | str | None = None,
    items_file: Path | str | None = None,
    users_file: Path | str | None = None,
    utc_offset: int = 0,
) -> ReadLog:
    """Read an impression log.

    Histories are the log's own clicks at the time of their impression, or, better, the events of `history`, which
    have times of their own: a cart or a purchase is never read from a label, for nobody can say when it was.

    Parameters
    ----------
    path : path
        A .parquet, .csv, .tsv, .jsonl or .ndjson file.
    columns : LogColumns, optional
    name : str, optional
        The file's name without its suffix by default.
    history : path, optional
        An event file with the default columns of `read_events`, in the same ids.
    items_file, users_file : path, optional
        Attributes, one row an id, as for events.
    utc_offset : int
        As in `Impressions.of_columns`.

    Raises
    ------
    SchemaError
        Anything that does not fit; the message names file, row and column, and how many more problems there are.
    """
    columns = columns or LogColumns()
    parsed = _parse(path, columns)
    users, items = vocabulary_of(parsed["user"]), vocabulary_of(parsed["item"])
    labels = {task: parsed[task].to_numpy() for task in TASKS if task in parsed}
    times = parsed["time"].to_numpy()
    if history is None:
        is_click = labels["click"] == 1 if "click" in labels else np.zeros(len(times), bool)
        events = pl.DataFrame({role: parsed[role] for role in ("user", "item", "time")}).filter(pl.Series(is_click))
        events = events.with_columns(behaviour=pl.lit(int(Behaviour.CLICK), pl.Int8))
    else:
        found, findings = parse_events(history, Columns(rating=None))
        if found is None:
            raise SchemaError(str(findings[0]))
        events = found.filter(pl.col("behaviour") > int(Behaviour.IMPRESSION))
        users, items = (
            _joined(known, events[side], side, path, history) for known, side in ((users, "user"), (items, "item"))
        )
    attributes = {}
    if items_file is not None:
        items, attributes["item_attributes"] = read_attributes(items_file, columns.item, items)
    if users_file is not None:
        users, attributes["user_attributes"] = read_attributes(users_file, columns.user, users)
    histories = Dataset.from_events(
        f"histories of {Path(path).stem}",
        users,
        items,
        event_users=users.encode(_plain(events["user"])),
        event_items=items.encode(_plain(events["item"])),
        event_times=events["time"].to_numpy(),
        event_behaviours=events["behaviour"].to_numpy(),
    )
    context, context_levels = clock_context(times, utc_offset), dict(CLOCK)
    for column in columns.context:
        context[column], context_levels[column] = levels_of(parsed[f"context {column}"].to_list())
    sub_domains, sub_domain_names = levels_of(parsed["sub_domain"].to_list()) if "sub_domain" in parsed else (None, ())
    impressions = Impressions.of_columns(
        name or Path(path).stem,
        users,
        items,
        user_codes=users.encode(_plain(parsed["user"])),
        item_codes=items.encode(_plain(parsed["item"])),
        times=times,
        labels=labels,
        histories=histories,
        context=context,
        context_levels=context_levels,
        sub_domains=sub_domains,
        sub_domain_names=sub_domain_names,
        utc_offset=utc_offset,
        **attributes,
    )
    return ReadLog(impressions, tuple(_notes(impressions, str(path))))


def read_published(layout: str, path: Path | str, *, name: str) -> ReadLog:
    """Read a published log as it is: `taobao-ads`, see `headwater.data.readers.taobao_ads`.

    Raises `ConfigError` where no such layout is known, and `DatasetUnavailable` as its reader does.
    """
    from headwater.data.readers.files import Files
    from headwater.data.readers.taobao_ads import read_taobao_ads

    readers = {"taobao-ads": read_taobao_ads}
    if layout not in readers:
        raise ConfigError(f"no layout is called {layout!r}; known are {', '.join(readers)}")
    with Files(path) as files:
        impressions = readers[layout](name, files)
    return ReadLog(impressions, tuple(_notes(impressions, str(path))))


def log_path(name: str, home: Path | str) -> Path:
    """Where the impressions of an imported log are kept. Raises `ConfigError` where `name` is no plain name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"{name!r} cannot name impressions: use letters, digits, '.', '_' and '-'; see --name.")
    return Path(home) / "impressions" / f"{name}.npz"


def load_log(name: str, home: Path | str) -> Impressions:
    """The impressions that were imported as `name`, or that a packed file of that path holds.

    Raises `DatasetUnavailable` where there are none; see `unpack_impressions` for damaged ones.
    """
    if name.endswith(".npz"):
        return unpack_impressions(Path(name))
    path = log_path(name, home)
    if path.exists():
        return unpack_impressions(path)
    kept = ", ".join(sorted(found.stem for found in path.parent.glob("*.npz"))) or "none"
    raise DatasetUnavailable(
        f"there are no impressions {name!r} in {home} (there are {kept}). "
        f"Import them: headwater data import-impressions FILE --name {name}"
    )


def _parse(path: Path | str, columns: LogColumns) -> dict[str, pl.Series]:
    """Clean columns by role, or the first error of all, with the number of others."""
    named: list[tuple[str, str, Callable[[Table, str], pl.Series | Finding]]] = [
        ("user", columns.user, parse_ids),
        ("item", columns.item, parse_ids),
        ("time", columns.time, _whole_times),
    ]
    named += [(task, column, _labels) for task in TASKS if (column := getattr(columns, task)) is not None]
    if columns.sub_domain is not None:
        named.append(("sub_domain", columns.sub_domain, _categories))
    named += [(f"context {column}", column, _categories) for column in columns.context]
    table = read_table(path, {column for _, column, _ in named})
    optional = set(TASKS) - columns.model_fields_set
    findings: list[Finding] = []
    parsed: dict[str, pl.Series] = {}
    for role, column, parse in named:
        if column not in table.names:
            if role not in optional:
                findings.append(find_column(table, column, role.partition(" ")[0].replace("_", "-")))
            continue
        result = parse(table, column)
        if isinstance(result, Finding):
            findings.append(result)
        else:
            parsed[role] = result
    if not findings and not table.frame.height:
        findings.append(Finding("error", str(path), "the file has a header and no impression", "Write some into it"))
    if not findings and not any(task in parsed for task in TASKS):
        near = find_column(table, "click", "click")
        findings.append(Finding("error", str(path), f"no label: {near.what}", near.advice))
    if not findings and "click" in parsed:
        findings += [
            found
            for task in ("cart", "conversion")
            if task in parsed and (found := _without_click(table, task, getattr(columns, task), parsed))
        ]
    if findings:
        more = f" (and {len(findings) - 1} more in other columns)" if len(findings) > 1 else ""
        raise SchemaError(f"{findings[0]}{more}")
    return parsed


def _without_click(table: Table, task: str, column: str, parsed: dict[str, pl.Series]) -> Finding | None:
    bad = (parsed[task] == 1) & (parsed["click"] == 0)
    if not bad.any():
        return None
    advice = "Label the click too: what follows a click is learned from clicked impressions"
    return Finding(
        "error",
        table.place(int(bad.arg_true()[0]), column),
        f"a {task} without a click ({int(bad.sum()):,} such rows)",
        advice,
    )


def _whole_times(table: Table, column: str) -> pl.Series | Finding:
    times = parse_times(table, column)
    return times if isinstance(times, Finding) or not times.dtype.is_float() else times.floor().cast(pl.Int64)


def _labels(table: Table, column: str) -> pl.Series | Finding:
    """0 or 1, Int8; booleans, and the words true and false of text formats, are labels too."""
    advice = "A label is 0 or 1: fill it, or leave the row out"
    if column in table.mixed:
        row, what = table.mixed[column]
        return Finding("error", table.place(row, column), what, advice)
    given = table.frame[column]
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    text = given.cast(pl.String).str.to_lowercase()
    found = text.replace_strict(known, default=None, return_dtype=pl.Int8)
    if not found.null_count():
        return found
    row = int(found.is_null().arg_true()[0])
    what = "no label" if given[row] is None else f"{given[row]!r} is neither 0 nor 1"
    more = f" ({found.null_count():,} such rows)" if found.null_count() > 1 else ""
    return Finding("error", table.place(row, column), what + more, advice)


def _categories(table: Table, column: str) -> pl.Series | Finding:
    """Text or integers; an empty one is a level of its own, and NaN, like any decimal, is refused."""
    if column in table.mixed:
        row, what = table.mixed[column]
        return Finding("error", table.place(row, column), what, "Write the values of a column alike")
    given = table.frame[column]
    if given.dtype.is_float():
        bad = given.is_not_null() & ~(given.is_finite() & (given == given.floor())).fill_null(value=False)
        if bad.any():
            row = int(bad.arg_true()[0])
            what = f"{given[row]!r} is no category ({int(bad.sum()):,} such rows)"
            advice = "Leave unknown values empty (null), and cut numbers into ranges"
            return Finding("error", table.place(row, column), what, advice)
        return given.cast(pl.Int64)
    if table.is_text and given.dtype == pl.String:
        bad = given.str.to_lowercase().is_in(["nan", "inf", "-inf"]).fill_null(value=False)
        if bad.any():
            row = int(bad.arg_true()[0])
            what = f"{given[row]!r} is no category ({int(bad.sum()):,} such rows)"
            return Finding("error", table.place(row, column), what, "Leave unknown values empty")
    if given.dtype.is_nested():
        return Finding("error", table.place(None, column), f"holds {given.dtype}", "Write text or integers")
    return given if given.dtype.is_integer() else given.cast(pl.String)


def _joined(known: Vocabulary, ids: pl.Series, side: str, log: Path | str, history: Path | str) -> Vocabulary:
    if (known.kind == "integer") != ids.dtype.is_integer():
        raise SchemaError(
            f"{history}: its {side} ids are {ids.dtype}, those of {log} are {known.kind}s. Write both alike."
        )
    return known.extended(ids.to_list())


def _plain(ids: pl.Series) -> np.ndarray | list[str]:
    return ids.to_numpy() if ids.dtype.is_integer() else ids.to_list()


def _notes(impressions: Impressions, where: str) -> list[Finding]:
    notes = []
    for task in impressions.tasks:
        quiet = impressions.days_without_positives(task)
        if quiet:
            shown = ", ".join(map(str, quiet[:5])) + (" …" if len(quiet) > 5 else "")
            what = f"{len(quiet):,} of {int(impressions.days[-1]) + 1:,} days have no {task}: day {shown}"
            advice = "They can be trained on, and nothing is measured on them"
            notes.append(Finding("warning", where, what, advice))
    if "click" not in impressions.labels:
        notes.append(Finding("note", where, "clicks are not known, so histories come from a history file alone"))
    return notes
