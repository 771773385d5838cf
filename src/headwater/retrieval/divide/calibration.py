"""The calibrated merge: p(cluster | user) · p(item | cluster, user), and how sharp either chance is to be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.index.exact import Found, best_of, joined, listed_pairs
from headwater.retrieval.divide.lists import StatesOf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.data.splits import HeldOut
    from headwater.retrieval.base import Mask
    from headwater.retrieval.divide.clusters import Clusters
    from headwater.retrieval.divide.masks import ClusterMasks

LOGITS_AT_ONCE = 1 << 24
"""Passes × items of a cluster."""

EXPONENTS = tuple(2.0 ** (step / 8) for step in range(-16, 17))
"""That `fit_calibration` tries: 1/4 to 4."""


class Calibration(NamedTuple):
    """Exponents of both chances, inverse temperatures; 1 takes them as they were trained.

    Attributes
    ----------
    intent : float
        Of p(cluster | user).
    items : float
        Of p(item | cluster, user), a softmax of scores.
    """

    intent: float = 1.0
    items: float = 1.0

    def of_intent(self, log_chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, K) log p^exponent, brought to a sum of 1; -inf in rows of no chances."""
        return log_chances if self.intent == 1 else _log_softmax(self.intent * log_chances)


def fit_calibration(
    held_out: HeldOut,
    log_chances: NDArray[np.float64],
    clusters: Clusters,
    states_of: StatesOf,
    vectors_of: Callable[[int], Tensor],
    left_out: ClusterMasks | None,
) -> Calibration:
    """The exponents under which each request's first target is likeliest, each of its own.

    The joint chance is a product, so that its log-likelihood is the sum of one in either exponent: of the target's
    cluster, and of the target within it.

    Parameters
    ----------
    log_chances : (n, K)
        As the intent model gives them; requests without any are left out.
    states_of, vectors_of
        See `gather`, and `ClusterIndexes.vectors`.
    left_out : ClusterMasks, optional
        Items that have no chance.
    """
    rows = np.flatnonzero(np.isfinite(log_chances).any(1) & (np.diff(held_out.offsets) > 0))
    targets = held_out.targets[held_out.offsets[rows]]
    is_known = targets < len(clusters.labels)
    rows, targets = rows[is_known], targets[is_known]
    if not len(rows):
        return Calibration()
    tasks = clusters.labels[targets].astype(np.int64)
    of_intent = [
        _log_softmax(exponent * log_chances[rows])[np.arange(len(rows)), tasks].sum() for exponent in EXPONENTS
    ]
    of_items = np.zeros(len(EXPONENTS))
    for cluster in np.unique(tasks).tolist():
        mine = np.flatnonzero(tasks == cluster)
        vectors, wanted = vectors_of(cluster), clusters.places[targets[mine]]
        states = states_of(rows[mine], tasks[mine])
        hidden = None if left_out is None else left_out.within(cluster, rows[mine])
        size = max(1, LOGITS_AT_ONCE // len(vectors))
        for start in range(0, len(mine), size):
            scores = (states[start : start + size] @ vectors.T).float()
            at = (torch.arange(len(scores)), torch.from_numpy(wanted[start : start + size]))
            of_truth = scores[at[0].to(scores.device), at[1].to(scores.device)]
            kept = _without(scores, hidden, start)
            kept[at[0].to(scores.device), at[1].to(scores.device)] = of_truth
            for place, exponent in enumerate(EXPONENTS):
                likelihood = exponent * of_truth - (exponent * kept).logsumexp(1)
                of_items[place] += float(likelihood.double().sum())
    return Calibration(EXPONENTS[int(np.argmax(of_intent))], EXPONENTS[int(np.argmax(of_items))])


def likeliest(
    log_chances: NDArray[np.float64],
    clusters: Clusters,
    states_of: StatesOf,
    vectors_of: Callable[[int], Tensor],
    k: int,
    allowed: Mask | None,
    left_out: ClusterMasks | None,
    exponent: float = 1.0,
) -> Found:
    """The k best of all clusters by log p(cluster | user) + log p(item | cluster, user): one row of scores a request.

    Parameters
    ----------
    log_chances, states_of, vectors_of, left_out
        As for `fit_calibration`. What `left_out` lists has no part in a cluster's sum, as in training.
    allowed : Mask, optional
        What may be returned; it changes no chance.
    exponent : float
        Of p(item | cluster, user).
    """
    order = torch.from_numpy(clusters.columns)
    size = max(1, LOGITS_AT_ONCE // max(len(order), 1))
    every, parts = np.arange(len(clusters)), []
    for start in range(0, len(log_chances), size):
        chances = log_chances[start : start + size]
        rows = start + np.flatnonzero(np.isfinite(chances).any(1))
        states = states_of(np.tile(rows, len(every)), np.repeat(every, len(rows))).unflatten(0, (len(every), len(rows)))
        scores = states.new_full((len(chances), len(order)), -torch.inf, dtype=torch.float32)
        at = torch.from_numpy(rows - start).to(scores.device)
        prior = torch.from_numpy(log_chances[rows].astype(np.float32)).to(scores.device)
        of_clusters = []
        for cluster in every.tolist():
            hidden = None if left_out is None else left_out.within(cluster, rows)
            of_cluster = (exponent * states[cluster] @ vectors_of(cluster).T).float()
            total = _without(of_cluster, hidden, 0).logsumexp(1, keepdim=True)
            # Who has chosen all of a cluster has no sum: nothing of it is likely, and a seen item may still be asked.
            total = torch.where(total.isfinite(), total, of_cluster.logsumexp(1, keepdim=True))
            of_clusters.append(of_cluster - total + prior[:, cluster, None])
        scores[at] = torch.cat(of_clusters, 1)[:, order.to(scores.device)]
        parts.append(best_of(scores, k, allowed=allowed, start=start))
    return joined(parts)


def _without(scores: Tensor, left_out: Mask | None, start: int) -> Tensor:
    """Scores whose rows are `start`, … of `left_out`, with -inf where it lists an item; a copy."""
    kept = scores.clone()
    if left_out is not None:
        rows, items = listed_pairs(left_out, start, start + len(scores), scores.shape[1])
        kept[torch.from_numpy(rows).to(scores.device), torch.from_numpy(items).to(scores.device)] = -torch.inf
    return kept


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    is_known = np.isfinite(logits).any(1)
    found = np.full(logits.shape, -np.inf)
    known = logits[is_known]
    found[is_known] = known - np.logaddexp.reduce(known, axis=1, keepdims=True)
    return found
