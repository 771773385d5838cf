"""`headwater simulate sensitivity`: a test again, in worlds of which one parameter has another value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME


def sensitivity(
    control: Annotated[Path, typer.Argument(metavar="CONTROL.toml", help="An arm.")],
    treatment: Annotated[Path, typer.Argument(metavar="TREATMENT.toml", help="Another arm of the same world.")],
    users: Annotated[int, typer.Option(help="Users of each world.", min=50)] = 1_000,
    results: Annotated[
        Path, typer.Option(help="Folder of one JSON document for each world; done ones are kept.")
    ] = Path("docs/results/bazaar-sensitivity"),
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORLD", help="Play these worlds only, e.g. 'drift-*'. Repeatable.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the page. (default: below reports in the home)")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Play two arms in worlds that differ by one parameter: intents in search, drift, position bias, Zipf's exponent.

    Example: headwater simulate sensitivity recipes/bazaar/control.toml recipes/bazaar/treatment.toml
    """
    from headwater.reproduce.bazaar.sensitivity import done, run, variants
    from headwater.reproduce.bazaar.sensitivity_page import sheet, write_page
    from headwater.reproduce.jobs import chosen_jobs
    from headwater.reproduce.show import print_sheet
    from headwater.simulation.arms import load_arm, require_same_world

    console = Console()
    arms = [load_arm(path) for path in (control, treatment)]
    require_same_world(*arms)
    chosen = chosen_jobs(variants(), only or [])
    with console.status("") as status:
        for at, (variant, _) in enumerate(run(chosen, arms, users, results, status.update), 1):
            console.print(f"{at} of {len(chosen)}: {variant.id}", highlight=False)
    found = done(arms, users, results)
    print_sheet(console, sheet(found))
    page = write_page(found, report or home / "reports" / "bazaar-sensitivity", console.print)
    console.print(f"the same with a picture: {page}", soft_wrap=True, markup=False, highlight=False)
