"""`headwater ranklog validate | convert`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from headwater.nearline.files import Checked

ranklog_app = typer.Typer(
    help="Check rank-log files, and turn one form into another.", no_args_is_help=True, rich_markup_mode="rich"
)

_SHOWN = 5


@ranklog_app.command()
def validate(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON Lines (.jsonl), Arrow streams (.arrows) or files (.arrow)."),
    ],
) -> None:
    """Check every record of rank-log files, and say which are bad, where and why.

    The exit status is 1 where one is bad. Writes nothing.

    Example: headwater ranklog validate .headwater/log/*.jsonl
    """
    from headwater.nearline import files as logs

    console = Console()
    bad = 0
    for path in files:
        with _progress(console, path) as told:
            checked = logs.validate(path, told=told)
        _print(console, path, checked)
        bad += checked.bad
    if bad:
        raise typer.Exit(1)


@ranklog_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A .jsonl, .arrows or .arrow file.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="A new .jsonl or .arrows file.")],
    columns: Annotated[
        bool, typer.Option("--columns", help="JSON Lines by columns, which a stream reads twice as fast.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad records out instead of writing nothing.")
    ] = False,
) -> None:
    """Write a rank-log file in another form: JSON Lines by rows or by columns, or an Arrow stream.

    Where a record is bad nothing is written, unless --skip-bad; the exit status is 1 in either case.

    Example: headwater ranklog convert visits.jsonl visits.arrows
    """
    from headwater.errors import SchemaError, StoreError
    from headwater.nearline import files as logs

    if columns and to.suffix not in logs.LINES:
        raise SchemaError(f"--columns is a form of JSON Lines; {to} is to be an Arrow stream, which has columns anyway")
    console = Console()
    try:
        with _progress(console, source) as told:
            checked = logs.convert(source, to, columnar=columns, skip_bad=skip_bad, told=told)
    except OSError as error:
        raise StoreError(f"{to} cannot be written: {error.strerror}") from error
    _print(console, source, checked)
    if checked.bad and not skip_bad:
        console.print(f"{to} was not written", highlight=False, markup=False, soft_wrap=True)
    else:
        size = to.stat().st_size / 1e6
        console.print(f"{to}: {size:,.1f} MB", highlight=False, markup=False, soft_wrap=True)
    if checked.bad:
        raise typer.Exit(1)


@contextmanager
def _progress(console: Console, path: Path) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(path.name, total=path.stat().st_size if path.is_file() else None)
        yield lambda done: bar.update(task, completed=done)


def _print(console: Console, path: Path, checked: Checked) -> None:
    said = (
        f"{path}: {checked.visits:,} visits of {checked.items:,} items, {checked.events:,} events, {checked.bad:,} bad"
    )
    console.print(said, style="red" if checked.bad else "", highlight=False, markup=False, soft_wrap=True)
    for bad in checked.first[:_SHOWN]:
        console.print(f"  {bad.place}: {bad.reason}", highlight=False, markup=False, soft_wrap=True)
    if checked.bad > _SHOWN:
        console.print(f"  and {checked.bad - _SHOWN:,} more", highlight=False)
