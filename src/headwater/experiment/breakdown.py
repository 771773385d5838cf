"""A closer look at the runs of a table: what each channel adds to the others, and which queries it hits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data import HeldOut
from headwater.experiment.table import Line, Table
from headwater.metrics import NO_HISTORY, GapBucket, IncrementalRecall, gain_by_gap, hit_rate_by_gap, incremental_recall

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ChannelByGap:
    """One channel's HR@k by the time since the last event.

    Attributes
    ----------
    buckets : list of GapBucket
        The same queries for every channel.
    beside : str or None
        For a channel that knows the request time: the best one, by HR@k, that does not.
    gain : list of float or None
        The share of its gain over that one that each bucket carries; None where it gains nothing.
    """

    channel: str
    k: int
    buckets: list[GapBucket]
    beside: str | None = None
    gain: list[float] | None = None

    @property
    def hit_rate(self) -> float:
        """Over all queries."""
        n_hits = sum(each.n_queries * each.hit_rate for each in self.buckets)
        return n_hits / sum(each.n_queries for each in self.buckets)


def incremental(table: Table) -> list[IncrementalRecall]:
    """Incremental recall at each of the recipe's `incremental_ks`, of the first run of every channel that was run.

    Empty where fewer than two channels have their targets' ranks.
    """
    held_out = _held_out(table)
    found = list(_ranked(table, held_out))
    if len(found) < 2:
        return []
    names, ranks = [line.channel for line, _ in found], np.stack([ranks for _, ranks in found])
    return [incremental_recall(names, ranks, held_out.offsets, k) for k in table.recipe.evaluate.incremental_ks]


def by_gap(table: Table) -> list[ChannelByGap]:
    """HR at the first cut-off by the time since the last event, of the first run of every channel that was run.

    Empty where the data set has positions instead of times.
    """
    if table.dataset.time_unit != "seconds":
        return []
    held_out = _held_out(table)
    queries, k = held_out.queries, table.recipe.evaluate.ks[0]
    gaps = np.full(len(queries), NO_HISTORY, np.int64)
    has_history = queries.lengths > 0
    last = queries.offsets[1:][has_history] - 1
    gaps[has_history] = queries.request_times[has_history] - queries.times[last]
    found = [
        (line, ChannelByGap(line.channel, k, hit_rate_by_gap(gaps, ranks, held_out.offsets, k)))
        for line, ranks in _ranked(table, held_out)
    ]
    others = [channel for line, channel in found if not line.knows_request_time]
    if not others:
        return [channel for _, channel in found]
    best = max(others, key=lambda channel: channel.hit_rate)
    return [
        ChannelByGap(channel.channel, k, channel.buckets, best.channel, gain_by_gap(best.buckets, channel.buckets))
        if line.knows_request_time
        else channel
        for line, channel in found
    ]


def derived(table: Table) -> dict[str, Any]:
    """Both as plain values, under `incremental` and `by_gap`; without those that there is nothing for."""
    found = {"incremental": incremental(table), "by_gap": by_gap(table)}
    return {name: [asdict(each) for each in listed] for name, listed in found.items() if listed}


def _held_out(table: Table) -> HeldOut:
    split = table.recipe.split.split(table.dataset)
    return split.test if table.part == "test" else split.validation


def _ranked(table: Table, held_out: HeldOut) -> Iterator[tuple[Line, NDArray[np.int32]]]:
    """Each channel with the ranks of its first run that has those of these targets."""
    for line in table.lines():
        found = [row.target_ranks for row in line.rows if row.target_ranks is not None]
        fitting = [ranks for ranks in found if len(ranks) == len(held_out.targets)]
        if fitting:
            yield line, fitting[0]
