"""SWING: every pair of users against a naive sum, by hand, and with a sample of users."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.retrieval.classic import SWING, SWINGConfig, swing


def dataset(histories: list[list[int]], n_items: int) -> Dataset:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    return Dataset.from_events(
        "made",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(n_items)),
        event_users=users,
        event_items=np.array([item for history in histories for item in history], np.int32),
        event_times=np.arange(len(users)),
    )


def generated(seed: int, n_users: int = 25, n_items: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.choice(n_items, rng.integers(0, n_items), replace=False).tolist() for _ in range(n_users)]


def dense(channel: SWING) -> np.ndarray:
    tensors = channel.tensors()
    similarity = np.zeros((channel.n_items, channel.n_items))
    rows = np.repeat(np.arange(channel.n_items), np.diff(tensors["offsets"]))
    similarity[rows, tensors["targets"]] = tensors["similarities"]
    return similarity


def naive(histories: list[list[int]], n_items: int, config: SWINGConfig) -> np.ndarray:
    """The definition, pair of users by pair of users."""
    chosen = [set(history) for history in histories]
    similarity = np.zeros((n_items, n_items))
    for first, second in combinations(chosen, 2):
        common = first & second
        if common:
            weight = (len(first) * len(second)) ** -config.user_exponent / (config.smoothing + len(common))
            for trigger in common:
                for target in common - {trigger}:
                    similarity[trigger, target] += weight
    counts = np.array([sum(item in one for one in chosen) for item in range(n_items)])
    return similarity / np.maximum(counts, 1) ** config.target_exponent


def test_three_users_are_worked_by_hand() -> None:
    # Users {0, 1}, {0, 1, 2}, {0, 1, 2, 3}; α = 1. Items 0 and 1: pairs (a, b) and (a, c) share 2 items, (b, c) 3.
    config = SWINGConfig(smoothing=1.0, user_exponent=0.0, target_exponent=0.0)
    found = dense(SWING(config).fit(dataset([[0, 1], [0, 1, 2], [3, 2, 1, 0]], 4)))
    assert found[0, 1] == found[1, 0] == pytest.approx(1 / 3 + 1 / 3 + 1 / 4)
    assert found[0, 2] == found[1, 2] == pytest.approx(1 / 4)
    assert not found[3].any()  # only one user has item 3


def test_user_and_target_exponents_enter_as_documented() -> None:
    config = SWINGConfig(smoothing=2.0, user_exponent=0.5, target_exponent=1.0)
    found = dense(SWING(config).fit(dataset([[0, 1, 2, 3], [0, 1], [0]], 4)))
    # One pair of users shares items 0 and 1: 1/√4 · 1/√2 / (2 + 2); item 0 has three users, item 1 two.
    assert found[1, 0] == pytest.approx(8**-0.5 / 4 / 3)
    assert found[0, 1] == pytest.approx(8**-0.5 / 4 / 2)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    smoothing=st.sampled_from([0.0, 1.0, 7.5]),
    user_exponent=st.sampled_from([0.0, 0.5, 1.0]),
    target_exponent=st.sampled_from([0.0, 0.5, 1.0]),
    threads=st.integers(1, 5),
)
def test_every_similarity_is_the_naive_sum_over_pairs_of_users(seed: int, threads: int, **options: float) -> None:
    config = SWINGConfig.model_validate(options)
    histories = generated(seed)
    found = dense(SWING(config).fit(dataset(histories, 12), threads=threads))
    np.testing.assert_allclose(found, naive(histories, 12, config), rtol=1e-5, atol=1e-9)


def test_histories_longer_than_a_row_of_lanes_are_summed_the_same() -> None:
    histories = generated(5, n_users=12, n_items=150)
    found = dense(SWING(SWINGConfig(neighbours=150)).fit(dataset(histories, 150)))
    np.testing.assert_allclose(found, naive(histories, 150, SWINGConfig()), rtol=1e-5, atol=1e-9)


def test_the_most_similar_triggers_are_kept_for_each_item() -> None:
    histories = generated(8)
    whole = dense(SWING().fit(dataset(histories, 12)))
    few = dense(SWING(SWINGConfig(neighbours=3)).fit(dataset(histories, 12)))
    for target in range(12):
        kept = np.lexsort((np.arange(12), -whole[:, target].astype(np.float32)))[:3]
        expected = np.where(np.isin(np.arange(12), kept), whole[:, target], 0)
        np.testing.assert_array_equal(few[:, target], expected)


def test_a_catalogue_larger_than_its_memory_is_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(generated(9), 12)
    whole = dense(SWING().fit(data))
    monkeypatch.setattr(swing, "BYTES_FOR_SUMS", 200)  # room for two rows of sums
    np.testing.assert_array_equal(dense(SWING().fit(data)), whole)


def test_a_cap_above_every_item_changes_nothing_and_a_low_one_draws_by_its_seed() -> None:
    data = dataset(generated(2, n_users=60), 12)
    busiest = int(data.item_counts.max())
    whole = dense(SWING().fit(data))
    np.testing.assert_array_equal(dense(SWING(SWINGConfig(users_per_item=busiest)).fit(data)), whole)
    first, again, other = (
        dense(SWING(SWINGConfig(users_per_item=5, seed=seed, target_exponent=0.0)).fit(data)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # Five users make ten pairs; whatever they share, each counts at most 1 / (1 + 2) times its weights.
    assert first.max() <= 10 / 3
