"""Path retrieval (eq. 14): the items that the best triggers' rows of the index reach, and the direct path to them.

No torch: weights are arrays, loops are compiled. `headwater.retrieval.paths` says where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.classic.neighbourhood_kernels import ALLOW_LISTED, REFUSE_LISTED, REFUSE_NONE
from headwater.retrieval.paths.reasons import path_reasons
from headwater.retrieval.paths.search_kernels import (
    best_paths,
    best_triggers,
    inner_product,
    path_parts,
    softplus_in_place,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.index.neighbours import NeighbourTable, PairScorer

ITEM_BATCH = 1 << 20
"""Pairs that exact mode gives to SimNet at a time."""


class Found(NamedTuple):
    """What path retrieval returns.

    Attributes
    ----------
    candidates : Candidates
    unknown : (n,) int64
        Triggers of each query that the index does not know, which are dropped.
    reached : (n,) int64
        Items that each query's paths reach; 0 where all there is to go by is the direct path.
    """

    candidates: Candidates
    unknown: NDArray[np.int64]
    reached: NDArray[np.int64]


class Parts(NamedTuple):
    """What each path adds to the score of some items of one query.

    Attributes
    ----------
    triggers : (m,) int32
        The triggers that retrieval went through, best first.
    paths : (n, m) float32
        softplus(t + s); 0 where the trigger's row does not hold the item.
    direct : (n,) float32
        softplus(p·q).
    """

    triggers: NDArray[np.int32]
    paths: NDArray[np.float32]
    direct: NDArray[np.float32]

    @property
    def scores(self) -> NDArray[np.float32]:
        """(n,) what `PathSearch.retrieve` returns for the items."""
        return (self.paths.sum(axis=1, dtype=np.float64) + self.direct).astype(np.float32)

    def reasons(self, channel: str) -> Reasons:
        """Each item's paths by their share of its score; see `path_reasons`."""
        triggers = self.triggers.tolist()
        return [
            path_reasons(channel, triggers, paths, direct)
            for paths, direct in zip(self.paths.tolist(), self.direct.tolist(), strict=True)
        ]


