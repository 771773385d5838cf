import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from headwater.metrics import auc, grouped_auc, logloss, measure_by_activity, measure_prediction, reliability

SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=60)


def columns(samples: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, labels, scores = (np.array(column) for column in zip(*samples, strict=True))
    return users, labels, scores / 8


@given(SAMPLES)
def test_auc_and_gauc_are_scikit_learns_user_by_user(samples: list[tuple[int, int, int]]) -> None:
    users, labels, scores = columns(samples)
    found = grouped_auc(users, labels, scores)
    weighted = total = skipped = 0
    for at, user in enumerate(np.unique(users)):
        mine = users == user
        assert found.samples[at] == mine.sum()
        if len(set(labels[mine])) < 2:
            skipped += 1
            assert np.isnan(found.values[at])
            continue
        theirs = roc_auc_score(labels[mine], scores[mine])
        assert found.values[at] == pytest.approx(theirs, abs=1e-12)
        weighted, total = weighted + theirs * mine.sum(), total + mine.sum()
    assert (found.n_skipped, found.n_measured) == (skipped, len(found.groups) - skipped)
    assert found.value == pytest.approx(weighted / total, abs=1e-12) if total else np.isnan(found.value)
    whole = roc_auc_score(labels, scores) if len(set(labels)) == 2 else np.nan
    assert auc(labels, scores) == pytest.approx(whole, abs=1e-12, nan_ok=True)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_no_figure_depends_on_the_order_of_samples(samples: list[tuple[int, int, int]], random) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)
    first, second = (measure_prediction(*columns(rows), bins=4) for rows in (samples, shuffled))
    for name in ("auc", "gauc", "users", "skipped_users", "logloss", "ece"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), abs=1e-12, nan_ok=True), name


@given(SAMPLES)
def test_logloss_is_scikit_learns_where_nothing_is_certain(samples: list[tuple[int, int, int]]) -> None:
    _, labels, scores = columns(samples)
    p = 0.01 + 0.98 * scores
    assert logloss(labels, p) == pytest.approx(log_loss(labels, p, labels=[0, 1]), rel=1e-9)


def test_gauc_by_hand() -> None:
    # User 3: its positive beats one of two negatives and ties with the other: 3/4, of 3 samples. User 5: 0, of 2.
    # User 9 has positives only and is skipped, although it has most samples.
    users = np.array([3, 5, 3, 9, 9, 9, 9, 5, 3])
    labels = np.array([1, 1, 0, 1, 1, 1, 1, 0, 0])
    scores = np.array([0.5, 0.1, 0.5, 0.9, 0.9, 0.9, 0.9, 0.2, 0.1])
    found = grouped_auc(users, labels, scores)
    assert found.groups.tolist() == [3, 5, 9]
    assert found.value == pytest.approx((3 * 0.75 + 2 * 0.0) / 5)
    assert (found.n_measured, found.n_skipped) == (2, 1)
    assert found.among(np.array([3, 9])).value == pytest.approx(0.75)


def test_a_certain_and_wrong_guess_costs_much_and_not_everything() -> None:
    assert logloss(np.array([1]), np.array([0.0], np.float32)) == pytest.approx(-np.log(1e-7))


def test_bins_are_of_equal_mass_and_tied_samples_stay_together() -> None:
    p = np.linspace(0.01, 0.99, 100)
    whole = reliability((p > 0.5).astype(int), p, bins=10)
    assert whole.samples.tolist() == [10] * 10
    assert whole.observed.tolist() == [0] * 5 + [1] * 5
    assert (whole.lowest[1:] > whole.highest[:-1]).all()
    tied = reliability(np.array([0, 1, 0, 1, 1]), np.array([0.2, 0.2, 0.2, 0.2, 0.9]), bins=5)
    assert tied.samples.tolist() == [4, 1]
    # |0.5 - 0.2| of four and |1 - 0.9| of one.
    assert tied.error == pytest.approx((4 * 0.3 + 0.1) / 5)


def test_true_probabilities_are_calibrated_and_squeezed_ones_are_not() -> None:
    random = np.random.default_rng(0)
    p = random.random(50_000)
    labels = (random.random(50_000) < p).astype(int)
    assert reliability(labels, p).error < 0.01
    assert reliability(labels, 0.5 + (p - 0.5) / 2).error == pytest.approx(0.125, abs=0.01)


def test_users_are_grouped_by_activity_with_edges_in_the_upper_group() -> None:
    users = np.array([0, 0, 1, 1, 2, 2])
    labels = np.array([0, 1, 1, 0, 1, 1])
    activity = np.array([0, 0, 50, 50, 999, 999])
    found = measure_by_activity(users, labels, np.array([0.1, 0.2, 0.1, 0.2, 0.3, 0.4]), activity)
    assert list(found) == ["0-50", "50-150", "150-300", "300+"]
    assert [part.samples for part in found.values()] == [2, 2, 0, 2]
    assert (found["0-50"].gauc, found["50-150"].gauc) == (1.0, 0.0)
    assert (found["300+"].users, found["300+"].skipped_users) == (0, 1)
    assert np.isnan(found["150-300"].logloss)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5], "1 scores for 2 labels"),
        ([0, 2], [0.5, 0.5], "labels must be 0 or 1"),
        ([0, 1], [0.5, np.nan], "sample 1 is NaN"),
        ([0, 1], [0.5, 1.5], "sample 1: 1.5 is no probability"),
    ],
)
def test_samples_that_cannot_be_measured_are_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_prediction(np.zeros(len(labels), int), np.array(labels), np.array(scores))
    with pytest.raises(ValueError, match="edges must ascend"):
        measure_by_activity(np.zeros(1), np.zeros(1, int), np.zeros(1), np.zeros(1), edges=(50, 50))
    with pytest.raises(ValueError, match="at least 1 bin"):
        reliability(np.zeros(1, int), np.zeros(1), bins=0)
