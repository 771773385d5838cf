"""ItemCF: items that the same people chose as those of the history, by shrunk cosine of co-occurrence."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates, ChannelSettings, Mask, Reason, Reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGETS_PER_BLOCK = 128
"""Targets that one thread of `fit` takes at a time: small enough that the last block delays nobody."""


class ItemCFConfig(ChannelSettings):
    """Settings of `ItemCF`: how similar two items are, and how a history's items are weighed."""

    kind: Literal["itemcf"] = "itemcf"
    """Names the channel class in a recipe."""

    name: str = "itemcf"
    """Name in candidates and reasons; one channel of a name in a service."""

    neighbours: int = Field(default=100, ge=1)
    """Triggers kept for each item, the most similar ones (20..400). Keeping them per recommended item, not per
    trigger, lets rare items in: a popular item is near to every trigger, and would fill every trigger's list."""

    shrinkage: float = Field(default=0.0, ge=0)
    """Added to the denominator, against similarities that rest on few users (0..30 with `user_exponent` 0, where
    its unit is users; a few hundredths where long histories count little)."""

    target_exponent: float = Field(default=0.5, ge=0, le=1)
    """How much the recommended item's popularity divides the co-occurrence; the trigger's has the rest. 0.5 is
    the cosine; above it rarer items come up (Aiolli, 2013, calls it the asymmetric cosine)."""

    user_exponent: float = Field(default=0.0, ge=0, le=2)
    """A user with n items counts n^-exponent in the co-occurrence: 0 all alike, 1 histories of unit length
    (Deshpande and Karypis, 2004). A long history says less about any of its pairs."""

    power: float = Field(default=1.0, gt=0)
    """Each similarity is raised to it (0.5..3). Above 1 few strong triggers outweigh many weak ones."""

    half_life: float | None = Field(default=None, gt=0)
    """In events: a trigger this many events older than the newest one weighs half; none: all weigh one."""

    window: int | None = Field(default=None, ge=1)
    """Only this many of the newest events are triggers; none: all of them. It bounds the work of a request."""


