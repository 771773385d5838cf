"""`headwater release …`: what is there, which one is served, and going back."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME, Home

release_app = typer.Typer(help="List releases, promote one, or roll back.", no_args_is_help=True)


@release_app.command("list")
def listed(home: HomeOption = DEFAULT_HOME) -> None:
    """List releases, oldest first; the one being served is marked."""
    from headwater import release as releases
    from headwater.errors import ReleaseError

    root = Home(home).releases
    try:
        current = releases.current(root)
    except ReleaseError:
        current = None
    table = Table("", "release", "dataset", "interactions", "channels")
    for name in releases.listed(root):
        manifest = releases.read_manifest(root / name)
        table.add_row(
            "*" if name == current else "",
            name,
            manifest.window.dataset,
            f"{manifest.window.interactions:,}",
            ", ".join(part.name for part in manifest.channels),
        )
    Console().print(table)


@release_app.command()
def promote(release: str, home: HomeOption = DEFAULT_HOME) -> None:
    """Make RELEASE the served one; a running service takes it up within about a second."""
    from headwater import release as releases

    releases.promote(Home(home).releases, release)
    typer.echo(f"promoted {release}")


@release_app.command()
def rollback(home: HomeOption = DEFAULT_HOME) -> None:
    """Go back to the newest release older than the served one."""
    from headwater import release as releases

    typer.echo(f"promoted {releases.rollback(Home(home).releases)}")
