"""Item-to-item matrices as additive models: a sparse one, and a dense one whose entries may be negative."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from headwater.retrieval.base import Mask
from headwater.retrieval.classic.additive import WeightedHistories, packed, starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Fill = Callable[[int, int, NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]], Any]
    Best = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]

TARGETS_PER_BLOCK = 128
"""Targets that one thread of a fit takes at a time: small enough that the last block delays nobody."""

SCORES_AT_ONCE = 1 << 24
"""Dense scores are made for so many (history, item) pairs at a time: 128 MiB."""


class SparseSimilarities:
    """sim(j, i) > 0 for few triggers j of each target i.

    Parameters
    ----------
    offsets : (items + 1,) int64
        CSR by trigger: trigger j reaches targets[offsets[j]:offsets[j + 1]], ascending.
    targets : int32
    values : float32
        Positive.
    """

    def __init__(self, offsets: NDArray[np.int64], targets: NDArray[np.int32], values: NDArray[np.float32]) -> None:
        self.offsets, self.targets, self.values = offsets, targets, values

    @classmethod
    def by_target(cls, n_items: int, room: int, fill: Fill, *, threads: int | None = None) -> Self:
        """Of at most `room` triggers for each target, found for one block of targets at a time, in threads.

        Parameters
        ----------
        fill : function
            `fill(start, stop, triggers, values, sizes)` writes the triggers of targets start..stop, a row each,
            into arrays (stop - start, room); the first `sizes[row]` of a row count, in any order. It must release
            the GIL to gain from threads, and its result must not depend on the block.
        threads : int, optional
            All cores by default.
        """
        room = max(min(room, n_items - 1), 1)

        def block(start: int) -> Best:
            stop = min(start + TARGETS_PER_BLOCK, n_items)
            triggers = np.empty((stop - start, room), np.int32)
            values = np.empty((stop - start, room), np.float32)
            sizes = np.empty(stop - start, np.int64)
            fill(start, stop, triggers, values, sizes)
            filled = np.arange(room) < sizes[:, None]
            return triggers[filled], values[filled], sizes

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            blocks = list(pool.map(block, range(0, n_items, TARGETS_PER_BLOCK)))
        return cls.from_rows(
            np.concatenate([np.zeros(0, np.int32), *(found[0] for found in blocks)]),
            np.concatenate([np.zeros(0, np.float32), *(found[1] for found in blocks)]),
            np.concatenate([np.zeros(0, np.int64), *(found[2] for found in blocks)]),
        )

    @classmethod
    def from_rows(cls, triggers: NDArray[np.int32], values: NDArray[np.float32], sizes: NDArray[np.int64]) -> Self:
        """Of each target's triggers, row after row; `sizes` (items,) says how many each target has."""
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        offsets = starts(np.bincount(triggers, minlength=len(sizes)))
        targets, by_trigger = np.empty_like(triggers), np.empty_like(values)
        kernels.transpose(starts(sizes), triggers, values, offsets[:-1].copy(), targets, by_trigger)
        return cls(offsets, targets, by_trigger)

    @property
    def n_items(self) -> int:
        return len(self.offsets) - 1

    def best(self, histories: WeightedHistories, k: int, allowed: Mask | None) -> Best:
        """The k best items of a positive score."""
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        items, scores, sizes = _room_for(histories, k)
        kernels.best_targets(
            histories.offsets,
            histories.items,
            histories.weights,
            self.offsets,
            self.targets,
            self.values,
            *_mask(allowed, kernels),
            items,
            scores,
            sizes,
        )
        return items, scores, sizes

    def pair_scores(
        self, histories: WeightedHistories, offsets: NDArray[np.int64], items: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The score of each pair; 0 where no trigger reaches the item."""
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        scores = np.zeros(len(items), np.float32)
        kernels.pair_scores(
            histories.offsets,
            histories.items,
            histories.weights,
            self.offsets,
            self.targets,
            self.values,
            offsets,
            items,
            scores,
        )
        return scores

    def parts(self, triggers: NDArray[np.int32], weights: NDArray[np.float64], item: int) -> NDArray[np.float64]:
        """(len(triggers),) w_j sim(j, item)."""
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        parts = np.zeros(len(triggers))
        kernels.contributions(triggers, weights, self.offsets, self.targets, self.values, item, parts)
        return parts

    def similarities(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(triggers, targets) sim(j, i), 0 where i does not have j."""
        rows = np.zeros((len(triggers), self.n_items), np.float32)
        sizes = np.diff(self.offsets)[triggers]
        at = np.arange(sizes.sum()) + np.repeat(self.offsets[triggers] - (np.cumsum(sizes) - sizes), sizes)
        rows[np.repeat(np.arange(len(triggers)), sizes), self.targets[at]] = self.values[at]
        return rows[:, targets]

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"offsets": self.offsets, "targets": self.targets, "similarities": self.values}

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        return cls(
            packed(tensors["offsets"], np.int64),
            packed(tensors["targets"], np.int32),
            packed(tensors["similarities"], np.float32),
        )


