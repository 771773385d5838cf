"""`headwater stream` and `headwater stream replay`."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, LogOption, PolicyOption, StoreOption, parse_time
from headwater.home import DEFAULT_HOME, Home

if TYPE_CHECKING:
    from headwater.nearline.batch import Backfill
    from headwater.nearline.policy import Policy

stream_app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")


class Runtime(StrEnum):
    """Where the operator runs."""

    LOCAL = "local"
    FLINK = "flink"


UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Records up to then count, by their times. (default: now)"),
]
IntoOption = Annotated[
    str,
    typer.Option("--into", metavar="FOLDER|URL|FILE", help="A store, or a file that ends in .jsonl. Never the log."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the state that a live stream keeps in --into; stop it first.")
]


@stream_app.callback()
def stream(
    context: typer.Context,
    log: LogOption = None,
    store: StoreOption = None,
    policy: PolicyOption = None,
    partition: Annotated[
        str, typer.Option(metavar="I/N", help="Take the I-th of N parts of the users, from 0; start one process each.")
    ] = "0/1",
    batch: Annotated[int, typer.Option(help="Records of one durable write at most.", min=1, max=100_000)] = 2_000,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Serve figures for Prometheus at /metrics; 0 takes a free port.", min=0, max=65_535),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Loopback unless HEADWATER_TOKEN holds a secret that scrapers send.")
    ] = "127.0.0.1",
    quiet: Annotated[bool, typer.Option("--quiet", help="No status; warnings and errors only.")] = False,
    runtime: Annotated[
        Runtime, typer.Option(help="local: this process. flink: a job on a cluster, of which the options below speak.")
    ] = Runtime.LOCAL,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Flink's REST address. (default: start Flink on this machine, on loopback)"),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|URL", help="Of Flink's checkpoints and savepoints. (default: the home's flink)"),
    ] = None,
    parallelism: Annotated[int, typer.Option(help="Slots of the job; another number rescales it.", min=1, max=128)] = 1,
    readers: Annotated[
        int, typer.Option(help="Readers that share the log's files or partitions; fixed for a job.", min=1, max=128)
    ] = 1,
    name: Annotated[str, typer.Option(help="Of the job on Flink.")] = "headwater-stream",
    resume: Annotated[
        str | None, typer.Option(metavar="URL", help="Go on from this checkpoint or savepoint, not the newest.")
    ] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Go on with another policy, or with states of an older version.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget the job's past and read the log from its start.")
    ] = False,
    flink_environment: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Virtual environment that has PyFlink; see `make flink`.")
    ] = Path(".venv-flink"),
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Turn rank logs into nearline candidates until interrupted; goes on where it stopped.

    A changed policy file is used from the next batch on; a faulty one is reported, and the old policy stays.

    Example: headwater stream --policy policy.toml --metrics-port 9100

    Two processes on one Redis stream: headwater stream --log redis://127.0.0.1/0?stream=shop --partition 0/2, and 1/2

    On Flink, with two TaskManagers: headwater stream --runtime flink --parallelism 2
    """
    if context.invoked_subcommand is not None:
        return
    if runtime is Runtime.FLINK:
        from headwater.cli.flink import FlinkOptions, run_on_flink
        from headwater.nearline import Policy
        from headwater.nearline.flink.settings import JobSettings

        place = Home(home, store)
        settings = JobSettings(
            name=name,
            log=_absolute(log or place.log),
            store=_absolute(place.store),
            checkpoints=_absolute(checkpoints or home / "flink" / "checkpoints"),
            policy=Policy() if policy is None else Policy.load(policy),
            parallelism=parallelism,
            readers=readers,
        )
        options = FlinkOptions(flink_environment, cluster, resume, migrate, anew)
        _log_to(Console(), quiet=quiet)
        run_on_flink(settings, options, home / "flink" / "cluster", _stopped_by_signals(), quiet=quiet)
        return

    from headwater.cli.status import watch
    from headwater.nearline import Policy, PolicyFile, Stream, open_source
    from headwater.nearline.prometheus import MetricsEndpoint
    from headwater.network import TOKEN_VARIABLE
    from headwater.store import open_store

    share = _parse_partition(partition)
    place = Home(home, store)
    stop = _stopped_by_signals()
    console = Console()
    with ExitStack() as left:
        settings = Policy() if policy is None else PolicyFile(policy)
        source = open_source(log or place.log)
        opened = open_store(place.store)
        left.callback(opened.close)
        running = Stream(source, opened, settings, partition=share, batch=batch)
        endpoint = None
        if metrics_port is not None:
            token = os.environ.get(TOKEN_VARIABLE) or None
            endpoint = MetricsEndpoint(running.status, port=metrics_port, host=metrics_host, token=token)
            left.callback(endpoint.close)
        _log_to(console, quiet=quiet)
        if endpoint is not None and not quiet:
            console.print(f"figures for Prometheus at {endpoint.url}", highlight=False, soft_wrap=True)
        if not quiet:
            watcher = threading.Thread(target=watch, args=(running.status, stop, console), name="status")
            watcher.start()
            left.callback(watcher.join)
            left.callback(stop.set)
        running.run(stop)