class ItemCF:
    """Item-to-item collaborative filtering, inductive: any history is scored, no user needs to be known.

    score(u, i) = Σ_j w_j sim(j, i) over the history, with w_j = 2^(-age_j / half_life), age in events, and

        sim(j, i) = (Σ_{u ∋ i, j} n_u^-γ / (c_j^(1-β) c_i^β + λ))^q,    c_i = Σ_{u ∋ i} n_u^-γ

    n_u items of user u, γ `user_exponent`, β `target_exponent`, λ `shrinkage`, q `power`; γ = λ = 0, β = 1/2 and
    q = 1 give the cosine of Sarwar et al. (2001). sim is kept for the `neighbours` best j of each i.

    Items with a score of zero are not returned, so a history without a known item has no candidates.

    Parameters
    ----------
    config : ItemCFConfig
    """

    kind: ClassVar[str] = "itemcf"
    config_class: ClassVar = ItemCFConfig

    def __init__(self, config: ItemCFConfig | None = None) -> None:
        self.config = config or ItemCFConfig()
        self._restore(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), "")

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it and score zero."""
        return len(self._offsets) - 1

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Find each item's nearest triggers. The result does not depend on `threads` (all cores by default).

        Time grows with Σ n_u² over users, memory with items x `neighbours` (8 bytes each, twice while fitting),
        never with items². `validate` is not needed, since nothing is iterated.
        """
        from headwater.retrieval.classic import itemcf_kernels as kernels

        users = data.matrix()
        items = users.tocsc()
        user_offsets, user_items = users.indptr.astype(np.int64), users.indices.astype(np.int32)
        item_offsets, item_users = items.indptr.astype(np.int64), items.indices.astype(np.int32)
        user_weights = np.maximum(np.diff(user_offsets), 1) ** -self.config.user_exponent
        counts = np.bincount(user_items, np.repeat(user_weights, np.diff(user_offsets)), minlength=len(data.items))
        target_norms = counts**self.config.target_exponent
        trigger_norms = counts ** (1.0 - self.config.target_exponent)
        room = min(self.config.neighbours, max(len(data.items) - 1, 1))

        def nearest(start: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
            stop = min(start + TARGETS_PER_BLOCK, len(data.items))
            triggers = np.empty((stop - start, room), np.int32)
            similarities = np.empty((stop - start, room), np.float32)
            sizes = np.empty(stop - start, np.int64)
            kernels.nearest_triggers(
                start,
                stop,
                item_offsets,
                item_users,
                user_offsets,
                user_items,
                user_weights,
                trigger_norms,
                target_norms,
                self.config.shrinkage,
                self.config.power,
                triggers,
                similarities,
                sizes,
            )
            filled = np.arange(room) < sizes[:, None]
            return triggers[filled], similarities[filled], sizes

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            blocks = list(pool.map(nearest, range(0, len(data.items), TARGETS_PER_BLOCK)))
        triggers = np.concatenate([np.zeros(0, np.int32), *(block[0] for block in blocks)])
        similarities = np.concatenate([np.zeros(0, np.float32), *(block[1] for block in blocks)])
        sizes = np.concatenate([np.zeros(0, np.int64), *(block[2] for block in blocks)])
        offsets = _starts(np.bincount(triggers, minlength=len(data.items)))
        targets, by_trigger = np.empty_like(triggers), np.empty_like(similarities)
        kernels.transpose(_starts(sizes), triggers, similarities, offsets[:-1].copy(), targets, by_trigger)
        self._restore(offsets, targets, by_trigger, data.items.fingerprint())
        return self

    def _restore(
        self,
        offsets: NDArray[np.int64],
        targets: NDArray[np.int32],
        similarities: NDArray[np.float32],
        fingerprint: str,
    ) -> None:
        # CSR by trigger: trigger j reaches targets[offsets[j]:offsets[j + 1]], ascending.
        self._offsets, self._targets, self._similarities = offsets, targets, similarities
        self._fingerprint = fingerprint

    # -- retrieval

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k best items with a positive score. Raises `ValueError` where k is not positive."""
        from headwater.retrieval.classic import itemcf_kernels as kernels

        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        n, room = len(queries), min(k, self.n_items)
        items = np.zeros((n, room), np.int32)
        scores = np.zeros((n, room), np.float32)
        sizes = np.zeros(n, np.int64)
        mode, listed_offsets, listed, catalogue = kernels.REFUSE_NONE, np.zeros(1, np.int64), queries.items, None
        if allowed is not None:
            mode = kernels.ALLOW_LISTED if allowed.is_allowlist else kernels.REFUSE_LISTED
            listed_offsets, listed, catalogue = allowed.offsets, allowed.items, allowed.catalogue
        if catalogue is not None and not len(catalogue):
            return Candidates.empty(self.name, n)
        kernels.best_targets(
            *self._history(queries),
            *self._neighbours(),
            mode,
            _packed(listed_offsets, np.int64),
            _packed(listed, np.int32),
            _packed(np.zeros(0, bool) if catalogue is None else catalogue, np.bool_),
            items,
            scores,
            sizes,
        )
        filled = np.arange(room) < sizes[:, None]
        return Candidates.single(self.name, n, np.repeat(np.arange(n), sizes), items[filled], scores[filled])

    def score_pairs(
        self, queries: Queries, rows: NDArray[np.integer], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """(m,) the score of each (query row, item code) pair: what `retrieve` gives, 0 where it returns none.

        Cheapest with `rows` ascending, as candidates have them.
        """
        from headwater.retrieval.classic import itemcf_kernels as kernels

        rows = np.asarray(rows)
        order = None if len(rows) < 2 or (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
        pairs = items if order is None else items[order]
        scores = np.zeros(len(rows), np.float32)
        sizes = np.bincount(rows, minlength=len(queries))
        kernels.pair_scores(
            *self._history(queries), *self._neighbours(), _starts(sizes), _packed(pairs, np.int32), scores
        )
        if order is None:
            return scores
        unsorted = np.empty_like(scores)
        unsorted[order] = scores
        return unsorted

    def history_weights(self, queries: Queries) -> NDArray[np.float64]:
        """(n,) Σ_j w_j of each query's history, over the items that it knows: the divisor of a mean similarity."""
        ages = np.repeat(queries.offsets[1:], queries.lengths) - 1 - np.arange(queries.offsets[-1])
        weights = self._weights(queries)
        counts = (ages < len(weights)) & (queries.items < self.n_items)
        totals = np.bincount(queries.rows()[counts], weights=weights[ages[counts]], minlength=len(queries))
        return totals.astype(np.float64)  # bincount of nothing is integer

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The triggers of each candidate, strongest first; share = w_j sim(j, i) / score, summing to 1."""
        from headwater.retrieval.classic import itemcf_kernels as kernels

        reasons: Reasons = []
        offsets, history, weights = self._history(queries)
        mine = candidates.found_by(self.name)
        row_before, triggers = -1, history[:0]
        for row, item, is_mine in zip(candidates.rows.tolist(), candidates.items.tolist(), mine.tolist(), strict=True):
            if row != row_before:
                row_before, triggers = row, history[offsets[row] : offsets[row + 1]]
            parts = np.zeros(len(triggers))
            if is_mine:
                kernels.contributions(triggers, weights, *self._neighbours(), item, parts)
            reasons.append(self._reasons(triggers, parts))
        return reasons

    def _reasons(self, triggers: NDArray[np.int32], parts: NDArray[np.float64]) -> tuple[Reason, ...]:
        """Parts of one score as shares, one reason for each distinct trigger that has one."""
        share_of: dict[int, float] = {}
        some = np.flatnonzero(parts > 0)
        for trigger, part in zip(triggers[some].tolist(), parts[some].tolist(), strict=True):
            share_of[trigger] = share_of.get(trigger, 0.0) + part
        total = sum(share_of.values())
        strongest_first = sorted(share_of.items(), key=lambda entry: (-entry[1], entry[0]))
        return tuple(Reason(self.name, share=part / total, trigger=trigger) for trigger, part in strongest_first)

    def _weights(self, queries: Queries) -> NDArray[np.float64]:
        """Weight by age in events, as far back as the longest history or the window goes."""
        longest = int(queries.lengths.max(initial=0))
        if self.config.window is not None:
            longest = min(longest, self.config.window)
        if self.config.half_life is None:
            return np.ones(longest)
        return np.exp2(-np.arange(longest) / self.config.half_life)

    def _history(self, queries: Queries) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        return _packed(queries.offsets, np.int64), _packed(queries.items, np.int32), self._weights(queries)

    def _neighbours(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        return self._offsets, self._targets, self._similarities

    # -- files

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `from_tensors` restores it from."""
        return {"offsets": self._offsets, "targets": self._targets, "similarities": self._similarities}

    @classmethod
    def from_tensors(cls, config: ItemCFConfig, tensors: dict[str, NDArray[Any]], fingerprint: str) -> Self:
        """A fitted channel from `tensors()`."""
        channel = cls(config)
        channel._restore(
            _packed(tensors["offsets"], np.int64),
            _packed(tensors["targets"], np.int32),
            _packed(tensors["similarities"], np.float32),
            fingerprint,
        )
        return channel

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the item vocabulary that it was trained on; empty before `fit`."""
        return self._fingerprint

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=self.tensors())

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=ItemCFConfig)
        return cls.from_tensors(config, tensors, vocabulary.fingerprint(n_items))


def _starts(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _packed(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The array as compiled kernels take it; a copy only where it is read-only, strided or of another type."""
    return np.require(array, dtype, ["C", "W"])
