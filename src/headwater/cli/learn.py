"""`headwater train | evaluate | recommend`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, StoreOption
from headwater.home import DEFAULT_HOME, Home

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/ml-1m.toml.", metavar="RECIPE")]


def train(
    recipe: RecipeArgument,
    home: HomeOption = DEFAULT_HOME,
    validate: Annotated[
        bool, typer.Option(help="First measure each channel on the validation part, for the manifest.")
    ] = True,
    store: StoreOption = None,
) -> None:
    """Train a release on every interaction, load the users' histories, and promote it.

    Example: headwater train recipes/ml-1m.toml
    """
    from headwater import experiment
    from headwater.recipe import load_recipe
    from headwater.show import telling

    console = Console()
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        dataset = chosen.load_dataset(home)
        release = experiment.train(chosen, dataset, Home(home, store), validate=validate, say=telling(console, status))
    console.print(f"promoted release [bold]{release}[/bold]; serve it with: headwater serve")


def evaluate(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe, e.g. recipes/ml-1m.toml; none with --all.", metavar="[RECIPE]")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    part: Annotated[str, typer.Option(help="`validation` while tuning, `test` once at the end.")] = "test",
    results: Annotated[Path, typer.Option(help="Folder for the tables as JSON.")] = Path("docs/results"),
    seeds: Annotated[int, typer.Option(help="Runs of each channel that draws at random.", min=1)] = 1,
    packed: Annotated[
        Path | None, typer.Option(help="A packed data set in place of the home's, or a folder of such.")
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Say what each channel adds to the others; --all always does.")
    ] = False,
    by_gap: Annotated[
        bool, typer.Option("--by-gap", help="Also say the hit rate by the time since the last event.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every recipe of --recipes; runs that --results holds are not run again.")
    ] = False,
    recipes: Annotated[Path, typer.Option(help="With --all: a folder of recipes, or one.")] = Path("recipes/table"),
    channel: Annotated[
        list[str] | None, typer.Option(help="With --all: run this channel only. Repeatable.", metavar="NAME")
    ] = None,
    is_run: Annotated[
        bool, typer.Option("--run/--no-run", help="With --all: run what is not done, or print what there is.")
    ] = True,
) -> None:
    """Fit every channel of a recipe on the training part and print one table of quality and cost.

    Example: headwater evaluate recipes/ml-1m.toml
    """
    from headwater import experiment
    from headwater.recipe import load_recipe, load_recipes
    from headwater.show import print_row, print_table, telling

    if part not in ("test", "validation"):
        raise typer.BadParameter(f"{part!r} is neither 'test' nor 'validation'", param_hint="--part")
    if (recipe is None) != every:
        raise typer.BadParameter("give one recipe, or --all for a folder of them", param_hint="RECIPE")
    if channel and not every:
        raise typer.BadParameter("goes with --all only", param_hint="--channel")
    if not (is_run or every):
        raise typer.BadParameter("goes with --all only", param_hint="--no-run")
    console = Console()
    if recipe is not None:
        chosen = load_recipe(recipe)
        with console.status("reading the data set") as status:
            dataset = chosen.load_dataset(home, packed=packed)
            table = experiment.evaluate_recipe(chosen, dataset, part=part, seeds=seeds, say=telling(console, status))
        path = results / f"evaluate-{recipe.stem}-{part}.json"
        table.save(path)
        print_table(console, table, path, is_incremental=incremental, is_by_gap=by_gap)
        return
    with console.status("reading the recipes") as status:
        outcomes = experiment.evaluate_all(
            load_recipes(recipes),
            home,
            results,
            part=part,
            seeds=seeds,
            only=channel or [],
            packed=packed,
            is_run=is_run,
            say=telling(console, status),
            ended=partial(print_row, console),
        )
        is_whole = True
        for outcome in outcomes:
            if outcome.table is not None:
                print_table(console, outcome.table, outcome.path, is_incremental=True, is_by_gap=by_gap)
            else:
                console.print(f"{outcome.name}: not run: {outcome.reason}", markup=False, soft_wrap=True)
            is_whole = is_whole and outcome.is_whole
    if is_run and not is_whole:
        raise typer.Exit(1)


def recommend(
    user: Annotated[str, typer.Option(help="The user's id; one never seen is a newcomer.")],
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1, max=1000)] = 10,
    scenario: Annotated[str, typer.Option(help="The surface that asks.")] = "homepage",
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show what the current release answers for a user, with titles, and why each item is there.

    Asks in process, without a service, and leaves no trace in the rank log.

    Example: headwater recommend --user 1 -k 10
    """
    from headwater.service.local import open_pipeline
    from headwater.service.messages import CandidatesRequest
    from headwater.show import print_answer, print_history

    console = Console()
    with open_pipeline(Home(home, store)) as pipeline:
        request = CandidatesRequest(user=pipeline.parse_id(user), scenario=scenario, k=k)
        known, recent = pipeline.recent(request.user, 10)
        print_history(console, recent, known)
        print_answer(console, pipeline.answer(request))


def similar(
    item: Annotated[str, typer.Argument(help="An id, or a title or a part of one that only this item has.")],
    channel: Annotated[
        str | None, typer.Option(help="Whose similarities. (default: the first channel that has any)")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1, max=1000)] = 10,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show which items a channel of the current release finds near an item, with titles and similarities.

    Example: headwater similar "Toy Story (1995)" --channel itemcf
    """
    import json
    from dataclasses import asdict

    from headwater import release as releases
    from headwater.release.similar import similar_items
    from headwater.show import print_similar

    root = Home(home).releases
    found = similar_items(releases.load(root / releases.current(root)), item, channel=channel, k=k)
    if is_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))
    else:
        print_similar(Console(), found)


def search(
    searches: Annotated[list[Path], typer.Argument(help="Searches, e.g. recipes/search/*.toml.", metavar="SEARCH...")],
    data: Annotated[list[Path], typer.Option("--data", help="Packed data sets (headwater data pack). Repeatable.")],
    results: Annotated[Path, typer.Option(help="JSON Lines; trials in it are not run again.")],
    parallel: Annotated[int, typer.Option(help="Trials at a time, sharing the device.", min=1)] = 1,
) -> None:
    """Try settings on the validation part, side by side, and say which did best.

    Example: headwater search recipes/search/sasrec.toml --data ml-1m.npz --results trials.jsonl --parallel 4
    """
    from headwater.search import load_search, run
    from headwater.show import print_trial, print_trials

    console = Console()
    loaded = [load_search(path) for path in searches]
    lines = run(loaded, data, results, parallel=parallel, told=lambda line: print_trial(console, line))
    print_trials(console, lines)
