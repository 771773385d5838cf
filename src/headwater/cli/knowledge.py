"""`headwater knowledge …`: build what is known, publish it, see, pin and ask its versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME, Home

knowledge_app = typer.Typer(help="Knowledge of a super-domain, built, published and served.", no_args_is_help=True)

UsersOption = Annotated[
    str | None,
    typer.Option(
        "--users", metavar="URL", envvar="HEADWATER_KNOWLEDGE", help="A server that holds users. (default: LMDB files)"
    ),
]
VersionArgument = Annotated[int, typer.Argument(help="Its number.", metavar="VERSION")]
ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="URL", help="Ask a running service in place of the home's center.")
]


@knowledge_app.command()
def build(
    packed: Annotated[Path, typer.Argument(help="Impressions of the super-domain, packed.", metavar="FILE")],
    to: Annotated[Path, typer.Argument(help="The folder to write.", metavar="FOLDER")],
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="Item attribute beside the id, for users and items apart. Repeatable. (default: category)"),
    ] = None,
    category: Annotated[str, typer.Option(help="Item attribute that stands for the item.")] = "category",
    seed: Annotated[int, typer.Option(help="Of both models.")] = 0,
) -> None:
    """Train both small models on impressions and write what they say of every user, item and observed pair.

    Example: headwater knowledge build clicks.npz knowledge
    """
    from headwater.data.packed import unpack_impressions
    from headwater.knowledge.build import build as build_all
    from headwater.knowledge.config import DecompositionConfig, DegenerationConfig
    from headwater.knowledge.decompose import Decomposition
    from headwater.knowledge.extract import Degeneration
    from headwater.ranking.config import NetworkConfig

    impressions = unpack_impressions(packed)
    training = NetworkConfig.model_fields["training"].default.model_copy(update={"seed": seed})
    attributes = tuple(attribute or ["category"])
    towers = Decomposition(DecompositionConfig(item_attributes=attributes, training=training)).fit(impressions)
    pairs = Degeneration(DegenerationConfig(item_attributes=(category,), training=training)).fit(impressions)
    built = build_all(towers, pairs, impressions, to)
    typer.echo(
        f"built {to}: {len(built.user_keys):,} users, {len(built.item_keys):,} items, "
        f"{len(built.pairs):,} pairs of user and category"
    )


@knowledge_app.command()
def publish(
    built: Annotated[Path, typer.Argument(help="What `build` wrote.", metavar="FOLDER")],
    users: UsersOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Check what was built, make it the next version, and serve it; at most five stay.

    Example: headwater knowledge publish knowledge
    """
    from headwater.knowledge.center import Center

    typer.echo(f"published version {Center(Home(home).knowledge, users).publish(built)}")


@knowledge_app.command("list")
def listed(service: ServiceOption = None, home: HomeOption = DEFAULT_HOME) -> None:
    """List the versions, oldest first; the served one is marked."""
    from headwater.cli.options import say_time
    from headwater.show import print_figures

    lines = []
    for one in _client(service, home).held():
        about = one.about
        counts = [f"{about[name]:,}" for name in ("n_users", "n_items", "n_pairs")]
        mark = "*" if one.is_current else ""
        lines.append([mark, str(one.version), say_time(about["published"]), *counts, ", ".join(one.pins)])
    headings = ["", "version", "published", "users", "items", "pairs", "pinned by"]
    print_figures(Console(), f"{len(lines)} versions", headings, lines)


@knowledge_app.command()
def pin(
    version: VersionArgument,
    name: Annotated[str, typer.Argument(help="Who needs it, such as a model.", metavar="NAME")],
    off: Annotated[bool, typer.Option("--off", help="Take the pin back.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Keep a version while a model needs it.

    Example: headwater knowledge pin 3 din-ads
    """
    from headwater.knowledge.center import Center

    center = Center(Home(home).knowledge)
    (center.unpin if off else center.pin)(version, name)
    typer.echo(f"version {version} is {'no longer ' if off else ''}pinned by {name}")


@knowledge_app.command("get")
def ask(
    user: Annotated[str, typer.Option(help="Id of the user.")],
    item: Annotated[str, typer.Option(help="Id of the item.")],
    category: Annotated[str | None, typer.Option(help="Its name. (default: the item's own)")] = None,
    version: Annotated[int | None, typer.Option(help="(default: the served one)")] = None,
    strings: Annotated[bool, typer.Option("--strings", help="Ids that look like integers are text.")] = False,
    service: ServiceOption = None,
    users: UsersOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print what is known of a user with an item, part by part.

    Example: headwater knowledge get --user 42 --item "Toy Story (1995)"
    """
    import numpy as np

    from headwater.data.vocabulary import key_of
    from headwater.knowledge.records import ITEM_UNKNOWN, PAIR_UNKNOWN, USER_UNKNOWN

    client = _client(service, home, users)
    named = None if category is None else np.array([key_of(category)], np.int64)
    asked_user, asked_item = (np.array([_key(text, strings=strings)], np.int64) for text in (user, item))
    answer = client.get(asked_user, asked_item, named, version=version)
    about = next(one.about for one in client.held() if one.version == answer.version)
    typer.echo(f"version {answer.version}")
    at = 0
    for name, width in about["parts"].items():
        values = " ".join(f"{value:.4g}" for value in answer.values[0, at : at + min(width, 8)])
        typer.echo(f"{name:12} {width:4} {values}{' …' if width > 8 else ''}")
        at += width
    flags = int(answer.flags[0])
    for flag, what in ((USER_UNKNOWN, "user"), (ITEM_UNKNOWN, "item"), (PAIR_UNKNOWN, "user with category")):
        if flags & flag:
            typer.echo(f"unknown {what}: the default")


@knowledge_app.command()
def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.", metavar="USER")],
    strings: Annotated[bool, typer.Option("--strings", help="Ids that look like integers are text.")] = False,
    users: UsersOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Serve a version without a user, remove those that hold the user, and name the pinned ones that still do.

    What models have learned stays. Forget the user in the online state too: headwater forget.

    Example: headwater knowledge forget 42
    """
    import numpy as np

    from headwater.knowledge.center import Center

    done = Center(Home(home).knowledge, users).forget(np.array([_key(user, strings=strings)], np.int64))
    if done.version is not None:
        typer.echo(f"serving version {done.version}, which does not know {user}")
    if done.removed:
        typer.echo(f"removed: version {', '.join(map(str, done.removed))}")
    for version, names in done.pinned.items():
        typer.echo(f"version {version} still knows {user} and is pinned by {', '.join(names)}: unpin it, forget again")
    if done.version is None and not done.removed and not done.pinned:
        typer.echo(f"no version knows {user}")


@knowledge_app.command()
def rollback(home: HomeOption = DEFAULT_HOME) -> None:
    """Serve the newest version older than the served one."""
    from headwater.knowledge.center import Center

    typer.echo(f"serving version {Center(Home(home).knowledge).rollback()}")


def _key(text: str, *, strings: bool) -> int:
    from headwater.data.vocabulary import key_of

    is_integer = not strings and text.removeprefix("-").isdecimal()
    return key_of(int(text) if is_integer else text)


def _client(service: str | None, home: Path, users: str | None = None):
    import os

    from headwater.knowledge.center import Center
    from headwater.knowledge.http import HttpKnowledge
    from headwater.network import TOKEN_VARIABLE

    if service is not None:
        return HttpKnowledge(service, os.environ.get(TOKEN_VARIABLE))
    return Center(Home(home).knowledge, users)
