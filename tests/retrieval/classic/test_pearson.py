"""Pearson: correlation of choices and of ratings, against numpy and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError
from headwater.retrieval.classic import Pearson, PearsonConfig


def dataset(ratings: np.ndarray, *, repeat: bool = False) -> Dataset:
    """Users × items, 0 where there is no rating. With `repeat` every pair has an older, other rating first."""
    users, items = np.nonzero(ratings)
    values = ratings[users, items].astype(np.float32)
    times = np.arange(len(users)) + len(users)
    if repeat:
        users, items = np.tile(users, 2), np.tile(items, 2)
        values = np.concatenate([6 - values, values]).astype(np.float32)
        times = np.concatenate([times - len(times), times])
    return Dataset.from_events(
        "rated",
        Vocabulary(np.arange(len(ratings))),
        Vocabulary(np.arange(ratings.shape[1])),
        event_users=users.astype(np.int32),
        event_items=items.astype(np.int32),
        event_times=times,
        event_ratings=values,
    )


def dense(channel: Pearson) -> np.ndarray:
    tensors = channel.tensors()
    similarity = np.zeros((channel.n_items, channel.n_items))
    rows = np.repeat(np.arange(channel.n_items), np.diff(tensors["offsets"]))
    similarity[rows, tensors["targets"]] = tensors["similarities"]
    return similarity


def generated(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 6, (14, 6)) * (rng.random((14, 6)) < 0.6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shrinkage=st.sampled_from([0.0, 3.0]))
def test_interactions_correlate_as_columns_of_zeros_and_ones(seed: int, shrinkage: float) -> None:
    ratings = generated(seed)
    chosen = (ratings > 0).astype(float)
    together = chosen.T @ chosen
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(np.corrcoef(chosen.T) * together / (together + shrinkage))
    expected[(expected < 1e-12) | (together == 0)] = 0
    np.fill_diagonal(expected, 0)
    found = dense(Pearson(PearsonConfig(shrinkage=shrinkage)).fit(dataset(ratings)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), values=st.sampled_from(["ratings", "adjusted-ratings"]), repeat=st.booleans())
def test_ratings_correlate_over_the_users_who_rated_both(seed: int, values: str, repeat: bool) -> None:
    ratings = generated(seed).astype(float)
    rated = ratings > 0
    axis = 0 if values == "ratings" else 1
    means = ratings.sum(axis, keepdims=True) / np.maximum(rated.sum(axis, keepdims=True), 1)
    deviations = np.where(rated, ratings - means, 0)
    expected = np.zeros((6, 6))
    for trigger in range(6):
        for target in range(6):
            both = rated[:, trigger] & rated[:, target]
            a, b = deviations[both, trigger], deviations[both, target]
            spread = ((a**2).sum() * (b**2).sum()) ** 0.5
            if trigger != target and spread > 1e-9:
                expected[trigger, target] = max((a * b).sum() / spread, 0)
    found = dense(Pearson(PearsonConfig.model_validate({"values": values})).fit(dataset(ratings, repeat=repeat)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_shrinkage_is_worked_by_hand() -> None:
    # Of four users two have both items, one neither, one the first alone: phi = (2·4 - 3·2) / √(3·1·2·2) = 1/√3.
    data = dataset(np.array([[1, 1], [1, 1], [1, 0], [0, 0]]))
    found = dense(Pearson(PearsonConfig(shrinkage=6.0)).fit(data))
    assert found[0, 1] == pytest.approx(3**-0.5 * 2 / 8, rel=1e-6)


def test_items_chosen_less_often_together_than_by_chance_are_no_neighbours() -> None:
    data = dataset(np.array([[1, 1], [1, 0], [1, 0], [0, 1], [0, 1]]))
    assert not dense(Pearson().fit(data)).any()


def test_an_item_that_everybody_has_says_nothing() -> None:
    data = dataset(np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]]))
    found = dense(Pearson().fit(data))
    assert not found[0].any()
    assert not found[:, 0].any()


def test_a_missing_rating_does_not_count() -> None:
    ratings = generated(4).astype(np.float32)
    users, items = np.nonzero(ratings)
    values = ratings[users, items]
    more_users, more_items = np.append(users, [0, 1]), np.append(items, [2, 3])
    with_missing = Dataset.from_events(
        "rated",
        Vocabulary(np.arange(14)),
        Vocabulary(np.arange(6)),
        event_users=more_users.astype(np.int32),
        event_items=more_items.astype(np.int32),
        event_times=np.arange(len(more_users)),
        event_ratings=np.append(values, [np.nan, np.nan]),
    )
    config = PearsonConfig(values="ratings")
    found, expected = (dense(Pearson(config).fit(data)) for data in (with_missing, dataset(ratings)))
    np.testing.assert_array_equal(found, expected)


def test_ratings_that_are_not_there_are_asked_for_by_name() -> None:
    data = Dataset.from_events(
        "unrated",
        Vocabulary([1]),
        Vocabulary([1]),
        event_users=np.zeros(1, np.int32),
        event_items=np.zeros(1, np.int32),
        event_times=np.zeros(1, np.int64),
    )
    with pytest.raises(ConfigError, match="values = 'adjusted-ratings' needs ratings, and unrated has none"):
        Pearson(PearsonConfig(values="adjusted-ratings")).fit(data)
