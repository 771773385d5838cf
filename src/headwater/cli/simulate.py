"""`headwater simulate …`: a marketplace with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from headwater.simulation.config import BazaarConfig
    from headwater.simulation.summary import Funnel
    from headwater.simulation.world import World

simulate_app = typer.Typer(help="A marketplace with known truth: made-up users in six scenarios.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="A bazaar's settings as TOML. (default: its own)")]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DATASET", help="Fit items and tastes to a data set, such as ml-1m.")
]


@simulate_app.callback()
def simulate() -> None:
    """A marketplace with known truth: made-up users in six scenarios."""


@simulate_app.command()
def world(
    days: Annotated[int, typer.Option(help="Days to play with untrained rankers; 0 makes the world only.", min=0)] = 1,
    config: ConfigOption = None,
    from_: FromOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a world, say its hash, and show what its users do in each scenario.

    Example: headwater simulate world --from ml-1m --days 1
    """
    from headwater.simulation.play import Play
    from headwater.simulation.summary import Funnel

    console = Console()
    made = make(settings(config), from_, home)
    say_world(console, made)
    if days:
        funnel = Funnel()
        play = Play(made, ranks_all=False)
        for day in range(days):
            with console.status(f"day {day}"):
                play.play_day(funnel)
        print_funnel(console, funnel)


def settings(path: Path | None) -> BazaarConfig:
    """The settings in `path`, or the default ones."""
    from headwater.simulation.config import BazaarConfig

    return BazaarConfig() if path is None else BazaarConfig.load(path)


def make(config: BazaarConfig, dataset: str | None, home: Path) -> World:
    """A drawn world, or one that is fitted to a data set."""
    from headwater.simulation.world import make_world

    if dataset is None:
        return make_world(config)
    from headwater.data.catalogue import load
    from headwater.simulation.fitted import fit_world

    return fit_world(config, load(dataset, home))


def say_world(console: Console, made: World) -> None:
    """One line: size and hash."""
    size = made.config.world
    source = f", fitted to {size.source.split()[0]}" if size.source else ""
    console.print(
        f"world {made.config.hash}: {size.users:,} users, {size.items:,} items in {size.categories:,} categories, "
        f"{size.days} days{source}",
        highlight=False,
    )


def print_funnel(console: Console, funnel: Funnel) -> None:
    """A row for each scenario."""
    from headwater.simulation.config import SCENARIOS
    from headwater.simulation.summary import STAGES

    table = Table(box=box.SIMPLE)
    for column in ("scenario", *STAGES, "CTR", "CTCVR"):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for code, name in enumerate(SCENARIOS):
        counts = [f"{count:,}" for count in funnel.counts[code].tolist()]
        rates = (funnel.ratio(code, "clicks", "exposures"), funnel.ratio(code, "purchases", "exposures"))
        table.add_row(name, *counts, f"{rates[0]:.4f}", f"{rates[1]:.5f}")
    console.print(table)
