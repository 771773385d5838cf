"""Options that several verbs have, each said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.errors import ConfigError

HomeOption = Annotated[Path, typer.Option("--home", help="Where data, releases and state are kept.")]

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER|URL",
        envvar="HEADWATER_STORE",
        help="The store: a folder, or redis://host:6379/0. (default: the home's)",
    ),
]

LogOption = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="FOLDER|URL",
        help="The rank log: a folder, redis://host:6379/0?stream=NAME, kafka://host:9092/TOPIC. (default: the home's)",
    ),
]

PolicyOption = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Nearline policy as TOML; the paper's defaults without.")
]


def parse_time(text: str, option: str) -> int:
    """Unix seconds of what was typed: a date, a date and time (UTC unless it names a zone), or Unix seconds."""
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: give a date such as 2026-11-21, a time such as 2026-11-21T18:00, or Unix seconds",
            param_hint=option,
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def say_time(seconds: int) -> str:
    """Unix seconds as people read them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class EventOptions:
    """How a file of events is to be read: which column is which, what its words mean, and what stands beside it."""

    user: Annotated[str | None, typer.Option("--user", metavar="COLUMN", help="User ids. (default: user_id)")] = None
    item: Annotated[str | None, typer.Option("--item", metavar="COLUMN", help="Item ids. (default: item_id)")] = None
    time: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="Unix seconds. (default: timestamp)")] = (
        None
    )
    behaviour: Annotated[
        str | None,
        typer.Option(
            "--behaviour",
            metavar="COLUMN",
            help="What the user did. (default: behaviour, where there is one; else clicks)",
        ),
    ] = None
    rating: Annotated[
        str | None,
        typer.Option("--rating", metavar="COLUMN", help="Ratings; '' for none. (default: rating, where there is one)"),
    ] = None
    behaviour_map: Annotated[
        list[str] | None,
        typer.Option(
            "--behaviour-map",
            metavar="WORD=BEHAVIOUR",
            help="Translate a word of the file to impression, click, cart or purchase, e.g. buy=purchase. Repeatable.",
        ),
    ] = None
    positions: Annotated[
        bool,
        typer.Option(
            "--positions",
            help="There is no clock: --time names the place in the user's history; without it the file is in order.",
        ),
    ] = False
    items_file: Annotated[
        Path | None,
        typer.Option(
            "--items-file", metavar="FILE", help="Item attributes, one row an item; `title`, `category` are used."
        ),
    ] = None
    users_file: Annotated[
        Path | None, typer.Option("--users-file", metavar="FILE", help="User attributes, one row a user.")
    ] = None
    every_item: Annotated[bool, typer.Option("--every-item", help="Also take items that only the items file has.")] = (
        False
    )

    def arguments(self) -> dict[str, Any]:
        """The same as arguments of `read_events` and `check_events`.

        Raises `ConfigError` where a `--behaviour-map` is not WORD=BEHAVIOUR.
        """
        from headwater.data.events import Columns

        required = {"user": self.user, "item": self.item, "time": self.time}
        # '' takes a column out that would be read by its default name.
        optional = {"behaviour": self.behaviour, "rating": self.rating}
        given = {role: column for role, column in required.items() if column is not None}
        given |= {role: column or None for role, column in optional.items() if column is not None}
        return {
            "columns": Columns.model_validate(given),
            "behaviours": dict(_translation(pair) for pair in self.behaviour_map or []),
            "time_unit": "position" if self.positions else "seconds",
            "items_file": self.items_file,
            "users_file": self.users_file,
            "every_item": self.every_item,
        }


def with_event_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the fields of its argument `events: EventOptions` as options of their own.

    Typer reads a verb's options from its signature and knows no groups.
    """
    own = inspect.signature(verb, eval_str=True).parameters
    options = inspect.signature(EventOptions, eval_str=True).parameters

    @wraps(verb)
    def spread(**given: Any) -> None:
        events = EventOptions(**{name: given.pop(name) for name in options})
        verb(**given, events=events)

    spread_out = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        for one in (options.values() if name == "events" else [parameter])
    ]
    spread.__signature__ = inspect.Signature(spread_out)  # type: ignore[attr-defined]
    spread.__annotations__ = {one.name: one.annotation for one in spread_out}
    return spread


def _translation(pair: str) -> tuple[str, str]:
    word, equals, ours = pair.partition("=")
    if not equals or not word:
        raise ConfigError(f"--behaviour-map {pair!r} is not WORD=BEHAVIOUR, such as buy=purchase")
    return word, ours
