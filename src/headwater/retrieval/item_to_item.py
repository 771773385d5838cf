"""Item-to-item retrieval from any model that can say how similar two items are, and the neighbours of one item.

What the right columns of Table 2 of the Paths paper measure (Li et al., SIGIR 2021, section 6.1.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.classic.additive import strongest_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES_AT_ONCE = 1 << 24
"""Similarities, and scores, that are held at a time, in float64: 128 MiB of each, whatever the catalogue is."""


@runtime_checkable
class HasSimilarities(Protocol):
    """A fitted channel that knows items from each other.

    ItemCF, Pearson, SWING, SLIM and EASE give their matrix, MF and all channels over a network the inner products of
    their items' vectors, Paths softplus of SimNet.
    """

    @property
    def name(self) -> str: ...

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it."""
        ...

    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """(triggers, targets) sim(j, i) of known item codes; of all items where `targets` is None.

        Exactly 0 where the model knows nothing of a pair.
        """
        ...


class Neighbours(NamedTuple):
    """The most similar items of one item, best first, equal ones by item code.

    Attributes
    ----------
    items : (m,) int64
    similarities : (m,) float32
    """

    items: NDArray[np.int64]
    similarities: NDArray[np.float32]


def neighbours_of(channel: Any, item: int, k: int) -> Neighbours:
    """The k items of highest sim(item, ·), itself and pairs of which nothing is known left out.

    Raises
    ------
    ConfigError
        The channel has no similarities, or was not trained on the item.
    """
    source = require_similarities(channel)
    if not 0 <= item < source.n_items:
        raise ConfigError(f"{source.name} was not trained on item {item}; it knows {source.n_items:,} items")
    values = source.similarities(np.array([item]))[0]
    is_candidate = values != 0
    is_candidate[item] = False
    items = np.flatnonzero(is_candidate)
    items = items[np.lexsort((items, -values[items]))][:k]
    return Neighbours(items, values[items])


def require_similarities(channel: Any) -> HasSimilarities:
    """The same channel; raises `ConfigError` where it does not know items from each other."""
    if not isinstance(channel, HasSimilarities):
        raise ConfigError(f"{channel.name} says nothing of how similar two items are: it has no item-to-item retrieval")
    return channel


class ItemToItem:
    """A channel with score(u, i) = Σ_j sim(j, i) over the history, every event counting one.

    A view of a fitted channel: it keeps nothing of its own, so it is neither trained nor saved. Similarities are asked
    for a part of the triggers at a time and summed in float64; at no time are there more than `VALUES_AT_ONCE` of them
    beside what the model itself holds. Items with a score of exactly 0 are not returned.

    Parameters
    ----------
    channel : HasSimilarities
    name : str, optional
        In candidates and reasons; `{channel}-item-to-item` by default.

    Raises
    ------
    ConfigError
        The channel has no similarities: it ranks by popularity, or keeps no model.
    """

    def __init__(self, channel: Any, name: str | None = None) -> None:
        self._source = require_similarities(channel)
        self._name = name or f"{self._source.name}-item-to-item"

    @property
    def name(self) -> str:
        return self._name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k items of highest score, exact. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        import torch

        from headwater.index.exact import best_of

        n_items = self._source.n_items
        parts = []
        for start, some in queries.batches(max(1, VALUES_AT_ONCE // max(n_items, 1))) if n_items else ():
            scores = self._scores(some)
            scores[scores == 0] = -np.inf
            parts.append(best_of(torch.from_numpy(scores), k, allowed=allowed, start=start))
        if not parts:
            return Candidates.empty(self.name, len(queries))
        rows, items, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Candidates.single(self.name, len(queries), rows, items, scores)

    def _scores(self, queries: Queries) -> NDArray[np.float32]:
        """(queries, items) sums over the histories.

        Triggers are taken in blocks of fixed codes, so that a query's sum is added up in one order whoever else asks.
        """
        n_items = self._source.n_items
        is_known = (queries.items >= 0) & (queries.items < n_items)
        rows, triggers = queries.rows()[is_known], queries.items[is_known]
        totals = np.zeros((len(queries), n_items))
        block = max(1, VALUES_AT_ONCE // n_items)
        for first in range(0, n_items, block):
            inside = (triggers >= first) & (triggers < first + block)
            if not inside.any():
                continue
            asked, at = np.unique(triggers[inside], return_inverse=True)
            counts = np.zeros((len(queries), len(asked)))
            np.add.at(counts, (rows[inside], at), 1.0)
            totals += counts @ self._source.similarities(asked).astype(np.float64)
        return totals.astype(np.float32)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The triggers that speak for each candidate, strongest first; share = sim(j, i) / Σ of the positive ones."""
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name) & (candidates.items < self._source.n_items))
        for row in np.unique(candidates.rows[mine]).tolist():
            history = queries.items[queries.offsets[row] : queries.offsets[row + 1]]
            history = history[(history >= 0) & (history < self._source.n_items)]
            of_row = mine[candidates.rows[mine] == row]
            parts = self._source.similarities(history, candidates.items[of_row]).astype(np.float64)
            for at, of_candidate in zip(of_row.tolist(), parts.T, strict=True):
                reasons[at] = strongest_first(self.name, history, of_candidate)
        return reasons
