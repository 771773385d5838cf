"""The app: global options, the verbs, and how errors are shown."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import headwater
from headwater.cli.data import data_app
from headwater.cli.data_pack import cluster_, generate_, pack_
from headwater.cli.knowledge import knowledge_app
from headwater.cli.learn import evaluate, recommend, search, similar, train
from headwater.cli.loop import demo, serve
from headwater.cli.nearline import forget, nearline_app
from headwater.cli.paths import paths_app
from headwater.cli.rank import rank_app
from headwater.cli.ranklog import ranklog_app
from headwater.cli.release import release_app
from headwater.cli.reproduce import reproduce_app
from headwater.cli.simulate import simulate_app
from headwater.cli.simulate_logs import logs
from headwater.cli.simulate_sensitivity import sensitivity
from headwater.cli.stream import stream_app
from headwater.errors import HeadwaterError

app = typer.Typer(
    name="headwater",
    help=(
        "The matching stage of a recommender system: a few hundred candidates out of millions of items, "
        "in milliseconds, each with its reason.\n\n"
        "Begin with [bold]headwater demo[/bold], or step by step: [bold]data get ml-1m[/bold], "
        "[bold]evaluate recipes/ml-1m.toml[/bold], [bold]train recipes/ml-1m.toml[/bold], "
        "[bold]recommend --user 1[/bold], [bold]serve[/bold] and [bold]stream[/bold]."
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
data_app.command("pack")(pack_)
data_app.command("generate")(generate_)
data_app.command("cluster")(cluster_)
app.add_typer(data_app, name="data")
app.add_typer(release_app, name="release")
app.add_typer(reproduce_app, name="reproduce")
app.command()(train)
app.command()(evaluate)
app.command()(search)
app.command()(recommend)
app.command()(similar)
app.command()(serve)
simulate_app.command()(logs)
simulate_app.command()(sensitivity)
app.add_typer(simulate_app, name="simulate")
app.add_typer(stream_app, name="stream")
app.add_typer(nearline_app, name="nearline")
app.add_typer(ranklog_app, name="ranklog")
app.add_typer(paths_app, name="paths")
app.add_typer(rank_app, name="rank")
app.add_typer(knowledge_app, name="knowledge")
app.command()(forget)
app.command()(demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headwater {headwater.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Options of every verb."""


def main() -> None:
    """Entry point: an expected error is one clear message and exit status 1, never a traceback."""
    try:
        app()
    except HeadwaterError as error:
        Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
