"""The figures of a data set, worked by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Behaviour, Dataset, Vocabulary
from headwater.data.describe import describe, gini, tie_share


def test_every_figure_of_a_small_data_set() -> None:
    # User 0: a a b c at 1 1 2 2; user 1: d at 9; user 2 has nothing.
    dataset = Dataset.from_events(
        "small",
        Vocabulary([1, 2, 3]),
        Vocabulary(list("abcd")),
        event_users=np.array([0, 0, 0, 0, 1], np.int32),
        event_items=np.array([0, 0, 1, 2, 3], np.int32),
        event_times=np.array([1, 1, 2, 2, 9]),
        event_behaviours=np.array([1, 1, 3, 1, 3], np.int8),
        item_attributes=pa.table({"id": list("abcd"), "category": ["x", "x", None, "y"]}),
    )
    found = describe(dataset)
    assert (found.users, found.items, found.interactions) == (3, 4, 5)
    assert found.density == pytest.approx(5 / 12)
    assert (found.first_time, found.last_time) == (1, 9)
    assert found.behaviours == {Behaviour.CLICK.name.lower(): 3, Behaviour.PURCHASE.name.lower(): 2}
    assert (found.history_lengths[0], found.history_lengths[2], found.history_lengths[-1]) == (0, 1, 4)
    assert found.one_item_users == 1
    assert found.repeats == pytest.approx(1 / 5)
    # Of user 0's three successive pairs, (1, 1) and (2, 2) tie.
    assert found.ties == pytest.approx(2 / 3)
    # Counts 1 1 1 2: (-3*1 - 1*1 + 1*1 + 3*2) / (4*5).
    assert found.gini == pytest.approx(3 / 20)
    assert found.top_share == pytest.approx(2 / 5)
    assert found.categories == 3
    # Only user 0 is asked; c, its last, is trained on by nobody.
    assert (found.asked, found.cold_targets) == (1, 1.0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_absolute_difference(counts: list[int]) -> None:
    values = np.array(counts)
    if not values.sum():
        assert gini(values) == 0
        return
    differences = np.abs(values[:, None] - values[None, :]).mean()
    assert gini(values) == pytest.approx(differences / (2 * values.mean()), abs=1e-12)


def test_an_empty_data_set_has_figures_too() -> None:
    none = np.zeros(0, np.int32)
    empty = Dataset.from_events(
        "empty",
        Vocabulary([]),
        Vocabulary([]),
        event_users=none,
        event_items=none,
        event_times=none.astype(np.int64),
    )
    found = describe(empty)
    assert (found.users, found.density, found.ties, found.gini, found.asked) == (0, 0.0, 0.0, 0.0, 0)


def test_ties_do_not_reach_from_one_user_to_the_next(marketplace: Dataset) -> None:
    assert tie_share(marketplace) == 0
    assert describe(marketplace).asked == len(marketplace.users)
