"""`headwater nearline get | batch` and `headwater forget`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headwater.cli.options import HomeOption, LogOption, PolicyOption, StoreOption, parse_time, say_time
from headwater.cli.stream import IntoOption, OverwriteOption, run_backfill
from headwater.errors import HeadwaterError
from headwater.home import DEFAULT_HOME, Home

if TYPE_CHECKING:
    from headwater.cli.names import Names
    from headwater.nearline.candidates import NearlineCandidates
    from headwater.nearline.lookup import KnownUser
    from headwater.store import Store

nearline_app = typer.Typer(
    help="Look at a user's nearline candidates, or compute all users' in one go.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@nearline_app.command("get")
def get_(
    user: UserArgument,
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", metavar="NAME", help="This one only. Repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many candidates to show.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show a user's queues, candidates with their scores, and why each is one: scenario, visit, age, rank.

    The exit status is 1 where the user was never seen.

    Example: headwater nearline get 42 --scenario mini_detail
    """
    from headwater.cli.names import Names
    from headwater.nearline.candidates import combine
    from headwater.nearline.lookup import look_up
    from headwater.store import without_secrets

    place = Home(home, store)
    names, shown = Names.of(place), without_secrets(place.store)
    opened = _opened(place)
    try:
        found = [(key, look_up(opened, key, scenario)) for key in names.user_keys(user)]
    finally:
        opened.close()
    key, known = next(((key, known) for key, known in found if known is not None), (found[0][0], None))
    if known is None:
        raise HeadwaterError(
            f"user {user} (key {key}) was never seen by a nearline stream that writes to {shown}: no visit "
            "in a scenario that is queued, and no click. Is `headwater stream` running, and on the log of this service?"
        )
    combined, now = combine(list(known.candidates.values())), int(time.time())
    if as_json:
        typer.echo(json.dumps(_as_object(user, key, known, combined, names, now)))
        return
    console = Console()
    console.print(_headline(user, key, known, shown, now), highlight=False, markup=False, soft_wrap=True)
    if known.queues:
        _print_queues(console, known, now)
        _print_candidates(console, known, combined, names, k, now)
    elif known.forgotten_at is None:
        console.print("no visit is queued" + (f" in {', '.join(scenario)}" if scenario else ""), markup=False)


@nearline_app.command()
def batch(
    into: IntoOption,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Know nothing later. (default: the last midnight, UTC)")
    ] = None,
    glare: Annotated[
        bool, typer.Option("--glare", help="From the target's own log alone, as the paper's baseline Glare.")
    ] = False,
    log: LogOption = None,
    policy: PolicyOption = None,
    overwrite: OverwriteOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Batch mode, run once a day: all users' candidates from the log up to the last midnight, into a store or a file.

    What the paper compares its stream with (table 2); --glare is another of its baselines (table 1). The next day's run
    into the same store replaces what this one wrote.

    Example: headwater nearline batch --glare --into glare.jsonl
    """
    from headwater.nearline import Policy
    from headwater.nearline.batch import last_midnight

    settings = Policy() if policy is None else Policy.load(policy)
    run_backfill(
        into,
        settings.glare() if glare else settings,
        since=0,
        until=last_midnight(time.time()) if at is None else parse_time(at, "--at"),
        log=log or Home(home).log,
        overwrite=overwrite,
    )


def forget(
    user: UserArgument,
    store: StoreOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Remove all that the online state knows of a user, and say what it was; beside a running service and stream.

    Events and records up to now are never taken in again, however often they are sent or replayed.

    Example: headwater forget 42
    """
    from headwater.cli.names import Names
    from headwater.service.forget import forget_user
    from headwater.store import without_secrets

    place = Home(home, store)
    names = Names.of(place)
    keys = names.user_keys(user)
    now = int(time.time())
    console = Console()
    opened, shown = _opened(place), without_secrets(place.store)
    try:
        done = [forget_user(opened, key, at=now) for key in keys]
    finally:
        opened.close()
    known = [one for one in done if not one.is_nothing]
    if known:
        counts = {
            "events of the profile": sum(one.events for one in known),
            "queued visits": sum(one.visits for one in known),
            "acted items": sum(one.acts for one in known),
            "candidates": sum(one.candidates for one in known),
            "dead letters": sum(one.dead_letters for one in known),
        }
        said = "removed " + ", ".join(f"{count:,} {what}" for what, count in counts.items())
        said += " and what was torn and could not be counted" if any(one.is_unreadable for one in known) else ""
    else:
        said = "nothing was known"
    lines = [f"user {user}: {said}. Nothing up to {say_time(now)} is taken in again. Store: {shown}"]
    logs = [*place.log.glob("*.jsonl"), *place.log.glob("*.arrows")]
    if logs:
        lines.append(
            f"not touched: {len(logs)} log files in {place.log} may name the user; delete them once they are read"
        )
    if any(names.knows_user(key) for key in keys):
        lines.append(
            f"not touched: release {names.release} was trained with the user, and so is its data set in {place.root}; "
            "take the user out of the data and train again"
        )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _opened(place: Home) -> Store:
    """The store of a home, which must be there: looking must not make one."""
    from headwater.store import open_store

    if "://" not in str(place.store) and not Path(place.store).is_dir():
        raise HeadwaterError(f"there is no store in {place.store}; name another with --store or --home")
    return open_store(place.store)


