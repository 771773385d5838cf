"""`headwater serve | stream | demo`."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME, Home

if TYPE_CHECKING:
    from headwater.nearline import Stream


def serve(
    host: Annotated[str, typer.Option(help="Loopback unless HEADWATER_TOKEN holds a secret.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 1,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Serve the promoted release over HTTP until interrupted.

    Example: headwater serve --port 8080, then
    curl -s localhost:8080/v1/candidates -H 'content-type: application/json' -d '{"user": 1, "k": 5}'
    """
    from headwater.network import TOKEN_VARIABLE
    from headwater.service.app import serve as run

    run(Home(home), host=host, port=port, workers=workers, token=os.environ.get(TOKEN_VARIABLE))


def stream(
    policy: Annotated[Path | None, typer.Option(help="Nearline policy as TOML; the paper's defaults without.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live status line.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Turn the service's rank log into nearline candidates until interrupted; goes on where it stopped.

    Example: headwater stream
    """
    import signal

    from headwater.nearline import DirectorySource, Policy, Stream
    from headwater.store.lmdb import LmdbStore

    settings = Policy() if policy is None else Policy.load(policy)
    place = Home(home)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    store = LmdbStore(place.store)
    try:
        running = Stream(DirectorySource(place.log), store, settings)
        console = Console()
        if not quiet and console.is_terminal:
            watcher = threading.Thread(target=_show_status, args=(running, stop, console), daemon=True)
            watcher.start()
        running.run(stop)
    finally:
        store.close()


def _show_status(running: Stream, stop: threading.Event, console: Console) -> None:
    with console.status("waiting for records") as line:
        while not stop.wait(0.5):
            now = running.status()
            line.update(
                f"{now.records:,} records, {now.dead_letters:,} dead letters, {now.pending_bytes:,} bytes waiting"
                + (f", {now.lag_seconds:.1f} s behind" if now.lag_seconds else "")
            )


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
