"""`headwater train | evaluate | recommend`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from headwater.home import DEFAULT_HOME, Home

HomeOption = Annotated[Path, typer.Option("--home", help="Where data, releases and state are kept.")]
RecipeArgument = Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/ml-1m.toml.", metavar="RECIPE")]


def train(
    recipe: RecipeArgument,
    home: HomeOption = DEFAULT_HOME,
    validate: Annotated[
        bool, typer.Option(help="First measure each channel on the validation part, for the manifest.")
    ] = True,
) -> None:
    """Train a release on every interaction, load the users' histories, and promote it.

    Example: headwater train recipes/ml-1m.toml
    """
    from headwater import experiment
    from headwater.recipe import load_recipe

    console = Console()
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        dataset = chosen.load_dataset(home)
        release = experiment.train(chosen, dataset, Home(home), validate=validate, say=status.update)
    console.print(f"promoted release [bold]{release}[/bold]; serve it with: headwater serve")


def evaluate(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe, e.g. recipes/ml-1m.toml; none with --all.", metavar="[RECIPE]")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    part: Annotated[str, typer.Option(help="`validation` while tuning, `test` once at the end.")] = "test",
    results: Annotated[Path, typer.Option(help="Folder for the tables as JSON.")] = Path("docs/results"),
    every: Annotated[
        bool, typer.Option("--all", help="Every recipe of --recipes; runs that --results holds are not run again.")
    ] = False,
    recipes: Annotated[Path, typer.Option(help="With --all: a folder of recipes, or one.")] = Path("recipes/table"),
    channel: Annotated[
        list[str] | None, typer.Option(help="With --all: run this channel only. Repeatable.", metavar="NAME")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each channel that draws at random.", min=1)] = 1,
    packed: Annotated[
        Path | None, typer.Option(help="A packed data set in place of the home's, or a folder of such.")
    ] = None,
) -> None:
    """Fit every channel of a recipe on the training part and print one table of quality and cost.

    Example: headwater evaluate recipes/ml-1m.toml
    """
    from headwater import experiment
    from headwater.recipe import load_recipe
    from headwater.show import print_evaluation

    if part not in ("test", "validation"):
        raise typer.BadParameter(f"{part!r} is neither 'test' nor 'validation'", param_hint="--part")
    if (recipe is None) != every:
        raise typer.BadParameter("give one recipe, or --all for a folder of them", param_hint="RECIPE")
    console = Console()
    if recipe is None:
        _evaluate_all(console, recipes, home, part, results, channel or [], seeds, packed)
        return
    if channel:
        raise typer.BadParameter("goes with --all only", param_hint="--channel")
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        dataset = chosen.load_dataset(home, packed=packed)
        table = experiment.evaluate_recipe(chosen, dataset, part=part, seeds=seeds, say=status.update)
    print_evaluation(console, table)
    path = results / f"evaluate-{recipe.stem}-{part}.json"
    table.save(path)
    console.print(f"[dim]the same as JSON: {path}[/dim]")


def _evaluate_all(
    console: Console,
    recipes: Path,
    home: Path,
    part: str,
    results: Path,
    channels: list[str],
    seeds: int,
    packed: Path | None,
) -> None:
    from headwater.errors import ConfigError, DatasetUnavailable
    from headwater.experiment import Results, require_channels, resume_recipe
    from headwater.recipe import load_recipe
    from headwater.show import print_evaluation, print_row

    paths = sorted(recipes.glob("*.toml")) if recipes.is_dir() else [recipes]
    if not paths:
        raise ConfigError(f"{recipes} holds no recipe (*.toml)")
    chosen = {path.stem: load_recipe(path) for path in paths}
    require_channels(channels, chosen.values())
    is_whole = True
    for name, recipe in chosen.items():
        with console.status(f"reading {recipe.dataset}") as status:
            try:
                dataset = recipe.load_dataset(home, packed=packed)
            except DatasetUnavailable as error:
                console.print(f"[bold]{name}[/bold]: not run: {escape(str(error))}", soft_wrap=True)
                is_whole = False
                continue
            kept = Results(results, name, recipe, dataset, part)
            table = resume_recipe(
                recipe,
                dataset,
                kept,
                part=part,
                seeds=seeds,
                only=channels,
                say=status.update,
                ended=partial(print_row, console, name),
            )
        print_evaluation(console, table)
        console.print(f"[dim]the same as JSON: {kept.path}[/dim]\n", soft_wrap=True)
        is_whole = is_whole and not table.failures
    if not is_whole:
        raise typer.Exit(1)


def recommend(
    user: Annotated[str, typer.Option(help="The user's id; one never seen is a newcomer.")],
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1, max=1000)] = 10,
    scenario: Annotated[str, typer.Option(help="The surface that asks.")] = "homepage",
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
    with open_pipeline(Home(home)) as pipeline:
        request = CandidatesRequest(user=pipeline.parse_id(user), scenario=scenario, k=k)
        known, recent = pipeline.recent(request.user, 10)
        print_history(console, recent, known)
        print_answer(console, pipeline.answer(request))


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
