"""SLIM: the optimum by its conditions, beside an independent solver, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet

from headwater.data import Dataset, Vocabulary
from headwater.retrieval.classic import SLIM, SLIMConfig


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


def dense(channel: SLIM) -> np.ndarray:
    tensors = channel.tensors()
    weights = np.zeros((channel.n_items, channel.n_items))
    rows = np.repeat(np.arange(channel.n_items), np.diff(tensors["offsets"]))
    weights[rows, tensors["targets"]] = tensors["similarities"]
    return weights


def test_two_items_are_worked_by_hand() -> None:
    # G = [[4, 3], [3, 3]]: one trigger each, W_01 = (3 - l1) / (4 + l2), W_10 = (3 - l1) / (3 + l2).
    channel = SLIM(SLIMConfig(l1=1.0, l2=2.0)).fit(dataset(np.array([[1, 1], [1, 1], [1, 1], [1, 0]])))
    np.testing.assert_allclose(dense(channel), [[0, 2 / 6], [2 / 5, 0]], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    l1=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    l2=st.sampled_from([0.1, 1.0, 20.0]),
)
def test_the_conditions_of_the_optimum_hold_in_every_column(seed: int, l1: float, l2: float) -> None:
    chosen = (np.random.default_rng(seed).random((30, 9)) < 0.4).astype(float)
    weights = dense(SLIM(SLIMConfig(l1=l1, l2=l2, tolerance=1e-9, sweeps=10_000)).fit(dataset(chosen)))
    gram = chosen.T @ chosen
    # ∂/∂W of the objective: zero where a weight is positive, not negative where it is zero.
    slope = gram @ weights - gram + l2 * weights + l1
    off_diagonal = ~np.eye(9, dtype=bool)
    positive = weights > 0
    assert (weights >= 0).all()
    assert not positive[~off_diagonal].any()
    np.testing.assert_allclose(slope[positive], 0, atol=1e-4)
    assert slope[off_diagonal & ~positive].min(initial=0.0) >= -1e-4


def test_the_weights_are_those_of_an_independent_elastic_net() -> None:
    chosen = (np.random.default_rng(3).random((60, 8)) < 0.35).astype(float)
    l1, l2 = 1.5, 4.0
    found = dense(SLIM(SLIMConfig(l1=l1, l2=l2, tolerance=1e-9, sweeps=10_000)).fit(dataset(chosen)))
    for item in range(8):
        others = np.delete(np.arange(8), item)
        # scikit-learn divides the squared error by the rows, and calls our two penalties one and its ratio.
        peer = ElasticNet(
            alpha=(l1 + l2) / 60, l1_ratio=l1 / (l1 + l2), positive=True, fit_intercept=False, tol=1e-12, max_iter=10**6
        )
        peer.fit(chosen[:, others], chosen[:, item])
        np.testing.assert_allclose(found[others, item], peer.coef_, atol=1e-5)


def test_a_higher_price_leaves_fewer_weights_and_none_at_the_highest_co_occurrence() -> None:
    chosen = np.random.default_rng(1).random((50, 20)) < 0.3
    gram = chosen.T.astype(int) @ chosen
    highest = int(np.max(gram - np.diag(np.diag(gram))))
    sizes = [
        len(SLIM(SLIMConfig(l1=l1, l2=1.0)).fit(dataset(chosen)).tensors()["targets"])
        for l1 in (0.0, 2.0, 5.0, float(highest))
    ]
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] == 0


def test_one_sweep_stops_after_one_pass_from_zero() -> None:
    chosen = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
    found = dense(SLIM(SLIMConfig(l1=0.0, l2=1.0, sweeps=1)).fit(dataset(chosen)))
    # G = 3 on the diagonal, 2 beside it. First trigger: 2 / 4; second: (2 - 2 · 1/2) / 4.
    np.testing.assert_allclose(found[:, 2], [0.5, 0.25, 0.0], rtol=1e-6)
    assert found[2, 0] == pytest.approx(0.25)
