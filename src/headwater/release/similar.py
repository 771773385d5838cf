"""The neighbours of an item, by any channel of a release that knows items from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from headwater.data.vocabulary import UNKNOWN, Vocabulary
from headwater.errors import ConfigError, UnknownItem
from headwater.release.release import Release
from headwater.retrieval.item_to_item import HasSimilarities, neighbours_of

NAMED = 8
"""Titles that an error lists at most."""


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """One neighbour: its id and title, and how similar it is, on the channel's own scale."""

    id: int | str
    title: str
    category: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Similar:
    """What is near one item, best first."""

    release: str
    channel: str
    id: int | str
    title: str
    items: list[SimilarItem]


def similar_items(release: Release, typed: str, *, channel: str | None = None, k: int = 10) -> Similar:
    """The k items of the release that a channel finds most similar to the one that was typed.

    Parameters
    ----------
    typed : str
        An id, or a title or a part of one that no other item has; see `find_item`.
    channel : str, optional
        By name; the release's first one that has similarities by default.

    Raises
    ------
    UnknownItem
        See `find_item`.
    ConfigError
        No such channel, or one without similarities.
    """
    item = find_item(release.items, release.titles, typed)
    source = _channel(release, channel)
    found = neighbours_of(source, item, k)
    ids = release.items.decode(found.items)
    return Similar(
        release.id,
        source.name,
        release.items.decode([item])[0],
        release.titles[item],
        [
            SimilarItem(id_, release.titles[code], release.category_names[release.categories[code]], float(similarity))
            for id_, code, similarity in zip(ids, found.items.tolist(), found.similarities.tolist(), strict=True)
        ],
    )


def find_item(items: Vocabulary, titles: Sequence[str], typed: str) -> int:
    """The code of the item with this id; else with this title; else with this in its title. Case matters in ids only.

    Raises `UnknownItem`, which names what is near, where there is none, or where it fits several titles.
    """
    code = _code(items, typed)
    if code != UNKNOWN:
        return code
    wanted = typed.casefold().strip()
    folded = [title.casefold() for title in titles]
    for fits in (
        [at for at, title in enumerate(folded) if title == wanted],
        [at for at, title in enumerate(folded) if wanted and wanted in title],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            said = "; ".join(_named(items, titles, at) for at in fits[:NAMED])
            more = f"; and {len(fits) - NAMED:,} more" if len(fits) > NAMED else ""
            raise UnknownItem(f"{typed!r} fits {len(fits):,} items: {said}{more}. Give the id of one")
    near = get_close_matches(wanted, folded, 3, 0.5)
    said = "; ".join(_named(items, titles, folded.index(title)) for title in near)
    raise UnknownItem(f"no item has the id or title {typed!r}" + (f"; near are {said}" if near else ""))


def _named(items: Vocabulary, titles: Sequence[str], at: int) -> str:
    id_ = items.decode([at])[0]
    return titles[at] if str(id_) == titles[at] else f"{titles[at]} (id {id_})"


def _code(items: Vocabulary, typed: str) -> int:
    if items.kind == "string":
        return items.code(typed)
    return items.code(int(typed)) if typed.removeprefix("-").isdecimal() else UNKNOWN


def _channel(release: Release, name: str | None) -> Any:
    able = [channel for channel in release.channels if isinstance(channel, HasSimilarities)]
    said = ", ".join(channel.name for channel in able) or "none"
    if name is None:
        if not able:
            raise ConfigError(f"no channel of release {release.id} knows items from each other; train one with itemcf")
        return able[0]
    for channel in release.channels:
        if channel.name == name:
            if channel not in able:
                raise ConfigError(f"{name} says nothing of how similar two items are; channels that do: {said}")
            return channel
    nearest = get_close_matches(name, [channel.name for channel in able], 1, 0.0)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(f"release {release.id} has no channel {name!r}{hint} (channels with similarities: {said})")
