"""AUC over all samples and within groups: how often a positive is scored above a negative.

Ties are worth one half, through mid-ranks: AUC = (R - P (P - 1) / 2) / (P N), where R sums the ranks, from 0, of the
P positives among all P + N samples (Mann and Whitney, 1947).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GroupedAUC:
    """AUC of each group, and their mean weighted by samples: GAUC (KEEP, eq. 7).

    Attributes
    ----------
    groups : (g,) int64
        The groups, ascending.
    values : (g,) float64
        AUC of each; NaN where all its samples have one label, for then there is nothing to order.
    samples : (g,) int64
        Samples of each group: the weights.
    """

    groups: NDArray[np.int64]
    values: NDArray[np.float64]
    samples: NDArray[np.int64]

    @property
    def n_measured(self) -> int:
        """Groups with both labels."""
        return int(np.isfinite(self.values).sum())

    @property
    def n_skipped(self) -> int:
        """Groups with one label only, which neither help nor harm."""
        return len(self.values) - self.n_measured

    @property
    def value(self) -> float:
        """GAUC = Σ_u n_u AUC_u / Σ_u n_u over measured groups; NaN where there is none."""
        measured = np.isfinite(self.values)
        if not measured.any():
            return float("nan")
        return float(np.average(self.values[measured], weights=self.samples[measured]))

    def among(self, groups: NDArray[np.integer]) -> GroupedAUC:
        """The same of the given groups only."""
        kept = np.isin(self.groups, groups)
        return GroupedAUC(self.groups[kept], self.values[kept], self.samples[kept])


def auc(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> float:
    """AUC of all samples together; NaN where all have one label. Raises as `grouped_auc` does."""
    found = grouped_auc(np.zeros(len(labels), np.int64), labels, scores)
    return float(found.values[0]) if len(found.values) else float("nan")


def grouped_auc(groups: NDArray[np.integer], labels: NDArray[np.integer], scores: NDArray[np.floating]) -> GroupedAUC:
    """AUC within each group, of all groups at once.

    Parameters
    ----------
    groups : (n,) integers
        Whose sample it is, such as the user's code.
    labels : (n,) of 0 and 1
    scores : (n,)
        Higher means more likely 1; only their order within a group matters.

    Raises
    ------
    ValueError
        Lengths differ, a label is neither 0 nor 1, or a score is NaN.
    """
    require_samples(labels, scores)
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} labels")
    n = len(labels)
    if not n:
        return GroupedAUC(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    order = np.lexsort((scores, groups))
    group, score, label = groups[order], scores[order], labels[order]
    new_group = np.ones(n, bool)
    new_group[1:] = group[1:] != group[:-1]
    new_tie = new_group.copy()
    new_tie[1:] |= score[1:] != score[:-1]
    first = np.flatnonzero(new_tie)
    last = np.append(first[1:], n) - 1
    starts = np.flatnonzero(new_group)
    samples = np.diff(np.append(starts, n))
    rank = ((first + last) / 2)[np.cumsum(new_tie) - 1] - np.repeat(starts, samples)
    positives = np.add.reduceat(label.astype(np.float64), starts)
    ranks = np.add.reduceat(np.where(label == 1, rank, 0.0), starts)
    pairs = positives * (samples - positives)
    values = np.full(len(starts), np.nan)
    np.divide(ranks - positives * (positives - 1) / 2, pairs, out=values, where=pairs > 0)
    return GroupedAUC(group[starts].astype(np.int64), values, samples.astype(np.int64))


def require_samples(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> None:
    """Raise `ValueError` unless there is one score for each label, labels are 0 or 1 and scores are no NaN."""
    if len(labels) != len(scores):
        raise ValueError(f"{len(scores)} scores for {len(labels)} labels")
    if ((labels != 0) & (labels != 1)).any():
        raise ValueError("labels must be 0 or 1")
    if np.isnan(scores).any():
        raise ValueError(f"the score of sample {int(np.isnan(scores).argmax())} is NaN")
