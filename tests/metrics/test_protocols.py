"""Sampled negatives are exact, distinct, uniform and repeatable; places outside a list are found by search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.metrics import FullRanking, SampledNegatives, nth_outside


def draw(histories: list[list[int]], n_items: int, n: int = 99, seed: int = 0) -> list[list[int]]:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    interacted = np.array([item for history in histories for item in history], np.int32)
    starts, items = SampledNegatives(n, seed).draw(offsets, interacted, n_items)
    return [items[starts[row] : starts[row + 1]].tolist() for row in range(len(histories))]


histories = st.lists(st.lists(st.integers(0, 39), max_size=45), max_size=8)


@given(histories=histories, n=st.integers(1, 50), seed=st.integers(0, 99))
def test_negatives_are_distinct_never_interacted_with_and_as_many_as_there_can_be(histories, n, seed) -> None:
    drawn = draw(histories, 40, n, seed)
    for history, negatives in zip(histories, drawn, strict=True):
        outside = set(range(40)) - set(history)
        assert negatives == sorted(set(negatives))
        assert set(negatives) <= outside
        assert len(negatives) == min(n, len(outside))


def test_a_user_with_fewer_unseen_items_than_negatives_gets_all_of_them() -> None:
    assert draw([[0, 2, 2, 4]], 6) == [[1, 3, 5]]
    assert draw([[0, 1, 2]], 3) == [[]]


def test_one_seed_draws_one_sample_and_another_seed_another() -> None:
    assert draw([[1]] * 3, 1_000, seed=5) == draw([[1]] * 3, 1_000, seed=5)
    assert draw([[1]] * 3, 1_000, seed=5) != draw([[1]] * 3, 1_000, seed=6)


def test_users_are_drawn_for_independently() -> None:
    first, second = draw([[1], [1]], 1_000)
    assert first != second


def test_every_unseen_item_is_drawn_equally_often() -> None:
    # 20,000 draws of 3 among the 6 unseen of 8: each expects 10,000, standard deviation 71.
    drawn = np.concatenate(draw([[2, 5]] * 20_000, 8, n=3, seed=1))
    counts = np.bincount(drawn, minlength=8)
    assert counts[[2, 5]].tolist() == [0, 0]
    assert (np.abs(counts[[0, 1, 3, 4, 6, 7]] - 10_000) < 5 * 71).all()


def test_every_pair_is_drawn_equally_often() -> None:
    # 10 pairs among 5 unseen items, 20,000 draws: each expects 2,000, standard deviation 42.
    drawn = np.array(draw([[0]] * 20_000, 6, n=2, seed=2))
    _, counts = np.unique(drawn @ [10, 1], return_counts=True)
    assert len(counts) == 10
    assert (np.abs(counts - 2_000) < 5 * 42).all()


def test_protocols_say_what_they_are() -> None:
    assert str(FullRanking()) == "full ranking over unseen items"
    assert str(SampledNegatives()) == "99 sampled negatives, uniform, seed 0"


def test_no_negative_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 negative"):
        SampledNegatives(0)


@given(listed=st.lists(st.lists(st.integers(0, 20), unique=True).map(sorted), min_size=1, max_size=5), data=st.data())
def test_the_nth_number_outside_a_list_is_found(listed, data) -> None:
    asked = data.draw(st.lists(st.tuples(st.integers(0, len(listed) - 1), st.integers(0, 30)), max_size=10))
    rows = np.repeat(np.arange(len(listed)), [len(numbers) for numbers in listed])
    flat = np.array([number for numbers in listed for number in numbers], np.int64)
    found = nth_outside(
        rows, flat, np.array([row for row, _ in asked], np.int64), np.array([place for _, place in asked], np.int64)
    )
    outside = [[number for number in range(60) if number not in numbers] for numbers in listed]
    assert found.tolist() == [outside[row][place] for row, place in asked]
