"""What is wrong, odd or good to know about a user's own events, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater.data.describe import Statistics, describe
from headwater.data.events import Columns, Imported, build, parse_events
from headwater.data.finding import Finding
from headwater.data.schema import TIE_RULE, TimeUnit
from headwater.errors import SchemaError

EARLIEST_LIKELY_TIME = 315_532_800
"""1980-01-01: older event times are as a rule positions, or days, taken for seconds."""
HEAVY_SHARE = 0.05
"""A user with more than this share of all interactions is named: a robot, or an id shared by many."""
ENOUGH_USERS = 20
"""With fewer users than this, everybody is heavy, and nobody is named for it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything found in one event file.

    Attributes
    ----------
    path : Path
    findings : tuple of Finding
        Errors first, then warnings, then notes.
    statistics : Statistics or None
        What importing would give; None where an error forbids it.
    """

    path: Path
    findings: tuple[Finding, ...]
    statistics: Statistics | None

    @property
    def has_errors(self) -> bool:
        """Whether importing the file would fail."""
        return any(finding.severity == "error" for finding in self.findings)


def check_events(
    path: Path | str,
    columns: Columns | None = None,
    *,
    time_unit: TimeUnit = "seconds",
    behaviours: Mapping[str, str] | None = None,
    items_file: Path | str | None = None,
    users_file: Path | str | None = None,
    every_item: bool = False,
) -> Report:
    """Read an event file as `read_events` would, but collect what is wrong instead of raising; nothing is written.

    Of each column the first bad row is named and how many there are.
    """
    path = Path(path)
    columns = columns or Columns()
    try:
        events, findings = parse_events(path, columns, time_unit=time_unit, behaviours=behaviours)
    except SchemaError as error:
        return Report(path, (_as_finding(path, error),), None)
    if events is None:
        return Report(path, tuple(findings), None)
    # Each attribute file by itself, so that a fault in one does not hide the other's.
    good: dict[str, Path | str | None] = {"items_file": None, "users_file": None}
    for role, file in {"items_file": items_file, "users_file": users_file}.items():
        if file is None:
            continue
        alone = {"items_file": None, "users_file": None, role: file}
        try:
            build(events, path, columns, name=path.stem, time_unit=time_unit, every_item=every_item, **alone)
            good[role] = file
        except SchemaError as error:
            findings.append(_as_finding(Path(file), error))
    imported = build(events, path, columns, name=path.stem, time_unit=time_unit, every_item=every_item, **good)
    failed = bool(findings)
    statistics = describe(imported.dataset)
    findings += _about_events(path, events, imported, statistics)
    findings += _about_histories(path, imported, statistics)
    findings += _about_attributes(good["items_file"], good["users_file"], imported)
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda finding: order[finding.severity])
    return Report(path, tuple(findings), None if failed else statistics)


def _as_finding(path: Path, error: SchemaError) -> Finding:
    where, _, what = str(error).partition(": ")
    return Finding("error", where, what.rstrip(".")) if what else Finding("error", str(path), where)


def _about_events(path: Path, events: pl.DataFrame, imported: Imported, found: Statistics) -> list[Finding]:
    where, findings = str(path), []
    if imported.duplicates:
        findings.append(
            Finding(
                "warning",
                where,
                f"{imported.duplicates:,} of {imported.rows:,} events repeat another (user, item, time, behaviour)",
                "Importing keeps the first of each; look whether the export ran twice",
            )
        )
    if found.time_unit == "seconds":
        early = int((events["time"] < EARLIEST_LIKELY_TIME).sum())
        if early:
            advice = "If they are places in a history, use --positions; else give Unix seconds"
            findings.append(Finding("warning", where, f"events from before 1980: {early:,}", advice))
        if imported.has_fractions:
            what = "times have fractions of a second"
            findings.append(Finding("note", where, what, "They order events and are then dropped"))
    if imported.impressions:
        what = f"impressions: {imported.impressions:,}, counted and kept out of the interactions"
        findings.append(Finding("note", where, what))
    if "rating" in events.columns and events["rating"].n_unique() == 1:
        findings.append(Finding("note", where, f"every rating is {events['rating'][0]:g}", "They tell nothing apart"))
    return findings


def _about_histories(path: Path, imported: Imported, found: Statistics) -> list[Finding]:
    where, findings = str(path), []
    dataset = imported.dataset
    if not found.asked:
        findings.append(
            Finding(
                "warning",
                where,
                f"only cold users: nobody has 3 interactions (the longest history has {found.history_lengths[-1]})",
                "Leave-one-out has nobody to test; collect longer histories, or check that the user column is right",
            )
        )
    elif found.one_item_users:
        share = found.one_item_users / found.users
        what = f"users with one interaction: {found.one_item_users:,} ({share:.1%})"
        findings.append(Finding("warning", where, what, "They are trained on, but never validated or tested"))
    heaviest = int(np.argmax(dataset.lengths))
    share = dataset.lengths[heaviest] / len(dataset)
    if share > HEAVY_SHARE and found.users >= ENOUGH_USERS:
        user = dataset.users.decode([heaviest])[0]
        what = f"user {user!r} alone has {dataset.lengths[heaviest]:,} interactions ({share:.1%} of all)"
        findings.append(Finding("warning", where, what, "Is it a robot, or an id that stands for 'unknown'?"))
    if found.ties:
        what = f"{found.ties:.1%} of a user's successive interactions have the same time"
        findings.append(Finding("note", where, what, f"Rule: {TIE_RULE}"))
    if found.cold_targets:
        what = f"{found.cold_targets:.2%} of the items that leave-one-out would test are nowhere in its training part"
        findings.append(Finding("note", where, what, "No method that learns from interactions can find those"))
    if found.items > 1 and found.users > 1 and found.density > 1:
        what = f"{found.repeats:.1%} of the interactions repeat an item of the same user"
        findings.append(Finding("note", where, what, "Are user and item columns right?"))
    return findings


def _about_attributes(
    items_file: Path | str | None, users_file: Path | str | None, imported: Imported
) -> list[Finding]:
    findings = []
    tables = {items_file: imported.dataset.item_attributes, users_file: imported.dataset.user_attributes}
    for file, table in tables.items():
        if file is None:
            continue
        for name in table.column_names[1:]:
            missing = table.column(name).null_count
            if missing:
                what = f"{missing:,} of {table.num_rows:,} ids have no {name}"
                findings.append(Finding("note", f"{file}, column {name!r}", what))
    if items_file is not None and "category" not in imported.dataset.item_attributes.column_names:
        advice = "Name the column 'category' that diversity should be counted by"
        findings.append(Finding("note", str(items_file), "there is no column 'category'", advice))
    return findings
