"""What each of several channels adds to the others, as somebody who merges them needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Contribution:
    """One channel beside the others.

    Attributes
    ----------
    channel : str
    recall : float
        Of this channel alone.
    without : float
        Of all other channels together: what is left when this one is switched off.
    n_unique : int
        Targets that it alone found.
    """

    channel: str
    recall: float
    without: float
    n_unique: int


@dataclass(frozen=True, slots=True)
class Step:
    """The channel that a greedy choice takes next, the recall of all taken so far, and what it added."""

    channel: str
    recall: float
    gain: float


@dataclass(frozen=True, slots=True)
class IncrementalRecall:
    """Several channels at one cut-off.

    Attributes
    ----------
    k : int
        Candidates of each channel.
    recall : float
        Of the union of all channels' first k. Up to channels × k candidates: compare it with other sets of
        channels, not with one channel at k.
    contributions : tuple of Contribution
        In the order of the channels given.
    greedy : tuple of Step
        The best channel first, then always the one that adds most to those before it; of two that add the same,
        the one given first.
    """

    k: int
    recall: float
    contributions: tuple[Contribution, ...]
    greedy: tuple[Step, ...]


def incremental_recall(
    channels: Sequence[str], ranks: NDArray[np.integer], target_offsets: NDArray[np.integer], k: int
) -> IncrementalRecall:
    """Union recall of all channels' first k, of all but each one, and in the greedy order.

    Recall is the share of a query's targets that is found, averaged over the queries, as `recall` has it.

    Parameters
    ----------
    channels : sequence of str
    ranks : (channels, targets)
        The place of each target in each channel's list, from 0; -1 where it was not found.
    target_offsets : (queries + 1,)
        CSR over the queries; each has at least one target.
    k : int
        Lists must have been at least this long where the catalogue allows.

    Raises
    ------
    ValueError
        k is not positive, there is no channel or query, or the shapes do not fit.
    """
    n_targets = np.diff(target_offsets)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if not len(channels) or not len(n_targets) or n_targets.min() < 1:
        raise ValueError("needs a channel, and queries with at least one target each")
    if ranks.shape != (len(channels), int(n_targets.sum())):
        raise ValueError(f"ranks must be (channels, targets), ({len(channels)}, {n_targets.sum()}), not {ranks.shape}")
    found = (ranks >= 0) & (ranks < k)
    weights = np.repeat(1.0 / n_targets, n_targets) / len(n_targets)
    finders = found.sum(0)
    union = float(weights @ (finders > 0))
    contributions: list[Contribution] = []
    for name, mine in zip(channels, found, strict=True):
        is_unique = mine & (finders == 1)
        alone, lost = float(weights @ mine), float(weights @ is_unique)
        contributions.append(Contribution(name, alone, union - lost, int(is_unique.sum())))
    return IncrementalRecall(k, union, tuple(contributions), tuple(_greedy(channels, found, weights)))


def _greedy(channels: Sequence[str], found: NDArray[np.bool_], weights: NDArray[np.float64]) -> list[Step]:
    steps: list[Step] = []
    missing = np.ones(found.shape[1], bool)
    left = list(range(len(channels)))
    recall = 0.0
    while left:
        # Rounded: equal gains must not be told apart by the order in which floats were added up.
        gains = [round(float(weights @ (found[at] & missing)), 12) for at in left]
        best = int(np.argmax(gains))
        recall += gains[best]
        at = left.pop(best)
        missing &= ~found[at]
        steps.append(Step(channels[at], recall, gains[best]))
    return steps
