"""Leave-one-out and global-time splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary, global_time, leave_one_out
from headwater.errors import SchemaError

events_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=60)


def make(events: list[tuple[int, int, int]], *, time_unit: str = "seconds") -> Dataset:
    columns = np.array(events, np.int64).T
    return Dataset.from_events(
        "made",
        Vocabulary(list(range(5))),
        Vocabulary(list("abcdefg")),
        event_users=columns[0].astype(np.int32),
        event_items=columns[1].astype(np.int32),
        event_times=columns[2],
        time_unit=time_unit,  # type: ignore[arg-type]
    )


def history(dataset: Dataset, user: int) -> list[int]:
    return dataset.event_items[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()


@given(events_lists)
def test_leave_one_out_asks_for_the_last_item_and_test_histories_hold_the_validation_item(
    events: list[tuple[int, int, int]],
) -> None:
    dataset = make(events)
    whole = {user: history(dataset, user) for user in range(5)}
    asked = [user for user in range(5) if len(whole[user]) >= 3]
    if not asked:
        with pytest.raises(SchemaError, match=r"at least 3 interactions; the longest history has [12]"):
            leave_one_out(dataset)
        return
    split = leave_one_out(dataset)
    assert split.test.queries.users.tolist() == split.validation.queries.users.tolist() == asked
    for row, user in enumerate(asked):
        assert split.test.targets[row] == whole[user][-1]
        assert split.validation.targets[row] == whole[user][-2]
        assert split.test.queries.slice(row, row + 1).items.tolist() == whole[user][:-1]
        assert split.validation.queries.slice(row, row + 1).items.tolist() == whole[user][:-2]
    for user in range(5):
        assert history(split.train, user) == (whole[user][:-2] if user in asked else whole[user])


def test_of_tied_interactions_the_later_in_the_input_is_tested() -> None:
    split = leave_one_out(make([(0, 3, 5), (0, 1, 5), (0, 2, 5)]))
    assert (split.validation.targets.tolist(), split.test.targets.tolist()) == ([1], [2])


def test_a_global_time_split_cuts_everybody_at_the_same_moments_and_asks_for_new_items() -> None:
    events = [(0, item, item) for item in range(7)] + [(1, 0, 7), (0, 2, 8), (0, 3, 9), (2, 6, 9)]
    split = global_time(make(events), validation=0.2, test=0.3)
    # Eleven sorted times 0..6, 7, 8, 9, 9: validation begins at the sixth, testing at the eighth.
    assert split.name == "global-time 5/7"
    assert split.train.event_times.max() == 4
    assert split.validation.queries.users.tolist() == [0]
    assert split.validation.targets.tolist() == [5, 6]
    # User 0 only repeats items after the second cut; users 1 and 2 come with empty histories.
    assert split.test.queries.users.tolist() == [1, 2]
    assert split.test.targets.tolist() == [0, 6]
    assert split.test.queries.lengths.tolist() == [0, 0]
    assert split.test.queries.request_times.tolist() == [7, 7]


@given(events_lists)
def test_no_history_of_a_global_time_split_reaches_past_its_cut(events: list[tuple[int, int, int]]) -> None:
    try:
        split = global_time(make(events), validation=0.25, test=0.25)
    except SchemaError as error:
        assert "no user has a new item" in str(error)  # noqa: PT017
        return
    for part in (split.validation, split.test):
        assert (part.queries.times < part.queries.request_times[part.queries.rows()]).all()
        assert (np.diff(part.offsets) >= 1).all()
        owners = np.repeat(np.arange(len(part)), np.diff(part.offsets))
        seen = set(zip(part.queries.rows().tolist(), part.queries.items.tolist(), strict=True))
        assert not seen & set(zip(owners.tolist(), part.targets.tolist(), strict=True))


def test_positions_have_no_global_time() -> None:
    with pytest.raises(SchemaError, match="positions, not times"):
        global_time(make([(0, 0, 0)], time_unit="position"))


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.1, -0.1), (0.5, 0.5)])
def test_shares_must_leave_a_training_part(validation: float, test: float) -> None:
    with pytest.raises(SchemaError, match="shares must be positive and leave a training part"):
        global_time(make([(0, 0, 0)]), validation=validation, test=test)


@given(events_lists, st.integers(1, 6))
def test_a_sample_of_requests_keeps_their_order_histories_and_targets(
    events: list[tuple[int, int, int]], n: int
) -> None:
    dataset = make(events)
    if dataset.lengths.max(initial=0) < 3:
        return
    split = leave_one_out(dataset)
    asked = split.test.sampled(n)
    assert len(asked) == min(n, len(split.test))
    users = asked.queries.users.tolist()
    assert users == sorted(users) == split.validation.sampled(n).queries.users.tolist()
    for row, user in enumerate(users):
        assert asked.targets[asked.offsets[row] : asked.offsets[row + 1]].tolist() == history(dataset, user)[-1:]
        assert asked.queries.slice(row, row + 1).items.tolist() == history(dataset, user)[:-1]
