"""`headwater train | evaluate | recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    from headwater.data.catalogue import load
    from headwater.recipe import load_recipe

    console = Console()
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        dataset = load(chosen.dataset, home)
        release = experiment.train(chosen, dataset, Home(home), validate=validate, say=status.update)
    console.print(f"promoted release [bold]{release}[/bold]; serve it with: headwater serve")


def evaluate(
    recipe: RecipeArgument,
    home: HomeOption = DEFAULT_HOME,
    part: Annotated[str, typer.Option(help="`validation` while tuning, `test` once at the end.")] = "test",
    results: Annotated[Path, typer.Option(help="Folder for the table as JSON.")] = Path("docs/results"),
) -> None:
    """Fit every channel of a recipe on the training part and print one table of quality and cost.

    Example: headwater evaluate recipes/ml-1m.toml
    """
    from headwater import experiment
    from headwater.data.catalogue import load
    from headwater.recipe import load_recipe
    from headwater.show import print_evaluation

    if part not in ("test", "validation"):
        raise typer.BadParameter(f"{part!r} is neither 'test' nor 'validation'", param_hint="--part")
    console = Console()
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        table = experiment.evaluate_recipe(chosen, load(chosen.dataset, home), part=part, say=status.update)
    print_evaluation(console, table)
    path = results / f"evaluate-{recipe.stem}-{part}.json"
    table.save(path)
    console.print(f"[dim]the same as JSON: {path}[/dim]")


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