class PathSearch:
    """Greedy path retrieval over an index of SimNet's neighbours (section 5.1 of the paper).

    Parameters
    ----------
    table : NeighbourTable
    item_vectors : (items, d) float32, optional
        q of the Direct Net; without them there is no direct path, and no candidate without a trigger.
    triggers : int
        m, the triggers of a query that are followed: those of highest score, the newest among equals.
    neighbours : int, optional
        How much of a trigger's row is read; by default all of it.

    Raises
    ------
    ValueError
        The vectors are not of the table's items, or not finite.
    """

    def __init__(
        self,
        table: NeighbourTable,
        item_vectors: NDArray[np.float32] | None = None,
        *,
        triggers: int = 50,
        neighbours: int | None = None,
    ) -> None:
        if item_vectors is None:
            item_vectors = np.zeros((len(table), 0), np.float32)
        if len(item_vectors) != len(table):
            raise ValueError(f"{len(item_vectors)} item vectors, and the index holds {len(table)} items")
        if triggers < 1:
            raise ValueError(f"at least one trigger must be followed, not {triggers}")
        self.table = table
        self.triggers = triggers
        self.depth = min(neighbours or table.k, table.k)
        self._vectors = np.ascontiguousarray(item_vectors, np.float32)
        self._codes, self._steps, self._residual = quantised(self._vectors)
        rows = table.records.view(np.uint8).reshape(len(table), -1)
        self._words, self._halves = rows.view(np.int32), rows.view(np.uint16)

    def retrieve(
        self,
        name: str,
        users: NDArray[np.float32],
        offsets: NDArray[np.int64],
        triggers: NDArray[np.int32],
        trigger_scores: NDArray[np.float32],
        k: int,
        *,
        allowed: Mask | None = None,
    ) -> Found:
        """The k best of the items that each query's paths reach; of all items, by the direct path, where none is.

        Parameters
        ----------
        name : str
            The channel's, in the candidates.
        users : (n, d) float32
            p of the Direct Net; d = 0 without one.
        offsets : (n + 1,) int64
        triggers : int32
            CSR of the histories, oldest first.
        trigger_scores : float32
            t, from TrigNet.
        k : int
            Fewer are returned where the paths reach fewer.
        allowed : Mask, optional

        Raises
        ------
        ValueError
            k is not positive, or p or t is not finite.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if not (np.isfinite(users).all() and np.isfinite(trigger_scores).all()):
            raise ValueError("user vectors and trigger scores must be finite; was the model trained to the end?")
        n = len(offsets) - 1
        room = min(k, len(self.table))
        items, scores = np.empty((n, room), np.int32), np.empty((n, room), np.float32)
        sizes, reached = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if room:
            best_paths(
                np.ascontiguousarray(offsets, np.int64),
                np.ascontiguousarray(triggers, np.int32),
                np.ascontiguousarray(trigger_scores, np.float32),
                np.ascontiguousarray(users, np.float32),
                self._words,
                self._halves,
                self.table.k,
                self.depth,
                self.triggers,
                self._vectors,
                self._codes,
                self._steps,
                self._residual,
                *_mask(allowed),
                items,
                scores,
                sizes,
                reached,
            )
        kept = np.arange(room) < sizes[:, None]
        candidates = Candidates.single(name, n, np.repeat(np.arange(n), sizes), items[kept], scores[kept])
        unknown = np.zeros(len(triggers) + 1, np.int64)
        np.cumsum((triggers < 0) | (triggers >= len(self.table)), out=unknown[1:])
        return Found(candidates, unknown[offsets[1:]] - unknown[offsets[:-1]], reached)

    def parts(
        self,
        user: NDArray[np.float32],
        triggers: NDArray[np.int32],
        trigger_scores: NDArray[np.float32],
        items: NDArray[np.int32],
    ) -> Parts:
        """What each path adds to the score of `items` (n,) for one query; see `retrieve` for the others."""
        triggers = np.ascontiguousarray(triggers, np.int32)
        scores, ages = np.empty(self.triggers, np.float32), np.empty(self.triggers, np.int32)
        trigger_scores = np.ascontiguousarray(trigger_scores, np.float32)
        m = best_triggers(0, len(triggers), triggers, trigger_scores, len(self.table), scores, ages)
        followed = triggers[len(triggers) - 1 - ages[:m]]
        paths = np.zeros((len(items), m), np.float32)
        order = np.argsort(items, kind="stable")
        parts = np.empty(self.depth, np.float32)
        begin = 2 * self.table.k
        for rank, trigger in enumerate(followed):
            path_parts(scores[rank], self._halves[trigger, begin : begin + self.depth], parts)
            targets = self._words[trigger, : self.depth]
            at = order[np.searchsorted(items, targets, sorter=order).clip(max=len(items) - 1)] if len(items) else order
            is_asked = items[at] == targets if len(items) else np.zeros(0, bool)
            paths[at[is_asked], rank] = parts[: len(targets)][is_asked]
        direct = np.zeros(len(items), np.float32)
        if self._vectors.shape[1]:
            user = np.ascontiguousarray(user, np.float32)
            for place, item in enumerate(items):
                direct[place] = inner_product(user, self._vectors[item])
            softplus_in_place(direct)
        return Parts(followed, paths, direct)


class Quantised(NamedTuple):
    """Vectors of one byte a number: `codes * steps`, with no row further than `residual` from its vector."""

    codes: NDArray[np.int8]
    steps: NDArray[np.float32]
    residual: float


def quantised(vectors: NDArray[np.float32]) -> Quantised:
    """Round (items, d) vectors to 255 steps in each dimension. Raises `ValueError` where they are not finite."""
    if not np.isfinite(vectors).all():
        raise ValueError("item vectors must be finite; was the model trained to the end?")
    steps = (np.abs(vectors).max(axis=0, initial=0) / 127).astype(np.float32)
    steps[steps == 0] = 1
    codes = np.empty(vectors.shape, np.int8)
    residual = 0.0
    for start in range(0, len(vectors), 1 << 16):
        part = vectors[start : start + (1 << 16)]
        codes[start : start + len(part)] = np.rint(part / steps).clip(-127, 127)
        apart = part - codes[start : start + len(part)] * steps
        residual = max(residual, float(np.sqrt((apart.astype(np.float64) ** 2).sum(axis=1).max())))
    return Quantised(codes, steps, residual)


def exact_scores(
    user: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    triggers: NDArray[np.int32],
    trigger_scores: NDArray[np.float32],
    similarity: PairScorer,
) -> NDArray[np.float32]:
    """Eq. 12 without its bias, for every item: all triggers followed to all items, (items,).

    The reference of greedy retrieval: it asks SimNet for triggers x items pairs.
    """
    n_items = len(item_vectors)
    total = np.zeros(n_items) if not item_vectors.shape[1] else np.logaddexp(0, item_vectors @ user.astype(np.float64))
    batch = max(1, ITEM_BATCH // max(len(triggers), 1))
    for start in range(0, n_items, batch):
        targets = np.arange(start, min(start + batch, n_items), dtype=np.int32)
        pairs = similarity(np.repeat(triggers, len(targets)), np.tile(targets, len(triggers)))
        pairs = pairs.reshape(len(triggers), len(targets)).astype(np.float64)
        total[targets] += np.logaddexp(0, trigger_scores[:, None] + pairs).sum(axis=0)
    return total.astype(np.float32)


def recall_against_exact(greedy: Candidates, exact: Candidates) -> float:
    """The share of exact mode's candidates, over all queries, that greedy retrieval found; 1 where there are none."""
    width = int(max(greedy.items.max(initial=0), exact.items.max(initial=0))) + 1
    ours, theirs = (part.rows.astype(np.int64) * width + part.items for part in (greedy, exact))
    return float(np.isin(theirs, ours).mean()) if len(theirs) else 1.0


def _mask(
    allowed: Mask | None,
) -> tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    if allowed is None:
        return REFUSE_NONE, np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, bool)
    mode = ALLOW_LISTED if allowed.is_allowlist else REFUSE_LISTED
    catalogue = np.zeros(0, bool) if allowed.catalogue is None else np.ascontiguousarray(allowed.catalogue)
    return (
        mode,
        np.ascontiguousarray(allowed.offsets, np.int64),
        np.ascontiguousarray(allowed.items, np.int32),
        catalogue,
    )