# -- what is shown


def _headline(user: str, key: int, known: KnownUser, store: str, now: int) -> str:
    who = f"user {user}" + ("" if user == str(key) else f" (key {key})")
    facts = []
    if known.newest is not None:
        facts.append(f"newest record {say_time(known.newest)}, {_ago(now, known.newest)} ago")
    if known.forgotten_at is not None:
        facts.append(f"forgotten: nothing up to {say_time(known.forgotten_at)} is taken in")
    if len(known.acted_items):
        facts.append(f"{len(known.acted_items):,} items clicked, carted or bought are left out")
    return f"{who} in {store}: {'; '.join(facts) or 'no record is kept'}"


def _print_queues(console: Console, known: KnownUser, now: int) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="queues, newest visit first", title_justify="left")
    table.add_column("scenario", no_wrap=True)
    table.add_column("visit", overflow="fold")
    table.add_column("time", no_wrap=True)
    for name in ("ago", "items"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, queue in known.queues.items():
        for at, queued in enumerate(queue):
            items = "[red]lost[/red]" if queued.items is None else f"{queued.items:,}"
            shown = escape(name) if at == 0 else ""
            ago = _ago(now, queued.timestamp)
            table.add_row(shown, escape(queued.request_id), say_time(queued.timestamp), ago, items)
    console.print(table)


def _print_candidates(
    console: Console, known: KnownUser, combined: NearlineCandidates, names: Names, k: int, now: int
) -> None:
    expired = [name for name in known.queues if name not in known.candidates]
    if expired:
        console.print(f"no stored candidates of {', '.join(expired)}: they have expired", markup=False)
    shown = min(k, len(combined))
    title = f"the best {shown:,} of {len(combined):,} candidates; ranks and time indices count from 0"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("", justify="right", style="dim", no_wrap=True)
    table.add_column("item", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("scenario", no_wrap=True)
    for name in ("ago", "rank", "time index"):
        table.add_column(name, justify="right", no_wrap=True)
    items = names.items_of(combined.items[:shown].tolist())
    scores = combined.scores
    for at, (item, title_) in enumerate(items):
        visit = int(combined.visits[at])
        table.add_row(
            str(at + 1),
            escape(title_ or str(item)),
            f"{scores[at]:.4f}",
            escape(combined.scenarios[visit]),
            _ago(now, int(combined.timestamps[visit])),
            str(combined.ranks[at]),
            str(combined.time_indices[visit]),
        )
    console.print(table)


def _as_object(
    user: str, key: int, known: KnownUser, combined: NearlineCandidates, names: Names, now: int
) -> dict[str, Any]:
    items, scores = names.items_of(combined.items.tolist()), combined.scores.tolist()
    acted = names.items_of(known.acted_items.tolist())
    return {
        "user": user,
        "key": key,
        "newest": known.newest,
        "forgotten_at": known.forgotten_at,
        "acted": [
            {"item": item, "timestamp": at} for (item, _), at in zip(acted, known.acted_times.tolist(), strict=True)
        ],
        "queues": {
            name: [{"visit": one.request_id, "timestamp": one.timestamp, "items": one.items} for one in queue]
            for name, queue in known.queues.items()
        },
        "candidates": [
            {
                "item": item,
                "title": title or None,
                "score": score,
                "scenario": combined.scenarios[visit],
                "visit": combined.request_ids[visit],
                "age_seconds": max(now - int(combined.timestamps[visit]), 0),
                "rank": int(rank),
                "time_index": int(combined.time_indices[visit]),
            }
            for (item, title), score, visit, rank in zip(
                items, scores, combined.visits.tolist(), combined.ranks.tolist(), strict=True
            )
        ],
    }


def _ago(now: int, then: int) -> str:
    from headwater.service.why import say_age

    return say_age(max(now - then, 0))
