"""Whether probabilities mean what they say: logloss, reliability over equal-mass bins, and the error that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.metrics.auc import require_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLIP = 1e-7
"""A probability is at least this far from 0 and 1 in the logloss: one certain and wrong guess costs 16.1, not all."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Samples in bins of about equal size by predicted probability; bin b has `samples[b]` of them.

    Attributes
    ----------
    samples : (b,) int64
    predicted : (b,) float64
        Mean predicted probability.
    observed : (b,) float64
        Share of samples that are positive.
    lowest, highest : (b,) float64
        Of the predictions in the bin.
    """

    samples: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: Σ_b n_b |observed - predicted| / n; NaN without samples.

        Naeini, Cooper and Hauskrecht (AAAI 2015), over equal-mass bins as in Nixon et al. (2019).
        """
        if not len(self.samples):
            return float("nan")
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.samples))


def logloss(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Mean of -log p(label), probabilities clipped to `CLIP` from 0 and 1; NaN without samples.

    Raises `ValueError` as `reliability` does.
    """
    _require_probabilities(labels, probabilities)
    if not len(labels):
        return float("nan")
    p = np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP)
    return float(-np.where(labels == 1, np.log(p), np.log1p(-p)).mean())


def reliability(labels: NDArray[np.integer], probabilities: NDArray[np.floating], *, bins: int = 15) -> Reliability:
    """Sort samples by probability and cut them into `bins` equal parts.

    Samples of one probability are in one bin, the lowest of those they would be spread over, so that the order of the
    input decides nothing; with few distinct probabilities there are fewer bins, and they are less equal.

    Raises
    ------
    ValueError
        Lengths differ, a label is neither 0 nor 1, a probability is NaN or outside 0..1, or bins < 1.
    """
    _require_probabilities(labels, probabilities)
    if bins < 1:
        raise ValueError(f"there must be at least 1 bin, not {bins}")
    n = len(labels)
    if not n:
        nothing = np.zeros(0)
        return Reliability(np.zeros(0, np.int64), nothing, nothing, nothing, nothing)
    order = np.argsort(probabilities, kind="stable")
    p, label = probabilities[order].astype(np.float64), labels[order].astype(np.float64)
    first_of_value = np.searchsorted(p, p)  # where each sample's own probability begins
    bin_of = first_of_value * bins // n
    starts = np.flatnonzero(np.diff(bin_of, prepend=-1))
    samples = np.diff(np.append(starts, n))
    return Reliability(
        samples=samples.astype(np.int64),
        predicted=np.add.reduceat(p, starts) / samples,
        observed=np.add.reduceat(label, starts) / samples,
        lowest=p[starts],
        highest=p[starts + samples - 1],
    )


def _require_probabilities(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    require_samples(labels, probabilities)
    bad = (probabilities < 0) | (probabilities > 1)
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"sample {at}: {probabilities[at]} is no probability")
