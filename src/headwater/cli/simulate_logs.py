"""`headwater simulate logs`: days of super-domain impressions in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from headwater.cli.simulate import FastOption

if TYPE_CHECKING:
    from headwater.simulation.logs import DayCounts


def logs(
    days: Annotated[int, typer.Option(help="Days in all, earlier ones included.", min=1)],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="New, or one with earlier days of the same settings.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Settings as TOML: [bazaar.world], [video], [ad]. (default: its own)"),
    ] = None,
    fast: FastOption = False,
) -> None:
    """Write days of impressions over three sub-domains: product, video and ad.

    Days that are there are kept, and the next ones go on from them. `headwater data import-impressions` reads them.

    Example: headwater simulate logs --days 8 --to logs
    """
    from headwater.simulation.domains import LogsConfig
    from headwater.simulation.logs import write_logs

    settings = LogsConfig() if config is None else LogsConfig.load(config)
    settings = settings.fast() if fast else settings
    console = Console()
    console.print(f"logs {settings.hash} of world {settings.bazaar.hash}", highlight=False)
    found: list[DayCounts] = []
    with console.status("day 0") as status:
        for counts, was_there in write_logs(settings, days, to):
            found.append(counts)
            console.print(
                f"day {counts.day}: {counts.impressions:,} impressions of {counts.users:,} users"
                f"{', there already' if was_there else ''}",
                highlight=False,
            )
            status.update(f"day {counts.day + 1}")
    print_days(console, found)


def print_days(console: Console, days: list[DayCounts]) -> None:
    """A row for each day and sub-domain; carts and conversions are of clicks."""
    table = Table(box=box.SIMPLE)
    for heading in ("day", "domain", "impressions", "share", "users", "reach", "CTR", "carts", "conv."):
        table.add_column(heading, justify="left" if heading == "domain" else "right")
    for day in days:
        for name, counts in day.domains.items():
            clicks = max(counts.clicks, 1)
            table.add_row(
                str(day.day),
                name,
                f"{counts.impressions:,}",
                f"{counts.impressions / max(day.impressions, 1):.1%}",
                f"{counts.users:,}",
                f"{counts.users / max(day.users, 1):.1%}",
                f"{counts.clicks / max(counts.impressions, 1):.2%}",
                f"{counts.carts / clicks:.2%}",
                f"{counts.conversions / clicks:.2%}",
            )
    console.print(table)
