"""An experiment is honest: fair splits, intervals that hold, and 5% false alarms."""

import numpy as np
import pytest

from headwater.simulation.abtest import assign, paired, rerandomised, sample_ratio, sampling_error, split
from headwater.simulation.measures import COUNTS


def log(n: int, *, rate: float = 0.1, seed: int = 0) -> np.ndarray:
    """Users who differ in how much they see and how gladly they click, so that exposures are not independent."""
    random = np.random.default_rng(seed)
    counts = np.zeros((n, len(COUNTS)), np.int64)
    shown = random.poisson(np.exp(random.normal(3, 0.7, n)))
    own = np.clip(rate * np.exp(random.normal(0, 0.6, n)), 0, 1)
    clicks = random.binomial(shown, own)
    buys = random.binomial(clicks, 0.2)
    values = (1, shown, clicks, buys, shown // 10, shown // 3, buys, shown // 5 + 1, shown // 20 + 1)
    for column, value in enumerate(values):
        counts[:, column] = value
    return counts


def test_a_user_stays_in_the_arm_and_half_of_them_are_in_each() -> None:
    keys = np.arange(1, 20_001)
    assert (assign(keys, 3)[::-1] == assign(keys[::-1], 3)).all()
    assert assign(keys, 3).mean() == pytest.approx(0.5, abs=0.02)
    assert (assign(keys, 3) == assign(keys, 4)).mean() == pytest.approx(0.5, abs=0.02)


def test_a_sample_ratio_that_is_no_chance_is_a_mismatch() -> None:
    fair = sample_ratio(np.arange(10_000) < 5_080)
    assert (fair.control, fair.treatment) == (4_920, 5_080)
    assert fair.p == pytest.approx(0.1096, abs=1e-4)  # χ² = 160² / 10,000
    assert not fair.is_mismatch
    assert sample_ratio(np.arange(10_000) < 5_300).is_mismatch


def test_a_thousand_a_a_splits_of_one_log_find_a_difference_in_5_of_100() -> None:
    shares = rerandomised(log(2_000), np.arange(1, 2_001), 1_000)
    for metric, share in shares.items():
        assert abs(share - 0.05) <= 2 * sampling_error(1_000), metric
    assert sampling_error(1_000) == pytest.approx(0.0135, abs=1e-4)


def test_a_real_difference_is_found_and_lies_in_the_interval() -> None:
    control = log(3_000)
    treatment = control.copy()
    clicks = COUNTS.index("clicks")
    treatment[:, clicks] += np.random.default_rng(1).binomial(treatment[:, clicks], 0.1)
    of = {one.metric: one for one in paired(control, treatment)}
    assert of["CTR"].is_significant
    assert of["CTR"].low < 0.1 < of["CTR"].high
    assert of["CTR"].relative == pytest.approx(0.1, abs=0.01)
    assert of["CTCVR"].relative == 0
    assert not of["CTCVR"].is_significant


def test_users_compared_with_themselves_give_narrower_intervals_than_a_split() -> None:
    control = log(3_000)
    treatment = control.copy()
    treatment[:, COUNTS.index("clicks")] += 1
    narrow = paired(control, treatment)[0]
    wide = split(control, treatment, assign(np.arange(3_000), 0))[0]
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)


def test_intervals_of_a_split_hold_the_truth_about_95_of_100_times() -> None:
    held = 0
    for seed in range(60):
        arm = log(400, seed=seed)
        found = split(arm, arm, assign(np.arange(400), seed), seed=seed)[0]
        held += found.low <= 0 <= found.high
    assert held >= 51


def test_arms_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="other users"):
        paired(log(10), log(11))
