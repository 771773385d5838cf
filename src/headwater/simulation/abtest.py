"""An A/B test by users: who is in which arm, whether the split is honest, and how far the arms lie apart.

Both arms are played for all users with common random numbers, so that there are two answers. `paired` compares every
user with itself, which no live test can do, and is narrow. `split` is the test as it would be seen live: each user
counts in the arm that a hash assigns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.nearline.kernels import mix
from headwater.simulation.measures import COUNTS, METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.05
"""Of intervals and tests."""

MISMATCH = 0.001
"""A split whose sizes are less likely than this is no random half, and its test is not to be read."""

DRAWS = 1_000
"""Of a bootstrap."""


@dataclass(frozen=True)
class Difference:
    """One metric in two arms.

    Attributes
    ----------
    metric : str
        See `METRICS`.
    control, treatment : float
    relative : float
        treatment / control - 1; nan where control is 0. So are the next two.
    low, high : float
        The bootstrap interval of `relative`, 95%.
    p : float
        Of no difference, two-sided: by the delta method.
    """

    metric: str
    control: float
    treatment: float
    relative: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class SampleRatio:
    """Whether the arms have as many users as a fair coin gives.

    Attributes
    ----------
    control, treatment : int
    p : float
        Of a split at least so uneven (χ², one degree of freedom).
    """

    control: int
    treatment: int
    p: float

    @property
    def is_mismatch(self) -> bool:
        return self.p < MISMATCH


def assign(user_keys: NDArray[np.int64], salt: int) -> NDArray[np.bool_]:
    """(n,) whether each user is in the treatment: a hash of key and salt, so that a user stays where it was."""
    keys = user_keys.astype(np.uint64)
    own = int(mix(np.uint64(salt + 1)))
    return np.fromiter((int(mix(np.uint64(int(key) ^ own))) & 1 for key in keys), bool, len(keys))


def sample_ratio(is_treated: NDArray[np.bool_]) -> SampleRatio:
    """Check a split that should be half and half."""
    n, treated = len(is_treated), int(is_treated.sum())
    surprise = (2 * treated - n) ** 2 / n if n else 0.0
    return SampleRatio(n - treated, treated, math.erfc(math.sqrt(surprise / 2)))


def paired(control: NDArray[np.int64], treatment: NDArray[np.int64], *, seed: int = 0) -> list[Difference]:
    """Every user against itself, under common random numbers.

    Parameters
    ----------
    control, treatment : (users, len(COUNTS)) int64
        `Measures.users` of two arms that were played for the same users.
    seed : int
        Of the bootstrap, which draws users, each with both of its arms.
    """
    if control.shape != treatment.shape:
        raise ValueError(f"the arms have other users: {control.shape} and {treatment.shape}")
    weights = _weights(len(control), seed)
    sums = weights @ control, weights @ treatment
    found = []
    for metric, (above, below) in METRICS.items():
        y, x = COUNTS.index(above), COUNTS.index(below)
        influences = [_influence(arm[:, y], arm[:, x]) for arm in (control, treatment)]
        error = float(np.std(influences[1] - influences[0])) / math.sqrt(max(len(control), 1))
        found.append(_difference(metric, control, treatment, sums[0], sums[1], error))
    return found


def split(
    control: NDArray[np.int64], treatment: NDArray[np.int64], is_treated: NDArray[np.bool_], *, seed: int = 0
) -> list[Difference]:
    """The test as it would be seen live: users who `is_treated` marks count in `treatment`, the others in `control`."""
    mine, theirs = control[~is_treated], treatment[is_treated]
    sums = _weights(len(mine), seed) @ mine, _weights(len(theirs), seed + 1) @ theirs
    errors = _split_errors(mine, theirs)
    return [_difference(metric, mine, theirs, *sums, errors[metric]) for metric in METRICS]


def rerandomised(log: NDArray[np.int64], user_keys: NDArray[np.int64], times: int) -> dict[str, float]:
    """Metric -> share of `times` A/A splits of one log in which the test finds a difference; 5% where it is honest.

    The k-th split is `assign(user_keys, k)`.
    """
    rejected = dict.fromkeys(METRICS, 0)
    for salt in range(times):
        is_treated = assign(user_keys, salt)
        mine, theirs = log[~is_treated], log[is_treated]
        errors = _split_errors(mine, theirs)
        for metric, (above, below) in METRICS.items():
            gap = _ratio(theirs, above, below) - _ratio(mine, above, below)
            rejected[metric] += _p_value(gap, errors[metric]) < LEVEL
    return {metric: count / times for metric, count in rejected.items()}


def sampling_error(times: int) -> float:
    """How far from 5% the share of `rerandomised` may lie by chance, at 95%."""
    return 1.96 * math.sqrt(LEVEL * (1 - LEVEL) / times)


def _difference(
    metric: str,
    control: NDArray[np.int64],
    treatment: NDArray[np.int64],
    control_sums: NDArray[np.float64],
    treatment_sums: NDArray[np.float64],
    error: float,
) -> Difference:
    above, below = METRICS[metric]
    y, x = COUNTS.index(above), COUNTS.index(below)
    values = _ratio(control, above, below), _ratio(treatment, above, below)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (treatment_sums[:, y] / treatment_sums[:, x]) / (control_sums[:, y] / control_sums[:, x]) - 1
    relative = values[1] / values[0] - 1 if values[0] else float("nan")
    low, high = (float("nan"),) * 2
    if np.isfinite(drawn).any() and values[0]:
        low, high = np.quantile(drawn[np.isfinite(drawn)], [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return Difference(metric, values[0], values[1], relative, low, high, _p_value(values[1] - values[0], error))


def _split_errors(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> dict[str, float]:
    """Standard error of each metric's difference between two groups of different users."""
    errors = {}
    for metric, (above, below) in METRICS.items():
        y, x = COUNTS.index(above), COUNTS.index(below)
        parts = [np.var(_influence(arm[:, y], arm[:, x])) / max(len(arm), 1) for arm in (mine, theirs)]
        errors[metric] = math.sqrt(float(sum(parts)))
    return errors


def _influence(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
    """(users,) what each user adds to a ratio of sums (delta method); its spread over √n is the standard error."""
    if not below.sum():
        return np.zeros(len(above))
    return (above - above.sum() / below.sum() * below) / below.mean()


def _ratio(arm: NDArray[np.int64], above: str, below: str) -> float:
    divisor = int(arm[:, COUNTS.index(below)].sum())
    return int(arm[:, COUNTS.index(above)].sum()) / divisor if divisor else 0.0


def _p_value(gap: float, error: float) -> float:
    if error == 0:
        return 1.0 if gap == 0 else 0.0
    return math.erfc(abs(gap) / error / math.sqrt(2))


def _weights(n: int, seed: int) -> NDArray[np.float64]:
    """(DRAWS, n) how often each user was drawn: Poisson, which is multinomial but for the sum."""
    return np.random.default_rng([seed, 7]).poisson(1.0, (DRAWS, n)).astype(np.float64)
