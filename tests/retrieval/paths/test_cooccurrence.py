"""Counts of item pairs by their definitions, and that a user's own events do not speak in what is cross-fitted."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.retrieval.paths.cooccurrence import Cooccurrence, count_sets, count_windows, swing, user_folds


def histories(rows: list[list[int]], n_items: int, times: list[int] | None = None) -> Dataset:
    return Dataset.from_events(
        "made up",
        Vocabulary(np.arange(len(rows))),
        Vocabulary(np.arange(n_items)),
        event_users=np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int32),
        event_items=np.array([item for row in rows for item in row], np.int32),
        event_times=np.array(times if times is not None else range(sum(map(len, rows))), np.int64),
    )


def dense(counted: Cooccurrence, without: int | None = None) -> np.ndarray:
    return counted.matrix(counted.count(without)).toarray()


SMALL = histories([[0, 1, 2], [0, 1], [1, 2, 1], []], 4)


def test_a_pair_counts_once_for_each_history_that_holds_both() -> None:
    counted = count_sets(SMALL, np.zeros(4, np.int64))
    expected = [[0, 2, 1, 0], [2, 0, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(dense(counted), expected)


def test_measures_follow_their_formulas() -> None:
    counted = count_sets(SMALL, np.zeros(4, np.int64))  # n_0 = 2, n_1 = 3, n_2 = 2 of 4 histories
    of = {name: counted.matrix(getattr(counted, name)()).toarray() for name in ("cosine", "lift", "conditional")}
    assert of["cosine"][0, 1] == pytest.approx(2 / 6**0.5)
    assert of["lift"][0, 1] == pytest.approx(4 * 2 / (2 * 3))
    assert of["conditional"][0, 1] == pytest.approx(2 / 2)
    assert of["conditional"][1, 0] == pytest.approx(2 / 3)


def test_windows_look_forward_and_end_with_the_history() -> None:
    counted = count_windows(histories([[0, 1, 2, 0], [3, 1]], 4), np.zeros(2, np.int64), window=2)
    expected = [[0, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(dense(counted), expected)
    assert counted.total == 6
    assert counted.matrix(counted.conditional()).toarray()[0, 1] == pytest.approx(1 / 2)


def test_a_longer_gap_ends_a_session() -> None:
    data = histories([[0, 1, 2, 3]], 4, [0, 10, 1_000, 1_005])
    counted = count_sets(data, np.zeros(1, np.int64), session_gap=60)
    assert set(zip(*np.nonzero(dense(counted)), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}
    assert counted.total == 2


def test_without_a_fold_the_others_are_scaled_to_all() -> None:
    counted = count_sets(histories([[0, 1], [0, 1], [0, 2], [1, 2]], 3), np.array([0, 1, 1, 1]))
    # Eight ordered pairs in all, six of them outside fold 0.
    np.testing.assert_allclose(dense(counted, 0), np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 8 / 6)


def test_folds_are_of_equal_size_and_depend_on_the_seed() -> None:
    folds = user_folds(101, 5, seed=1)
    assert sorted(np.bincount(folds)) == [20, 20, 20, 20, 21]
    assert not np.array_equal(folds, user_folds(101, 5, seed=2))


@given(
    st.lists(st.lists(st.integers(0, 7), max_size=9), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_counts_are_those_of_the_product_and_of_plain_loops(rows: list[list[int]], n_folds: int, window: int) -> None:
    data = histories(rows, 8)
    folds = np.arange(len(rows)) % n_folds
    counted = count_sets(data, folds, pairs_at_once=1)
    for fold in range(int(folds.max()) + 1):
        matrix = data.matrix()[np.flatnonzero(folds == fold)]
        expected = (matrix.T @ matrix).toarray()
        np.fill_diagonal(expected, 0)
        found = sp.csr_array((counted.counts[:, fold], counted.targets, counted.offsets), shape=(8, 8)).toarray()
        np.testing.assert_array_equal(found, expected)
    expected = np.zeros((8, 8))
    for row in rows:
        for at, trigger in enumerate(row):
            for target in row[at + 1 : at + 1 + window]:
                expected[trigger, target] += trigger != target
    np.testing.assert_array_equal(dense(count_windows(data, folds, window=window, pairs_at_once=1)), expected)


@pytest.mark.parametrize("count", [count_sets, count_windows])
def test_counts_in_files_with_a_small_buffer_are_those_in_memory(
    count: object, marketplace: Dataset, tmp_path: Path
) -> None:
    folds = user_folds(len(marketplace.users), 3, seed=0)
    whole = count(marketplace, folds)  # type: ignore[operator]
    mapped = count(marketplace, folds, folder=tmp_path / "counts", pairs_at_once=400)  # type: ignore[operator]
    assert isinstance(mapped.counts, np.memmap)
    for name in ("offsets", "targets", "counts", "trigger_totals", "target_totals"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(whole, name))


def test_swing_of_a_pair_by_hand_and_without_one_of_its_users() -> None:
    data = histories([[0, 1], [0, 1], [0, 1, 2]], 3)
    # Users 0, 1: 1/2 / (1 + 2); user 2 with each of them: 1/√6 / (1 + 2); over the three users of the target.
    assert swing(data)[[0], [1]][0] == pytest.approx((1 / 6 + 2 / 6**0.5 / 3) / 3)
    assert swing(data, without=np.array([False, False, True]))[[0], [1]][0] == pytest.approx(1 / 6 / 2)


def permuted(n_users: int, n_items: int, length: int, seed: int) -> Dataset:
    """Sparse interactions in which nothing but popularity is left: items dealt to users anew, both margins kept."""
    random = np.random.default_rng(seed)
    popularity = 1 / (np.arange(n_items) + 20.0)
    users = np.repeat(np.arange(n_users), length)
    items = random.choice(n_items, len(users), p=popularity / popularity.sum())
    random.shuffle(items)
    return Dataset.from_events(
        "permuted",
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        event_users=users.astype(np.int32),
        event_items=items.astype(np.int32),
        event_times=np.arange(len(users)),
    )


def test_on_permuted_interactions_only_uncorrected_counts_know_the_target() -> None:
    data = permuted(4_000, 6_000, 6, seed=0)
    folds = user_folds(len(data.users), 5, seed=0)
    counted = count_sets(data, folds)
    everything = counted.matrix(counted.cosine())
    others = [counted.matrix(counted.cosine(fold)) for fold in range(5)]

    random = np.random.default_rng(1)
    negatives = data.event_items[random.integers(0, len(data), len(data.users))]  # as popular as positives
    uncorrected, corrected = [], []
    for user, negative in enumerate(negatives.tolist()):
        *triggers, positive = data.event_items[data.offsets[user] : data.offsets[user + 1]].tolist()
        if positive in triggers or negative in (*triggers, positive):
            continue
        both = [positive, negative]
        uncorrected.append(everything[triggers][:, both].sum(0))
        corrected.append(others[folds[user]][triggers][:, both].sum(0))
    assert area_under_curve(np.array(uncorrected)) > 0.9
    assert area_under_curve(np.array(corrected)) == pytest.approx(0.5, abs=0.03)


def area_under_curve(pairs: np.ndarray) -> float:
    """AUC of (positive, negative) scores over all pairs of the two columns, ties a half."""
    from scipy.stats import rankdata

    n = len(pairs)
    ranks = rankdata(pairs.T.reshape(-1))[:n].sum()
    return (ranks - n * (n + 1) / 2) / n**2