@stream_app.command()
def replay(
    into: IntoOption,
    until: UntilOption = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Leave out what is older. (default: all of the log)")
    ] = None,
    log: LogOption = None,
    policy: PolicyOption = None,
    overwrite: OverwriteOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Compute all users' candidates as of a time from the whole log: a backfill, or a look at the past.

    TIME is a date or time such as 2026-11-21T18:00 (UTC unless it says otherwise), or Unix seconds. Where --into is a
    store, its users are replaced one by one, and a service may read meanwhile.

    Example: headwater stream replay --from 2026-11-14 --until 2026-11-21T18:00 --into as-of-friday
    """
    from headwater.nearline import Policy

    now = time.time()
    settings = Policy() if policy is None else Policy.load(policy)
    run_backfill(
        into,
        settings,
        since=0 if since is None else parse_time(since, "--from"),
        until=int(now) if until is None else parse_time(until, "--until"),
        log=log or Home(home).log,
        overwrite=overwrite,
    )


def run_backfill(into: str, policy: Policy, *, since: int, until: int, log: Path | str, overwrite: bool) -> None:
    """What `stream replay` and `nearline batch` do: read a log, write a store or a file, say what was done."""
    from headwater.cli.options import say_time
    from headwater.errors import ConfigError
    from headwater.nearline import open_source
    from headwater.nearline.batch import backfill, live_streams, write_file, write_store
    from headwater.store import open_store, without_secrets

    if since > until:
        raise ConfigError(f"--from {say_time(since)} lies after --until {say_time(until)}")
    if "://" not in str(log) and not Path(log).is_dir():
        raise ConfigError(f"{log} is no folder of log files; name one with --log, or a Redis stream's URL")
    if "://" not in into and Path(log).resolve() in (Path(into).resolve(), Path(into).resolve().parent):
        raise ConfigError(f"{into} lies in the log that is read: choose a place outside of {log}")
    console = Console()
    with ExitStack() as left:
        store, shown = None, without_secrets(into)
        if not into.endswith(".jsonl"):
            store = open_store(into)
            left.callback(store.close)
            live_streams(store, overwrite=overwrite)
        status = left.enter_context(console.status("reading the log"))

        def told(done: Backfill, waiting: int) -> None:
            status.update(f"reading the log: {done.records:,} records taken in, {waiting / 1e6:,.0f} MB to go")

        done = backfill(open_source(log), policy, since=since, until=until, told=told)
        status.update(f"writing {shown}")
        if store is None:
            lines = write_file(done.states, Path(into), policy, until=until)
            written = f"{lines:,} lines, one for each user and scenario"
        else:
            written = f"{write_store(done.states, store, policy, overwrite=overwrite):,} users with candidates"
    console.print(
        f"{done.records:,} records up to {say_time(until)}; {done.outside:,} outside of that time, "
        f"{done.refused:,} refused. {shown}: {written}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for letter in done.letters[:3]:
        row = "" if letter.row is None else f", row {letter.row}"
        console.print(
            f"refused: {letter.part}, byte {letter.offset}{row}: {letter.reason}",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _stopped_by_signals() -> threading.Event:
    """Set when this process is asked to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _absolute(place: Path | str) -> str:
    """A folder by its whole path, for Flink's processes run elsewhere; a URL as it is."""
    return str(place) if "://" in str(place) else str(Path(place).absolute())


def _parse_partition(text: str) -> tuple[int, int]:
    index, slash, n = text.partition("/")
    if slash and index.isdecimal() and n.isdecimal() and int(index) < int(n):
        return int(index), int(n)
    raise typer.BadParameter(f"{text!r} is not I/N with I from 0 to N - 1, such as 0/2", param_hint="--partition")


def _log_to(console: Console, *, quiet: bool) -> None:
    """Let the stream say what it meets; above the status where that is alive."""
    if console.is_terminal:
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(console=console, show_path=False)
        form = "%(message)s"
    else:
        handler, form = logging.StreamHandler(), "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(handlers=[handler], format=form)
    logging.getLogger("headwater").setLevel(logging.WARNING if quiet else logging.INFO)
