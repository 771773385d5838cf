"""EASE: the closed form against its definition, by hand and as the optimum of the penalised regression."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError
from headwater.retrieval.classic import EASE, EASEConfig
from headwater.retrieval.classic.ease import MOST_ITEMS


def dataset(chosen: np.ndarray) -> Dataset:
    users, items = np.nonzero(chosen)
    return Dataset.from_events(
        "made",
        Vocabulary(np.arange(len(chosen))),
        Vocabulary(np.arange(chosen.shape[1])),
        event_users=users.astype(np.int32),
        event_items=items.astype(np.int32),
        event_times=np.arange(len(users)),
    )


def weights_of(channel: EASE) -> np.ndarray:
    return channel.tensors()["similarities"]


def test_two_items_are_worked_by_hand() -> None:
    # Three users have both, one the first alone: G = [[4, 3], [3, 3]]. Each column is a ridge regression on the
    # one other item: B_01 = 3 / (4 + λ), B_10 = 3 / (3 + λ), with λ = 2.
    channel = EASE(EASEConfig(regularisation=2.0)).fit(dataset(np.array([[1, 1], [1, 1], [1, 1], [1, 0]])))
    assert weights_of(channel).tolist() == [[0.0, pytest.approx(3 / 6)], [pytest.approx(3 / 5), 0.0]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0.1, 50), exponent=st.sampled_from([0.0, 0.5, 1.0]))
def test_every_column_is_the_ridge_regression_on_all_other_items(seed: int, penalty: float, exponent: float) -> None:
    chosen = np.random.default_rng(seed).random((12, 7)) < 0.4
    config = EASEConfig(regularisation=penalty, user_exponent=exponent)
    found = weights_of(EASE(config).fit(dataset(chosen)))
    rows = chosen * np.maximum(chosen.sum(1, keepdims=True), 1) ** (-exponent / 2)
    for item in range(7):
        others = np.delete(np.arange(7), item)
        system = rows[:, others].T @ rows[:, others] + penalty * np.eye(6)
        expected = np.linalg.solve(system, rows[:, others].T @ rows[:, item])
        np.testing.assert_allclose(found[others, item], expected, rtol=1e-4, atol=1e-6)
        assert found[item, item] == 0.0


def test_an_item_chosen_instead_of_another_speaks_against_it_and_is_not_named_as_a_reason() -> None:
    # Item 2 comes with 0 and never with 1.
    chosen = np.array([[1, 0, 1]] * 6 + [[1, 1, 0]] * 3 + [[0, 1, 0]] * 3)
    data = dataset(chosen)
    channel = EASE(EASEConfig(regularisation=1.0)).fit(data)
    assert weights_of(channel)[1, 2] < 0 < weights_of(channel)[0, 2]
    queries = data.queries(np.array([6], np.int32))  # items 0 and 1
    found = channel.retrieve(queries, 3)
    reasons = dict(zip(found.items.tolist(), channel.explain(queries, found), strict=True))
    assert [(reason.trigger, reason.share) for reason in reasons[2]] == [(0, 1.0)]


def test_a_candidate_that_nothing_speaks_for_has_a_reason_without_a_trigger() -> None:
    chosen = np.array([[1, 0, 1]] * 6 + [[1, 1, 0]] * 3 + [[0, 1, 0]] * 3)
    data = dataset(chosen)
    channel = EASE(EASEConfig(regularisation=1.0)).fit(data)
    queries = data.queries(np.array([9], np.int32))  # item 1 alone, which speaks against item 2
    found = channel.retrieve(queries, 3)
    at = found.items.tolist().index(2)
    assert found.scores[at] < 0
    assert [(reason.trigger, reason.share) for reason in channel.explain(queries, found)[at]] == [(None, 1.0)]


def test_a_catalogue_too_large_is_refused_with_the_memory_that_it_would_take() -> None:
    n_items = MOST_ITEMS + 1
    data = Dataset(
        name="too many",
        users=Vocabulary([1]),
        items=Vocabulary(np.arange(n_items)),
        offsets=np.array([0, 0]),
        event_items=np.zeros(0, np.int32),
        event_times=np.zeros(0, np.int64),
        event_behaviours=np.zeros(0, np.int8),
        event_ratings=None,
        item_attributes=pa.table({"id": np.arange(n_items)}),
        user_attributes=pa.table({"id": [1]}),
    )
    with pytest.raises(ConfigError, match=r"12 GiB while fitting 40,001 items of too many.*use slim or itemcf"):
        EASE().fit(data)


def test_a_penalty_lost_in_rounding_is_refused() -> None:
    # Two items that always go together are one in the Gram matrix.
    with pytest.raises(ConfigError, match="regularisation 1e-30 is too small for made"):
        EASE(EASEConfig(regularisation=1e-30)).fit(dataset(np.ones((5, 2))))
