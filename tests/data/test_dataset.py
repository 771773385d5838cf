"""Histories, attributes and requests of a data set."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Behaviour, Dataset, Vocabulary
from headwater.errors import SchemaError

events_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3)), max_size=40)


def make(events: list[tuple[int, int, int]], **more: object) -> Dataset:
    columns = np.array(events, np.int64).reshape(-1, 3).T
    return Dataset.from_events(
        "made",
        Vocabulary([10, 11, 12, 13, 14]),
        Vocabulary(list("abcdefg")),
        event_users=columns[0].astype(np.int32),
        event_items=columns[1].astype(np.int32),
        event_times=columns[2],
        **more,  # type: ignore[arg-type]
    )


@given(events_lists)
def test_histories_hold_every_event_in_time_order_and_ties_in_input_order(events: list[tuple[int, int, int]]) -> None:
    dataset = make(events)
    for user in range(5):
        expected = sorted([event for event in events if event[0] == user], key=lambda event: event[2])
        start, stop = dataset.offsets[user : user + 2]
        assert dataset.event_items[start:stop].tolist() == [item for _, item, _ in expected]
        assert dataset.event_times[start:stop].tolist() == [time for _, _, time in expected]
        assert (dataset.event_users[start:stop] == user).all()
    assert len(dataset) == len(events)
    assert dataset.lengths.sum() == len(events)
    assert dataset.item_counts.tolist() == [sum(item == code for _, item, _ in events) for code in range(7)]


@given(events_lists, st.integers(0, 2**40))
def test_keeping_events_leaves_the_others_order_and_the_vocabularies(events: list, bits: int) -> None:
    dataset = make(events)
    marked = np.array([bool(bits >> at & 1) for at in range(len(events))], bool)
    kept = dataset.keep(marked)
    assert kept.event_items.tolist() == dataset.event_items[marked].tolist()
    assert kept.event_users.tolist() == dataset.event_users[marked].tolist()
    assert kept.items is dataset.items


def test_events_are_clicks_unless_said_otherwise() -> None:
    assert make([(0, 0, 0)]).event_behaviours.tolist() == [Behaviour.CLICK]


def test_the_matrix_holds_one_for_a_repeated_pair() -> None:
    matrix = make([(0, 1, 0), (0, 1, 1), (2, 3, 0)]).matrix()
    assert matrix.shape == (5, 7)
    assert matrix.toarray()[[0, 2], [1, 3]].tolist() == [1.0, 1.0]
    assert matrix.sum() == 2


def test_titles_and_categories_fall_back_to_the_id_and_to_no_name() -> None:
    bare = make([(0, 0, 0)])
    assert bare.titles == list("abcdefg")
    assert bare.categories[1] == [""]
    attributes = pa.table(
        {"id": list("abcdefg"), "title": ["A", None, *"CDEFG"], "category": ["y", "x", None, "x", "y", "x", "x"]}
    )
    dataset = make([(0, 0, 0)], item_attributes=attributes)
    assert dataset.titles[:2] == ["A", "b"]
    codes, names = dataset.categories
    assert [names[code] for code in codes] == ["y", "x", "", "x", "y", "x", "x"]


@pytest.mark.parametrize("role", ["item_attributes", "user_attributes"])
def test_attributes_need_a_row_for_each_code(role: str) -> None:
    with pytest.raises(SchemaError, match=f"{role} must have one row for each"):
        make([(0, 0, 0)], **{role: pa.table({"id": [1, 2]})})


def test_offsets_need_one_entry_more_than_users() -> None:
    dataset = make([(0, 0, 0)])
    with pytest.raises(SchemaError, match="offsets must have 6 entries, not 2"):
        Dataset(**{**vars(dataset), "offsets": np.array([0, 1])})


def test_queries_carry_whole_histories_and_ask_one_unit_after_the_last_event() -> None:
    dataset = make([(1, 4, 7), (0, 2, 5), (1, 3, 6)])
    queries = dataset.queries(np.array([1, 3], np.int32), scenario="search")
    assert queries.items.tolist() == [3, 4]
    assert queries.offsets.tolist() == [0, 2, 2]
    assert queries.request_times.tolist() == [8, 0]
    assert queries.user_keys.tolist() == [11, 13]
    assert queries.scenarios == ("search", "search")
    assert queries.rows().tolist() == [0, 0]


@given(events_lists, st.integers(1, 6))
def test_batches_of_queries_join_to_the_whole(events: list[tuple[int, int, int]], size: int) -> None:
    queries = make(events).queries(np.arange(5, dtype=np.int32))
    parts = list(queries.batches(size))
    assert [start for start, _ in parts] == list(range(0, 5, size))
    assert np.concatenate([part.items for _, part in parts]).tolist() == queries.items.tolist()
    assert np.concatenate([part.lengths for _, part in parts]).tolist() == queries.lengths.tolist()
    assert all(part.offsets[0] == 0 for _, part in parts)


def test_the_checksum_sees_vocabulary_order_times_and_ratings_but_not_attributes() -> None:
    events = [(0, 1, 5), (0, 2, 5), (1, 1, 6)]
    ratings = np.array([1, 2, 3], np.float32)
    base = make(events, event_ratings=ratings).checksum()
    assert base == make(events, event_ratings=ratings, item_attributes=pa.table({"id": list("gfedcba")})).checksum()
    assert base != make([events[1], events[0], events[2]], event_ratings=ratings).checksum()
    assert base != make(events, event_ratings=ratings[::-1]).checksum()
    assert base != make([(0, 1, 4), *events[1:]], event_ratings=ratings).checksum()
    assert base != make(events, event_ratings=ratings, time_unit="position").checksum()


def test_rare_items_leave_with_their_events_and_the_rest_keep_their_order() -> None:
    # Items by count: a 1, b 3, c 0, d 2, e 0, f 0, g 3.
    events = [(0, 6, 1), (0, 0, 2), (0, 1, 3), (1, 3, 1), (1, 1, 1), (1, 6, 1), (3, 1, 5), (3, 6, 4), (4, 3, 9)]
    titles = pa.table({"id": list("abcdefg"), "title": [f"the {letter}" for letter in "abcdefg"]})
    dataset = make(events, event_ratings=np.arange(len(events), dtype=np.float32), item_attributes=titles)
    frequent = dataset.with_frequent_items(2)
    assert frequent.name == "made (items >= 2)"
    assert frequent.items.ids == ["b", "d", "g"]
    assert frequent.titles == ["the b", "the d", "the g"]
    assert frequent.users is dataset.users
    assert frequent.lengths.tolist() == [2, 3, 0, 2, 1]
    assert frequent.event_items.tolist() == [2, 0, 1, 0, 2, 2, 0, 1]  # user 1's ties stay in input order
    assert frequent.event_ratings is not None
    assert frequent.event_ratings.tolist() == [0, 2, 3, 4, 5, 7, 6, 8]
    assert frequent.item_counts.tolist() == [3, 2, 3]


@given(events_lists.filter(bool), st.integers(1, 4))
def test_every_item_that_is_left_is_frequent_and_none_that_is_frequent_is_missing(
    events: list[tuple[int, int, int]], least: int
) -> None:
    dataset = make(events)
    expected = [letter for letter, count in zip("abcdefg", dataset.item_counts, strict=True) if count >= least]
    if not expected:
        with pytest.raises(SchemaError, match="no item has"):
            dataset.with_frequent_items(least)
        return
    frequent = dataset.with_frequent_items(least)
    assert frequent.items.ids == expected
    before = [letter for letter in (dataset.items.ids[code] for code in dataset.event_items) if letter in expected]
    assert [frequent.items.ids[code] for code in frequent.event_items] == before
    assert len(frequent) == frequent.item_counts.sum() == frequent.offsets[-1]


def test_integer_ids_stay_integers_where_rare_items_leave() -> None:
    dataset = Dataset.from_events(
        "made",
        Vocabulary([1]),
        Vocabulary([70, 80]),
        event_users=np.zeros(3, np.int32),
        event_items=np.array([1, 1, 0], np.int32),
        event_times=np.arange(3),
    )
    assert dataset.with_frequent_items(2).items.kind == "integer"
    assert dataset.with_frequent_items(2).items.ids.tolist() == [80]  # type: ignore[union-attr]


@given(events_lists.filter(bool), st.integers(1, 8))
def test_every_user_that_is_left_is_active_and_keeps_the_whole_history(
    events: list[tuple[int, int, int]], least: int
) -> None:
    users = pa.table({"id": [10, 11, 12, 13, 14], "age": [0, 1, 2, 3, 4]})
    dataset = make(events, user_attributes=users)
    kept = np.flatnonzero(dataset.lengths >= least)
    if not len(kept):
        with pytest.raises(SchemaError, match="no user has"):
            dataset.with_active_users(least)
        return
    active = dataset.with_active_users(least)
    assert (active is dataset) == (len(kept) == 5)
    assert active.users.ids.tolist() == (10 + kept).tolist()  # type: ignore[union-attr]
    assert active.user_attributes.column("age").to_pylist() == kept.tolist()
    assert active.items is dataset.items
    for row, user in enumerate(kept):
        before = dataset.queries(np.array([user], np.int32))
        after = active.queries(np.array([row], np.int32))
        assert after.items.tolist() == before.items.tolist()
        assert after.times.tolist() == before.times.tolist()


@given(events_lists, st.lists(st.integers(0, 4), max_size=6), st.integers(0, 5))
def test_requests_are_taken_by_row_and_cut_to_their_latest_events(
    events: list[tuple[int, int, int]], rows: list[int], n: int
) -> None:
    dataset = make(events, event_ratings=np.arange(len(events), dtype=np.float32))
    queries = dataset.queries(np.arange(5, dtype=np.int32))
    taken, latest = queries.take(np.array(rows, np.int64)), queries.latest(n)
    assert taken.user_keys.tolist() == [10 + row for row in rows]
    assert len(taken.scenarios) == len(rows)
    for name in ("items", "times", "behaviours", "ratings"):
        column = getattr(queries, name)
        of = [column[queries.offsets[row] : queries.offsets[row + 1]].tolist() for row in range(5)]
        assert getattr(taken, name).tolist() == [value for row in rows for value in of[row]]
        assert getattr(latest, name).tolist() == [
            value for history in of for value in history[max(len(history) - n, 0) :]
        ]
    with pytest.raises(ValueError, match="at least 0"):
        queries.latest(-1)
