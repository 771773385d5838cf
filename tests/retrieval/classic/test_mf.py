"""MF: the objective falls to its minimum, and a history is folded in as its user would have been trained."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Queries, Vocabulary
from headwater.retrieval.classic import MF, MFConfig
from headwater.retrieval.classic.additive import WeightedHistories
from headwater.retrieval.classic.mf import FoldIn


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


def blocks(n_users: int = 40, n_items: int = 20) -> np.ndarray:
    """Users of two tastes, each with most of one half of the items and nothing of the other."""
    rng = np.random.default_rng(0)
    taste = np.arange(n_users)[:, None] % 2 == np.arange(n_items)[None, :] % 2
    return taste & (rng.random((n_users, n_items)) < 0.7)


def everyone(data: Dataset) -> Queries:
    return data.queries(np.arange(len(data.users), dtype=np.int32))


def dense_scores(factors: np.ndarray, items: list[int], weights: np.ndarray, penalty: tuple) -> np.ndarray:
    """The fold-in by its definition, in float64 and without a rotation or an identity."""
    strength, unobserved, exponent = penalty
    known = factors[items]
    ridge = strength * (weights.sum() + unobserved * len(factors)) ** exponent
    system = unobserved * factors.T @ factors + (known.T * weights) @ known + ridge * np.eye(factors.shape[1])
    return factors @ np.linalg.solve(system, known.T @ weights)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 12),
    half_life=st.sampled_from([None, 0.3, 3.0]),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_short_and_long_histories_are_folded_in_by_the_same_formula(
    seed: int, length: int, half_life: float | None, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(15, 6)))  # VᵀV is diagonal, as `fit` leaves it
    factors = (turned * rng.random(6)).astype(np.float32)
    penalty = (0.02, 0.3, exponent)
    items = rng.integers(0, 15, length).tolist()
    weights = np.ones(length) if half_life is None else 0.5 ** (np.arange(length) / half_life)
    histories = WeightedHistories(np.array([0, length]), np.array(items, np.int32), weights)
    found = FoldIn(factors, np.array(penalty)).scores(histories, 0, 1)[0]
    expected = dense_scores(factors.astype(np.float64), items, weights[::-1], penalty)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def objective(chosen: np.ndarray, users: np.ndarray, items: np.ndarray, config: MFConfig) -> float:
    scores = users @ items.T
    loss = ((1 - scores[chosen]) ** 2).sum() + config.unobserved_weight * (scores**2).sum()
    for matrix, counts, others in ((users, chosen.sum(1), items), (items, chosen.sum(0), users)):
        terms = (counts + config.unobserved_weight * len(others)) ** config.frequency_exponent
        loss += config.regularisation * (terms * (matrix**2).sum(1)).sum()
    return float(loss)


def best_users(chosen: np.ndarray, items: np.ndarray, config: MFConfig) -> np.ndarray:
    users = np.zeros((len(chosen), items.shape[1]))
    for row, mine in enumerate(chosen):
        terms = (mine.sum() + config.unobserved_weight * len(items)) ** config.frequency_exponent
        system = config.unobserved_weight * items.T @ items + items[mine].T @ items[mine]
        system += config.regularisation * terms * np.eye(items.shape[1])
        users[row] = np.linalg.solve(system, items[mine].sum(0))
    return users


def test_every_epoch_brings_the_objective_down() -> None:
    chosen = blocks()
    losses = []
    for epochs in (1, 2, 4, 8):
        config = MFConfig(factors=4, epochs=epochs, regularisation=0.05)
        items = MF(config).fit(dataset(chosen)).tensors()["factors"].astype(np.float64)
        losses.append(objective(chosen, best_users(chosen, items, config), items, config))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_the_minimum_is_reached_where_items_too_are_their_least_squares() -> None:
    chosen = blocks()
    config = MFConfig(factors=3, epochs=400, regularisation=0.05)
    items = MF(config).fit(dataset(chosen)).tensors()["factors"].astype(np.float64)
    users = best_users(chosen, items, config)
    again = best_users(chosen.T, users, config)  # the same problem, seen from the items
    np.testing.assert_allclose(items @ users.T, again @ users.T, atol=2e-3)


def test_a_stranger_is_scored_as_the_trained_user_of_the_same_history() -> None:
    data = dataset(blocks())
    channel = MF(MFConfig(factors=4)).fit(data)
    known = data.queries(np.array([3], np.int32))
    stranger = Queries(
        users=np.array([-1], np.int32),
        user_keys=np.array([10**9]),
        offsets=known.offsets,
        items=known.items,
        times=known.times,
        behaviours=known.behaviours,
        request_times=known.request_times,
        scenarios=known.scenarios,
    )
    ours, theirs = channel.retrieve(known, 20), channel.retrieve(stranger, 20)
    np.testing.assert_array_equal(ours.items, theirs.items)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_two_tastes_are_told_apart() -> None:
    data = dataset(blocks())
    found = MF(MFConfig(factors=2, epochs=10, regularisation=0.05)).fit(data).retrieve(everyone(data), 6)
    assert ((found.rows % 2) == (found.items % 2)).mean() == 1.0


def test_the_seed_decides_the_first_vectors() -> None:
    data = dataset(blocks())
    first, again, other = (MF(MFConfig(factors=4, epochs=1, seed=seed)).fit(data).tensors() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["factors"], again["factors"])
    assert np.abs(first["factors"] - other["factors"]).max() > 1e-3


def test_vectors_are_turned_so_that_their_gram_matrix_is_diagonal() -> None:
    factors = MF(MFConfig(factors=4)).fit(dataset(blocks())).tensors()["factors"].astype(np.float64)
    gram = factors.T @ factors
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-5 * gram.max()


def test_events_too_old_to_matter_are_left_out_without_a_trace() -> None:
    # 2^-(2000 / 0.5) is 0 in floating point; its reciprocal must not be asked for.
    data = dataset(blocks())
    channel = MF(MFConfig(factors=4, half_life=0.5)).fit(data)
    items = np.tile(np.arange(0, 20, 2, dtype=np.int32), 200)
    queries = Queries(
        users=np.array([-1], np.int32),
        user_keys=np.array([1]),
        offsets=np.array([0, len(items)]),
        items=items,
        times=np.arange(len(items)),
        behaviours=np.ones(len(items), np.int8),
        request_times=np.array([len(items)]),
        scenarios=("homepage",),
    )
    found = channel.retrieve(queries, 5)
    assert np.isfinite(found.scores).all()
    assert sum(reason.share for reason in channel.explain(queries, found)[0]) == pytest.approx(1.0)
