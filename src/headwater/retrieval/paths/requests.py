"""Requests as path retrieval reads them, from arrays alone: triggers, and the levels of what was done with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headwater.data.queries import Queries
from headwater.nn.catalogue import GAP_LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from headwater.retrieval.paths.features import PathFeatures

POWERS = 2 ** np.arange(GAP_LEVELS - 2, dtype=np.int64)


class Requests(NamedTuple):
    """n requests: the latest known events of each history, CSR, oldest first.

    Attributes
    ----------
    offsets : (n + 1,) int64
    triggers : (m,) int32
    behaviours : (m, fields) int32
        The level of each field that is read, in the order in which they were asked for.
    n_events : (n,) int64
        Known events of the whole history.
    n_unknown : (n,) int64
        Events of the whole history whose item the model does not know; they are dropped.
    user_rows : (n,) int64
        Of `PathFeatures.user_rows`.
    """

    offsets: NDArray[np.int64]
    triggers: NDArray[np.int32]
    behaviours: NDArray[np.int32]
    n_events: NDArray[np.int64]
    n_unknown: NDArray[np.int64]
    user_rows: NDArray[np.int64]

    @classmethod
    def of(cls, queries: Queries, features: PathFeatures, length: int, fields: Iterable[str]) -> Requests:
        """The last `length` known events of each history; `fields` are some of `BEHAVIOURS`."""
        items, given = queries.items, queries.offsets
        is_known = (items >= 0) & (items < features.catalogue.n_items)
        known = np.flatnonzero(is_known)
        whole = np.concatenate([[0], np.cumsum(is_known)])[given].astype(np.int64)
        begins, ends = whole[:-1], whole[1:]
        starts = np.maximum(ends - length, begins)
        widths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        row = np.repeat(np.arange(len(widths)), widths)
        place = np.arange(offsets[-1]) - offsets[row]
        at = starts[row] + place  # of the known events
        levels: list[NDArray[np.integer]] = []
        times = queries.times[known]
        for field in fields:
            if field == "positions":
                levels.append(length - widths[row] + place)
            elif field == "ratings":
                ratings = None if queries.ratings is None else queries.ratings[known][at].astype(np.float32)
                levels.append(rating_levels(ratings, features.catalogue.rating_borders, len(at)))
            elif field == "gaps":
                before = times[np.maximum(at - 1, 0)]
                gaps = np.where(at > begins[row], np.maximum(times[at] - before, 0), -1)
                levels.append(gap_levels(gaps))
            elif field == "request_gaps":
                is_last = at + 1 >= ends[row]
                following = np.where(is_last, queries.request_times[row], times[np.where(is_last, at, at + 1)])
                levels.append(gap_levels(np.maximum(following - times[at], 0)))
            elif field == "periods":
                levels.append(np.searchsorted(features.catalogue.period_borders, times[at], "right") + 1)
            else:
                raise ValueError(f"an event has no field {field!r}")
        return cls(
            offsets=offsets,
            triggers=items[known][at].astype(np.int32),
            behaviours=np.stack(levels, 1).astype(np.int32) if levels else np.zeros((len(at), 0), np.int32),
            n_events=ends - begins,
            n_unknown=np.diff(given) - (ends - begins),
            user_rows=features.user_rows(queries.user_keys),
        )


def rating_levels(ratings: NDArray[np.float32] | None, borders: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """0 where there is no rating, else 1 + the number of borders at or below it."""
    if ratings is None:
        return np.zeros(n, np.int64)
    return np.where(np.isfinite(ratings), np.searchsorted(borders, ratings, "right") + 1, 0)


def gap_levels(gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """What `headwater.nn.inputs.gap_levels` says: 0 below 0, 1 of no time, 2 + floor(log2 g) of g."""
    return np.where(gaps < 0, 0, np.searchsorted(POWERS, gaps, "right") + 1)