class DenseModel(ABC):
    """A model that scores the whole catalogue at once; every item with a score other than 0 is ranked.

    A score of exactly 0 is that of an item which nobody had in training: nothing is known of it.
    """

    @property
    @abstractmethod
    def n_items(self) -> int: ...

    @abstractmethod
    def scores(self, histories: WeightedHistories, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start, items) scores of histories start..stop; each row as if it were alone."""

    def best(self, histories: WeightedHistories, k: int, allowed: Mask | None) -> Best:
        """The k best items of a score other than 0."""
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        items, scores, sizes = _room_for(histories, k)
        mask = _mask(allowed, kernels)
        for start, stop in self._batches(len(histories)):
            kernels.best_of_dense(
                start,
                self.scores(histories, start, stop),
                *mask,
                items[start:stop],
                scores[start:stop],
                sizes[start:stop],
            )
        return items, scores, sizes

    def pair_scores(
        self, histories: WeightedHistories, offsets: NDArray[np.int64], items: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The score of each pair; 0 for an item newer than the model."""
        found = np.zeros(len(items), np.float32)
        for start, stop in self._batches(len(histories)):
            first, last = offsets[start], offsets[stop]
            rows = np.repeat(np.arange(stop - start), np.diff(offsets[start : stop + 1]))
            is_known = items[first:last] < self.n_items
            scores = self.scores(histories, start, stop)
            found[first:last][is_known] = scores[rows[is_known], items[first:last][is_known]]
        return found

    def _batches(self, n: int) -> list[tuple[int, int]]:
        size = max(SCORES_AT_ONCE // max(self.n_items, 1), 1)
        return [(start, min(start + size, n)) for start in range(0, n, size)]


class DenseSimilarities(DenseModel):
    """sim(j, i) of either sign for all pairs.

    Parameters
    ----------
    matrix : (items, items) float32
        Row j holds what trigger j adds to every target.
    """

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self.matrix = matrix

    @property
    def n_items(self) -> int:
        return len(self.matrix)

    def scores(self, histories: WeightedHistories, start: int, stop: int) -> NDArray[np.float32]:
        from headwater.retrieval.classic import neighbourhood_kernels as kernels

        scores = np.empty((stop - start, self.n_items), np.float32)
        kernels.dense_scores(start, stop, histories.offsets, histories.items, histories.weights, self.matrix, scores)
        return scores

    def parts(self, triggers: NDArray[np.int32], weights: NDArray[np.float64], item: int) -> NDArray[np.float64]:
        """(len(triggers),) w_j sim(j, item)."""
        parts = np.zeros(len(triggers))
        ages = len(triggers) - 1 - np.arange(len(triggers))
        counts = (ages < len(weights)) & (triggers < self.n_items)
        if item < self.n_items:
            parts[counts] = weights[ages[counts]] * self.matrix[triggers[counts], item]
        return parts

    def similarities(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(triggers, targets) sim(j, i)."""
        return self.matrix[np.ix_(triggers, targets)]

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"similarities": self.matrix}

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        return cls(packed(tensors["similarities"], np.float32))


def _room_for(histories: WeightedHistories, k: int) -> Best:
    n = len(histories)
    return np.zeros((n, k), np.int32), np.zeros((n, k), np.float32), np.zeros(n, np.int64)


def _mask(allowed: Mask | None, kernels: Any) -> tuple[int, NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """The mask as kernels take it; an empty catalogue means that there is none."""
    if allowed is None:
        return kernels.REFUSE_NONE, np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_)
    catalogue = np.zeros(0, np.bool_) if allowed.catalogue is None else allowed.catalogue
    return (
        kernels.ALLOW_LISTED if allowed.is_allowlist else kernels.REFUSE_LISTED,
        packed(allowed.offsets, np.int64),
        packed(allowed.items, np.int32),
        packed(catalogue, np.bool_),
    )
