"""Several channels' candidates into one list: who gives how many, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ConfigError
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class WeightedQuotas:
    """Each channel gives its share of the list, by weight.

    Quotas are k · w_c / Σw, rounded by largest remainder; a channel that runs short gives its room to the
    others by weight. In the list a channel's item at place p (from 0) stands by (p + 1/2) / w_c, so that every
    beginning of the list is shared out in about the same proportions (Webster's method).

    Attributes
    ----------
    weights : mapping of str to float
        By channel name, not negative; 0 switches a channel off. It may name channels that are not there:
        their room goes to the others.

    Raises
    ------
    ConfigError
        A weight is negative or not finite.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (np.isfinite(weight) and weight >= 0):
                raise ConfigError(f"the weight of channel {name!r} must be 0 or more, not {weight}")

    def of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Weights of `names`; raises `ConfigError` where one has none."""
        missing = [name for name in names if name not in self.weights]
        if missing:
            raise ConfigError(f"channel {missing[0]!r} has no weight; there are weights for {', '.join(self.weights)}")
        return np.array([self.weights[name] for name in names], np.float64)


@dataclass(frozen=True)
class RoundRobin:
    """Channels take turns: all first places in `order`, then all second places, and so on.

    Attributes
    ----------
    order : sequence of str
        Channel names; those that are not there are passed over. A channel that is not in it raises `ConfigError`.
    """

    order: Sequence[str]

    def of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The turn of each of `names`."""
        missing = [name for name in names if name not in self.order]
        if missing:
            raise ConfigError(f"channel {missing[0]!r} has no turn; the order is {', '.join(self.order)}")
        return np.array([list(self.order).index(name) for name in names], np.int64)


def merge(parts: Sequence[Candidates], k: int, *, strategy: WeightedQuotas | RoundRobin) -> Candidates:
    """One list of exactly k candidates for each query, or of all there are where the parts hold fewer.

    An item that several channels found is taken once, keeps all their bits, and counts for the channel that
    puts it foremost (its place over its weight, or its place in a round robin).

    Parameters
    ----------
    parts : sequence of Candidates
        One of each channel, all of the same queries. Items of a channel with weight 0 are left out unless
        another channel found them too.
    k : int
    strategy : WeightedQuotas or RoundRobin

    Returns
    -------
    Candidates
        `names` are the parts' in their order. Scores of different channels are not comparable, so the score is
        1 / (1 + place in the merged list), which only says the order.

    Raises
    ------
    ConfigError
        The strategy does not know a channel.
    ValueError
        No part, parts of several channels or of different queries, one channel twice, more than 32, or k < 1.
    """
    names = _names(parts, k)
    n = parts[0].n_queries
    channel = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    place = np.concatenate([part.ranks() for part in parts])
    if isinstance(strategy, WeightedQuotas):
        weights = strategy.of(names)
        with np.errstate(divide="ignore"):
            standing = (place + 0.5) / weights[channel]
        turn = np.argsort(np.argsort(-weights, kind="stable"), kind="stable")[channel]
    else:
        weights = None
        standing = place.astype(np.float64)
        turn = strategy.of(names)[channel]
    found = _Found(
        rows=np.concatenate([part.rows for part in parts]).astype(np.int64),
        items=np.concatenate([part.items for part in parts]),
        channel=channel,
        standing=standing,
        turn=turn,
        bits=np.uint32(1) << channel.astype(np.uint32),
    ).once_each()
    found = found.take(np.isfinite(found.standing))  # found by channels that are switched off only

    if weights is not None:
        owner = found.rows * len(parts) + found.channel
        room = np.bincount(owner, minlength=n * len(parts)).reshape(n, len(parts))
        order = np.lexsort((found.standing, owner))
        nth = np.empty(len(owner), np.int64)
        nth[order] = _places(owner[order])
        found = found.take(nth < quotas(weights, room, k).ravel()[owner])

    found = found.take(np.lexsort((found.turn, found.standing, found.rows)))
    place = _places(found.rows)
    found, place = found.take(place < k), place[place < k]
    return Candidates(
        n_queries=n,
        rows=found.rows.astype(np.int32),
        items=found.items.astype(np.int32),
        scores=(1.0 / (1.0 + place)).astype(np.float32),
        channels=found.bits,
        names=names,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Columns of all that was found: the lower its standing, then its channel's turn, the further in front."""

    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    channel: NDArray[np.int64]
    standing: NDArray[np.float64]
    turn: NDArray[np.int64]
    bits: NDArray[np.uint32]

    def take(self, at: NDArray[np.bool_] | NDArray[np.integer]) -> _Found:
        return _Found(self.rows[at], self.items[at], self.channel[at], self.standing[at], self.turn[at], self.bits[at])

    def once_each(self) -> _Found:
        """One entry for each (query, item): that of the channel which puts it foremost, with everybody's bits."""
        if not len(self.rows):
            return self
        ordered = self.take(np.lexsort((self.turn, self.standing, self.items, self.rows)))
        is_first = np.ones(len(ordered.rows), bool)
        is_first[1:] = (np.diff(ordered.rows) != 0) | (np.diff(ordered.items) != 0)
        first = np.flatnonzero(is_first)
        return replace(ordered.take(first), bits=np.bitwise_or.reduceat(ordered.bits, first))


def quotas(weights: NDArray[np.floating], room: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """How many items each source gives: proportional to weight, at most its room, k in all while room allows.

    Solves q_c = min(room_c, λ w_c) with Σ q = min(k, Σ room) first and rounds once, by largest remainder (ties go
    to the source that stands first): rounding before the room of short sources is shared out anew would let a
    quota fall while its weight rises.

    Parameters
    ----------
    weights : (sources,) or (n, sources)
        Not negative; a source of weight 0 gives nothing.
    room : (n, sources)
        Items that each source has.
    k : int

    Returns
    -------
    (n, sources) int64
    """
    weights = np.broadcast_to(np.asarray(weights, np.float64), room.shape)
    room = np.where(weights > 0, room, 0).astype(np.int64)
    total = np.minimum(k, room.sum(axis=1))
    # Sources run short in ascending room / weight. With the first j of them full, λ = (total - their room) / the
    # others' weight; λ is right at the first j whose next source still has room for its share.
    fullness = np.where(weights > 0, room / np.where(weights > 0, weights, 1.0), 0.0)
    order = np.argsort(fullness, axis=1, kind="stable")
    sorted_room = np.take_along_axis(room, order, axis=1)
    sorted_weight = np.take_along_axis(weights, order, axis=1)
    room_before = np.cumsum(sorted_room, axis=1) - sorted_room
    weight_from = np.cumsum(sorted_weight[:, ::-1], axis=1)[:, ::-1]
    level = (total[:, None] - room_before) / np.where(weight_from > 0, weight_from, np.inf)
    fits = level <= np.take_along_axis(fullness, order, axis=1)
    at = np.where(fits.any(axis=1), fits.argmax(axis=1), 0)
    level = np.where(fits.any(axis=1), level[np.arange(len(level)), at], np.inf)
    with np.errstate(invalid="ignore"):
        exact = np.where(weights > 0, np.minimum(room, level[:, None] * weights), 0.0)
    exact = np.round(exact, 9)  # 2.9999999999 is 3 that met floating point
    whole = np.floor(exact).astype(np.int64)
    remainder = np.where(whole < room, exact - whole, -1.0)
    missing = total - whole.sum(axis=1)
    by_remainder = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1, kind="stable")
    return whole + (by_remainder < missing[:, None])


def _names(parts: Sequence[Candidates], k: int) -> tuple[str, ...]:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if not parts:
        raise ValueError("there is nothing to merge; give the candidates of at least one channel")
    if any(len(part.names) != 1 for part in parts):
        raise ValueError("each part must hold the candidates of one channel; merge all channels in one call")
    names = tuple(part.names[0] for part in parts)
    if len(set(names)) != len(names) or len(names) > 32:
        raise ValueError(f"parts need distinct channel names, at most 32: {', '.join(names)}")
    if len({part.n_queries for part in parts}) != 1:
        raise ValueError(f"parts answer different queries: {', '.join(str(part.n_queries) for part in parts)} rows")
    return names


def _places(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """The place of each entry within its run of equal, ascending `groups`, from 0."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)
