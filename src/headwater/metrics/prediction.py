"""How good predicted probabilities are, in one look: AUC, GAUC, logloss and calibration, also by users' activity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.metrics.auc import auc, grouped_auc
from headwater.metrics.calibration import Reliability, logloss, reliability

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """The figures of one task on one set of samples; a figure that the samples do not define is NaN.

    Attributes
    ----------
    samples, positives : int
    auc : float
        Over all samples: also across users.
    gauc : float
        Within users, weighted by this task's samples (KEEP, eq. 7).
    users, skipped_users : int
        Users whom GAUC measures, and those it skips because all their samples have one label.
    logloss : float
    base_logloss : float
        What always predicting the samples' own base rate would cost: what a logloss is to be compared with.
    reliability : Reliability
    """

    samples: int
    positives: int
    auc: float
    gauc: float
    users: int
    skipped_users: int
    logloss: float
    base_logloss: float
    reliability: Reliability

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        return self.reliability.error


def measure_prediction(
    users: NDArray[np.integer], labels: NDArray[np.integer], probabilities: NDArray[np.floating], *, bins: int = 15
) -> Prediction:
    """Every figure of one task. Arguments are (n,); raises `ValueError` as `reliability` does."""
    grouped = grouped_auc(users, labels, probabilities)
    rate = labels.mean() if len(labels) else 0.0
    return Prediction(
        samples=len(labels),
        positives=int(labels.sum()),
        auc=auc(labels, probabilities),
        gauc=grouped.value,
        users=grouped.n_measured,
        skipped_users=grouped.n_skipped,
        logloss=logloss(labels, probabilities),
        base_logloss=logloss(labels, np.full(len(labels), rate)),
        reliability=reliability(labels, probabilities, bins=bins),
    )


def measure_by_activity(
    users: NDArray[np.integer],
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    activity: NDArray[np.integer],
    *,
    edges: Sequence[int] = (50, 150, 300),
    bins: int = 15,
) -> dict[str, Prediction]:
    """The same for groups of users of like activity; the default groups are those of KEEP's Table 7.

    Parameters
    ----------
    users, labels, probabilities : (n,)
    activity : (n,)
        How active each sample's user is, such as clicks before the test; the same for all samples of a user.
    edges : ascending int
        A user with `edges[i]` or more, and fewer than `edges[i + 1]`, is in group i + 1.

    Returns
    -------
    dict
        Named `0-50`, `50-150`, …, `300+`; a group without samples is there too.

    Raises
    ------
    ValueError
        Edges do not ascend from above 0, or as `measure_prediction` does.
    """
    bounds = [0, *edges]
    if any(high <= low for low, high in zip(bounds, edges, strict=False)):
        raise ValueError(f"edges must ascend from above 0, not {list(edges)}")
    names = [f"{low}-{high}" for low, high in zip(bounds, edges, strict=False)] + [f"{bounds[-1]}+"]
    group = np.searchsorted(np.asarray(edges), activity, side="right")
    return {
        name: measure_prediction(users[rows], labels[rows], probabilities[rows], bins=bins)
        for at, name in enumerate(names)
        for rows in (group == at,)
    }
