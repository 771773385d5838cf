"""`headwater rank …`: ranking models side by side, on held-out days and day after day."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from headwater.experiment.ranking import RankTable

rank_app = typer.Typer(help="Train and measure the models that order candidates.", no_args_is_help=True)

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/ranking/ml-1m.toml.", metavar="RECIPE")]
ResultsOption = Annotated[Path, typer.Option(help="Folder for the tables as JSON, and the pictures.")]
ModelOption = Annotated[
    list[str] | None, typer.Option("--model", help="Only this model of the recipe. Repeatable.", metavar="NAME")
]


@rank_app.command()
def evaluate(
    recipe: RecipeArgument,
    part: Annotated[str, typer.Option(help="`validation` while tuning, `test` once at the end.")] = "test",
    model: ModelOption = None,
    activity: Annotated[bool, typer.Option("--activity", help="Also GAUC by the users' activity.")] = False,
    results: ResultsOption = Path("docs/results"),
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train each model of a recipe on the earlier days, and print its figures on the later ones.

    Example: headwater rank evaluate recipes/ranking/ml-1m.toml --activity
    """
    from headwater.experiment.ranking import evaluate_models, load_rank_recipe
    from headwater.experiment.ranking.drawings import draw_reliability

    if part not in ("test", "validation"):
        raise typer.BadParameter(f"{part!r} is neither 'test' nor 'validation'", param_hint="--part")
    console = Console()
    chosen = load_rank_recipe(recipe).only(model or [])
    with console.status("reading the impressions") as status:
        impressions = chosen.data.load(home)
        table = evaluate_models(chosen, impressions, part=part, say=lambda text: status.update(escape(text)))
    path = results / f"rank-{recipe.stem}-{part}.json"
    table.save(path)
    picture = draw_reliability(table, path.with_suffix(".png"))
    print_rank_table(console, table)
    if activity:
        print_by_activity(console, table)
    _print_notes(console, table, path, picture)


@rank_app.command()
def days(
    recipe: RecipeArgument,
    first: Annotated[
        int | None, typer.Option(help="First day that is predicted. (default: the first test day)")
    ] = None,
    last: Annotated[int | None, typer.Option(help="Last day that is predicted. (default: the sixth after it)")] = None,
    model: ModelOption = None,
    results: ResultsOption = Path("docs/results"),
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Predict each day with what was learned through the day before it (progressive validation).

    Example: headwater rank days recipes/ranking/ml-1m.toml --first 222 --last 228
    """
    from headwater.experiment.ranking import load_rank_recipe, progressive
    from headwater.experiment.ranking.drawings import draw_progress

    console = Console()
    chosen = load_rank_recipe(recipe).only(model or [])
    begin = chosen.days.test if first is None else first
    with console.status("reading the impressions") as status:
        impressions = chosen.data.load(home)
        table = progressive(
            chosen,
            impressions,
            first=begin,
            last=begin + 6 if last is None else last,
            say=lambda text: status.update(escape(text)),
        )
    path = results / f"rank-{recipe.stem}-next-day.json"
    table.save(path)
    picture = draw_progress(table, path.with_suffix(".png"))
    print_days(console, table)
    _print_notes(console, table, path, picture)


@rank_app.command()
def pack(
    recipe: RecipeArgument,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The .npz to write; an older one is replaced.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write the impressions before the test days into one file, to choose settings on with `headwater search`.

    Example: headwater rank pack recipes/ranking/ml-1m.toml ml-1m-clicks.npz
    """
    from headwater.data.packed import pack_impressions
    from headwater.experiment.ranking import load_rank_recipe

    console = Console()
    chosen = load_rank_recipe(recipe)
    with console.status("packing the impressions"):
        impressions = chosen.days.before_test(chosen.data.load(home))
        pack_impressions(impressions, to)
    console.print(
        f"{impressions.name}: {len(impressions):,} impressions of days 0 to {chosen.days.test - 1} in {to} "
        f"({to.stat().st_size / 1e6:.1f} MB), checksum {impressions.checksum()}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def print_rank_table(console: Console, table: RankTable) -> None:
    """One line a model and task."""
    first = table.rows[0]
    title = f"{table.impressions.name}: trained through day {first.train_until:,}, days {first.days[0]:,} to "
    shown = Table(
        *("task", "model", "AUC", "GAUC", "logloss", "ECE", "samples", "users", "fit s"),
        title=escape(f"{title}{first.days[1]:,} measured"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for task in dict.fromkeys(row.task for row in table.rows):
        for row in (row for row in table.rows if row.task == task):
            found = row.whole
            values = (found.auc, found.gauc, found.logloss, found.ece)
            counts = (f"{found.samples:,}", f"{found.users:,}", f"{row.fit_seconds:.1f}")
            shown.add_row(task, row.model, *map(_figure, values), *counts)
    console.print(shown)


def print_by_activity(console: Console, table: RankTable) -> None:
    """GAUC of each group of users, by clicks before the measured days."""
    groups = list(table.rows[0].by_activity)
    shown = Table(
        *("task", "model", *groups),
        title="GAUC by the users' clicks before the measured days (users measured)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for row in table.rows:
        cells = (f"{_figure(found.gauc)} ({found.users:,})" for found in row.by_activity.values())
        shown.add_row(row.task, row.model, *cells)
    console.print(shown)


def print_days(console: Console, table: RankTable) -> None:
    """AUC and GAUC of every day and model, and their means over the days."""
    models = list(dict.fromkeys(row.model for row in table.rows))
    for task in dict.fromkeys(row.task for row in table.rows):
        shown = Table(
            *("day", "samples", "users", "model", "AUC", "GAUC"),
            title=escape(f"{table.impressions.name}: {task}, each day predicted from all days before it"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        of_task = [row for row in table.rows if row.task == task]
        for day in dict.fromkeys(row.days[0] for row in of_task):
            of_day = {row.model: row.whole for row in of_task if row.days[0] == day}
            about = [f"{day:,}", *(f"{n:,}" for n in (of_day[models[0]].samples, of_day[models[0]].users))]
            for model in models:
                shown.add_row(*about, model, _figure(of_day[model].auc), _figure(of_day[model].gauc))
                about = ["", "", ""]
            shown.add_section()
        about = ["mean", "", ""]
        for model in models:
            whole = [row.whole for row in of_task if row.model == model]
            means = _mean([found.auc for found in whole]), _mean([found.gauc for found in whole])
            shown.add_row(*about, model, *map(_figure, means))
            about = ["", "", ""]
        console.print(shown)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _print_notes(console: Console, table: RankTable, path: Path, picture: Path) -> None:
    for note in table.notes():
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)
    console.print(f"[dim]the same as JSON: {path}; as a picture: {picture}[/dim]", soft_wrap=True)
