"""TrigNet (eq. 8) and SimNet (eq. 9) as arrays, for requests and index generation without torch.

Their first layers are linear in a concatenation, so each part of it is projected once and the projections add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from headwater.retrieval.paths.nets_kernels import find_levels, first_layer, next_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headwater.retrieval.paths.weights import PathWeights

Layers = tuple[tuple["NDArray[np.float32]", "NDArray[np.float32]"], ...]
"""((in, out) weight, (out,) bias) of each layer after the first; LeakyReLU stands before each."""

PAIRS_AT_ONCE = 1 << 11
"""Pairs whose hidden layers are held at a time: they stay in the cache."""


PRODUCTS_AT_ONCE = 1 << 18
"""Multiplications of one matrix product: up to so many OpenBLAS, which numpy brings, does alone. Above, its threads
share what takes microseconds, and on busy cores each waits for the others: a tenth of the pairs a second."""


@dataclass(frozen=True, slots=True)
class TriggerScorer:
    """t of each trigger: the user's interest in what they did there.

    Attributes
    ----------
    items : (items, h) float32
        Each item's part of the first layer.
    behaviours : (levels, h) float32
        Each behaviour level's part, all fields' tables one below the other.
    layers : Layers
        The last has one output.
    slope : float
        Of LeakyReLU below 0.
    """

    items: NDArray[np.float32]
    behaviours: NDArray[np.float32]
    layers: Layers
    slope: float = 0.0

    @classmethod
    def of(cls, weights: PathWeights) -> Self:
        """The scorer of a trained model's weights; behaviour fields stand in the order of its tables."""
        return cls(
            weights.trigger_items,
            np.concatenate(list(weights.trigger_behaviours.values())),
            weights.trigger_layers,
            weights.leak,
        )

    def __call__(
        self, users: NDArray[np.float32], triggers: NDArray[np.int32], behaviours: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """t (n,).

        Parameters
        ----------
        users : (h,) or (n, h) float32
            The users' part of the first layer, its bias included.
        triggers : (n,) int32
            Unknown items, below 0 or beyond the last, get some finite score; `PathSearch` drops them.
        behaviours : (n, fields) int32
            Rows of `behaviours`.
        """
        hidden = self.items.take(triggers, axis=0, mode="clip")
        hidden += users
        for field in range(behaviours.shape[1]):
            hidden += self.behaviours.take(behaviours[:, field], axis=0)
        next_layer(hidden, np.zeros(hidden.shape[1], np.float32), self.slope)
        return _outputs(hidden, self.layers, self.slope)


class LevelsOfPairs(NamedTuple):
    """Levels of co-occurrence of pairs, as CSR by trigger, ascending by target; of other pairs they are all 0.

    Attributes
    ----------
    offsets : (items + 1,) int64
    targets : (pairs,) int32
    levels : (pairs, measures) uint8
    """

    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    levels: NDArray[np.uint8]


class SimilarityScorer:
    """s of (trigger, target) pairs, for index generation on processors.

    Parameters
    ----------
    weights : PathWeights
        Of a model whose hops are scalars.
    pairs : sequence of LevelsOfPairs
        Together they have the measures of `weights.similarity_levels`, in order.
    """

    def __init__(self, weights: PathWeights, pairs: Sequence[LevelsOfPairs]) -> None:
        self._pairs = pairs
        self._by_trigger, self._by_target = weights.similarity_triggers, weights.similarity_targets
        width = self._by_trigger.shape[1]
        tables = weights.similarity_levels
        self._by_level = np.concatenate([np.zeros((0, width), np.float32), *tables])
        self._level_offsets = np.cumsum([0, *(len(table) for table in tables)])[:-1].astype(np.int64)
        self._layers, self._slope = weights.similarity_layers, weights.leak

    def __call__(self, triggers: NDArray[np.int32], targets: NDArray[np.int32]) -> NDArray[np.float32]:
        """s (n,) of known items."""
        triggers, targets = np.ascontiguousarray(triggers, np.int32), np.ascontiguousarray(targets, np.int32)
        levels = np.empty((len(triggers), len(self._level_offsets)), np.uint8)
        column = 0
        for some in self._pairs:
            width = some.levels.shape[1]
            find_levels(triggers, targets, some.offsets, some.targets, some.levels, levels[:, column : column + width])
            column += width
        return self.of_levels(triggers, targets, levels)

    def of_levels(
        self, triggers: NDArray[np.int32], targets: NDArray[np.int32], levels: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """s (n,) of pairs whose levels (n, measures) are known."""
        found = np.empty(len(triggers), np.float32)
        hidden = np.empty((min(PAIRS_AT_ONCE, len(triggers)), self._by_trigger.shape[1]), np.float32)
        for start in range(0, len(triggers), PAIRS_AT_ONCE):
            some = slice(start, min(start + PAIRS_AT_ONCE, len(triggers)))
            own = hidden[: some.stop - start]
            first_layer(
                triggers[some],
                targets[some],
                self._by_trigger,
                self._by_target,
                self._by_level,
                self._level_offsets,
                levels[some],
                self._slope,
                own,
            )
            found[some] = _outputs(own, self._layers, self._slope)
        return found


def user_vector(hidden: NDArray[np.float32], layers: Layers, slope: float) -> NDArray[np.float32]:
    """p of the Direct Net (eq. 11), (d,), from a user's part of its first layer, (h,)."""
    for weight, bias in layers:
        hidden = np.maximum(hidden, np.float32(slope) * hidden) @ weight + bias
    return hidden


def _outputs(hidden: NDArray[np.float32], layers: Layers, slope: float) -> NDArray[np.float32]:
    """The one output of the layers that follow activated hidden units, (n,)."""
    for weight, bias in layers[:-1]:
        hidden = _product(hidden, weight)
        next_layer(hidden, bias, slope)
    weight, bias = layers[-1]
    return _product(hidden, weight)[:, 0] + bias[0]


def _product(hidden: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """hidden @ weight, some rows at a time, so that no product is shared out among threads."""
    found = np.empty((len(hidden), weight.shape[1]), np.float32)
    size = max(1, PRODUCTS_AT_ONCE // weight.size)
    for start in range(0, len(hidden), size):
        np.matmul(hidden[start : start + size], weight, out=found[start : start + size])
    return found
