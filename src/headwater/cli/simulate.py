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
    from headwater.simulation.abtest import Difference
    from headwater.simulation.config import BazaarConfig
    from headwater.simulation.loop import ArmResult
    from headwater.simulation.summary import Funnel
    from headwater.simulation.world import World

simulate_app = typer.Typer(help="A marketplace with known truth: made-up users in six scenarios.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="A bazaar's settings as TOML. (default: its own)")]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DATASET", help="Fit items and tastes to a data set, such as ml-1m.")
]

FastOption = Annotated[bool, typer.Option("--fast", help="In a world of 250 users, which takes seconds.")]


@simulate_app.callback()
def simulate() -> None:
    """A marketplace with known truth: made-up users in six scenarios."""


@simulate_app.command()
def world(
    days: Annotated[int, typer.Option(help="Days to play with untrained rankers; 0 makes the world only.", min=0)] = 1,
    config: ConfigOption = None,
    from_: FromOption = None,
    fast: FastOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a world, say its hash, and show what its users do in each scenario.

    Example: headwater simulate world --from ml-1m --days 1
    """
    from headwater.simulation.play import Play
    from headwater.simulation.summary import Funnel

    console = Console()
    chosen = settings(config)
    made = make(chosen.fast() if fast else chosen, from_, home)
    say_world(console, made)
    if days:
        funnel = Funnel()
        play = Play(made, ranks_all=False)
        for day in range(days):
            with console.status(f"day {day}"):
                play.play_day(funnel)
        print_funnel(console, funnel)


@simulate_app.command()
def abtest(
    control: Annotated[Path, typer.Argument(metavar="CONTROL.toml", help="An arm.")],
    treatment: Annotated[Path, typer.Argument(metavar="TREATMENT.toml", help="Another arm of the same world.")],
    rerandomisations: Annotated[
        int, typer.Option(help="A/A splits of the control's log, of which 5% should find a difference.", min=1)
    ] = 1_000,
    salt: Annotated[int, typer.Option(help="Of the hash that assigns users to arms.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option("--json", help="Also write all figures to this file.")] = None,
    fast: FastOption = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with pictures, and one user's day, into this folder.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Play two arms in closed loop for the same users, and test what differs.

    The first days, and what was trained on them, are kept in the home, so that other arms of that world begin sooner.

    Example: headwater simulate abtest recipes/bazaar/control.toml recipes/bazaar/treatment.toml
    """
    import json
    import tempfile

    from headwater.simulation.abtest import assign, paired, rerandomised, sample_ratio, sampling_error, split
    from headwater.simulation.arms import load_arm, require_same_world
    from headwater.simulation.chronicle import Chronicle
    from headwater.simulation.loop import run_arm
    from headwater.simulation.warmup import kept_warm_up

    console = Console()
    arms = [load_arm(path) for path in (control, treatment)]
    require_same_world(*arms)
    arms = [arm.fast() for arm in arms] if fast else arms
    with console.status("") as status:
        start = kept_warm_up(home / "bazaar", arms[0].bazaar, arms[0].days.warm_up, status.update)
        say_world(console, start.world)
        results, chronicles = [], []
        for arm in arms:
            chronicles.append(Chronicle.of(start.world, arm.days))
            with tempfile.TemporaryDirectory(prefix="headwater-bazaar-") as folder:
                results.append(run_arm(start, arm, Path(folder), status.update, chronicles[-1]))
    for result in results:
        print_arm(console, result)
    counts = [result.measures.users for result in results]
    keys = start.world.users.keys
    is_treated = assign(keys, salt)
    ratio = sample_ratio(is_treated)
    tests = {
        "every user in both arms (common random numbers)": paired(counts[0], counts[1]),
        f"users split by a hash, {ratio.control:,} and {ratio.treatment:,}": split(counts[0], counts[1], is_treated),
    }
    for title, differences in tests.items():
        print_differences(console, title, differences)
    verdict = "a mismatch: do not read the split" if ratio.is_mismatch else "as even as a fair coin gives"
    console.print(f"sample ratio: p {ratio.p:.3f}, {verdict}")
    shares = rerandomised(counts[0], keys, rerandomisations)
    error = sampling_error(rerandomisations)
    console.print(
        f"{rerandomisations:,} A/A splits of {arms[0].name}, share with p < .05 (5% ± {error:.1%} expected): "
        + ", ".join(f"{metric} {share:.1%}" for metric, share in shares.items()),
        highlight=False,
    )
    if report is not None:
        from headwater.reproduce.bazaar.pages import write_report

        path = write_report(report, start.world, results, chronicles, tests, ratio, console.print)
        console.print(f"the same with pictures: {path}", soft_wrap=True, markup=False, highlight=False)
    if output is not None:
        document = {
            "world": start.world.config.hash,
            "arms": [_as_object(result) for result in results],
            "tests": {title: [_without_nan(vars(one)) for one in differences] for title, differences in tests.items()},
            "sample_ratio": vars(ratio),
            "a_a": {"times": rerandomisations, "shares": shares},
        }
        output.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def print_arm(console: Console, result: ArmResult) -> None:
    """An arm's channels as in table 1 of the nearline paper, and what went wrong with any of them."""
    from headwater.simulation.measures import COLUMNS

    table = Table(*COLUMNS, title=result.arm.name, box=box.SIMPLE)
    for row in result.measures.channels():
        table.add_row(*row.texts())
    console.print(table)
    for name, health in result.health.items():
        if health.faults:
            console.print(f"{name} failed {health.faults} of {health.asked} times. {health.cut_off}", highlight=False)


def print_differences(console: Console, title: str, differences: list[Difference]) -> None:
    """A row for each metric."""
    table = Table("metric", "control", "treatment", "difference", "95% interval", "p", title=title, box=box.SIMPLE)
    for one in differences:
        table.add_row(
            one.metric,
            f"{one.control:.5f}",
            f"{one.treatment:.5f}",
            f"{one.relative:+.1%}",
            f"{one.low:+.1%} to {one.high:+.1%}",
            f"{one.p:.3f}",
        )
    console.print(table)


def _as_object(result: ArmResult) -> dict[str, object]:
    return {
        "name": result.arm.name,
        "channels": [_without_nan(vars(row)) for row in result.measures.channels()],
        "funnel": result.funnel.counts.tolist(),
        "health": {name: vars(health) for name, health in result.health.items()},
        "stream_records": result.records,
    }


def _without_nan(values: dict[str, object]) -> dict[str, object]:
    """JSON has no nan: None stands for what is not defined."""
    return {name: None if value != value else value for name, value in values.items()}


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
