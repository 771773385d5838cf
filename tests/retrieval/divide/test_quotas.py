"""Quotas: exact, within the room, and monotone for the most likely cluster."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.retrieval.divide.quotas import quotas


@st.composite
def requests(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    k = draw(st.integers(1, 12))
    chances = np.array(draw(st.lists(st.floats(0, 1, width=32), min_size=k, max_size=k)))
    rooms = np.array(draw(st.lists(st.integers(0, 40), min_size=k, max_size=k)))
    return chances[None], rooms[None], draw(st.integers(1, 200))


ALPHAS = st.one_of(st.floats(0, 5), st.sampled_from([0.0, 1.0, 50.0, 1e6]))


@settings(max_examples=300, deadline=None)
@given(requests(), ALPHAS)
def test_quotas_sum_to_what_is_asked_or_to_all_there_is_and_fit_the_room(request_, alpha: float) -> None:
    chances, rooms, total = request_
    found = quotas(chances, rooms, total, alpha)
    assert found.sum() == min(total, rooms.sum())
    assert (found >= 0).all()
    assert (found <= rooms).all()


@settings(max_examples=500, deadline=None)
@given(requests(), ALPHAS, ALPHAS)
def test_with_alpha_rising_the_most_likely_clusters_quota_never_falls(request_, one: float, other: float) -> None:
    chances, rooms, total = request_
    lower, higher = sorted((one, other))
    best = int(np.argmax(np.where(rooms > 0, chances, -1)))
    before, after = (quotas(chances, rooms, total, alpha)[0, best] for alpha in (lower, higher))
    assert after >= before


@settings(max_examples=200, deadline=None)
@given(requests(), st.floats(0, 3))
def test_what_a_cluster_cannot_give_goes_to_the_others_by_their_weight(request_, alpha: float) -> None:
    chances, rooms, total = request_
    chances = np.maximum(chances, 1e-3)
    found, weights = quotas(chances, rooms, total, alpha)[0], chances[0] ** alpha
    # Of two clusters with room left, the shares before rounding stand as their weights do.
    has_room = np.flatnonzero((found < rooms[0] - 1) & (rooms[0] > 0))
    for a in has_room:
        for b in has_room:
            assert found[a] + 1 >= (found[b] - 1) * weights[a] / weights[b] - 1e-6


def test_values_worked_by_hand() -> None:
    chances = np.array([[0.5, 0.3, 0.2]])
    plenty = np.array([[99, 99, 99]])
    assert quotas(chances, plenty, 10, 1.0).tolist() == [[5, 3, 2]]
    assert quotas(chances, plenty, 10, 0.0).sum() == 10
    assert quotas(chances, plenty, 9, 0.0).tolist() == [[3, 3, 3]]
    assert quotas(chances, plenty, 10, 1e6).tolist() == [[10, 0, 0]]
    # Two rooms of 4 leave 2 of 10 to the third; the first would have had 5.
    assert quotas(chances, np.array([[4, 99, 99]]), 10, 1.0).tolist() == [[4, 4, 2]]
    # The likely cluster is full at once, however large alpha is: the next likely one follows.
    assert quotas(chances, np.array([[4, 99, 99]]), 10, 1e6).tolist() == [[4, 6, 0]]
    assert quotas(chances, np.array([[4, 0, 2]]), 10, 1.0).tolist() == [[4, 0, 2]]


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_an_alpha_that_is_no_exponent_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        quotas(np.ones((1, 2)), np.ones((1, 2), int), 2, alpha)


def test_chances_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ConfigError, match="chances"):
        quotas(np.array([[0.5, np.nan]]), np.ones((1, 2), int), 2, 1.0)
