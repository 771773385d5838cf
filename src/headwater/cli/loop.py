"""`headwater serve | demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, StoreOption
from headwater.home import DEFAULT_HOME, Home


def serve(
    host: Annotated[str, typer.Option(help="Loopback unless HEADWATER_TOKEN holds a secret.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Serve the promoted release over HTTP until interrupted.

    Example: headwater serve --port 8080, then
    curl -s localhost:8080/v1/candidates -H 'content-type: application/json' -d '{"user": 1, "k": 5}'
    """
    from headwater.network import TOKEN_VARIABLE
    from headwater.service.app import serve as run

    run(Home(home, store), host=host, port=port, workers=workers, token=os.environ.get(TOKEN_VARIABLE))


def demo(
    recipe: Annotated[Path, typer.Option(help="What to train and compare.")] = Path("recipes/ml-1m.toml"),
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Fetch MovieLens-1M, train, compare channels, play the loop live, and write a report with plots.

    Example: headwater demo
    """
    import signal
    import sys

    from headwater.demo import play
    from headwater.recipe import load_recipe

    # A terminated tour must stop the processes that it started: leave through the `finally` that does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    play(load_recipe(recipe), Home(home), Console())
