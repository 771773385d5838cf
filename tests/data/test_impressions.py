from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Impressions, Vocabulary
from headwater.data.levels import attribute_levels, encode_levels, levels_of
from headwater.data.packed import pack_impressions, unpack_impressions
from headwater.data.rated import rated_impressions
from headwater.errors import ArtefactError, SchemaError

DAY = 86_400


def events(users: list[int], items: list[int], times: list[int], **more: Any) -> Dataset:
    return Dataset.from_events(
        "events",
        Vocabulary(np.arange(100, 103)),
        Vocabulary(["a", "b", "c", "d"]),
        event_users=np.array(users, np.int32),
        event_items=np.array(items, np.int32),
        event_times=np.array(times, np.int64),
        **more,
    )


HISTORIES = events([0, 0, 0, 2], [0, 1, 2, 3], [10, 20, 30, 20])


def shown(**changes: Any) -> Impressions:
    """Six impressions of three users in three days, given out of order."""
    columns: dict[str, Any] = {
        "user_codes": np.array([0, 2, 0, 1, -1, 0], np.int32),
        "item_codes": np.array([3, 0, 1, 2, 1, -1], np.int32),
        "times": np.array([30, 25, 20, 2 * DAY + 5, DAY + 1, DAY], np.int64),
        "labels": {
            "click": np.array([1, 0, 1, 0, 0, 0], np.int8),
            "conversion": np.array([0, 0, 1, 0, 0, 0], np.int8),
        },
        "histories": HISTORIES,
        "context": {"scenario": np.array([1, 2, 1, 0, 1, 2], np.int32)},
        "context_levels": {"scenario": ("", "home", "search")},
        "sub_domains": np.array([0, 0, 1, 1, 1, 1], np.int32),
        "sub_domain_names": ("ads", "videos"),
    }
    return Impressions.of_columns("shown", HISTORIES.users, HISTORIES.items, **(columns | changes))


def test_columns_are_sorted_by_time_and_days_count_from_the_first_midnight() -> None:
    impressions = shown()
    assert impressions.times.tolist() == [20, 25, 30, DAY, DAY + 1, 2 * DAY + 5]
    assert impressions.user_codes.tolist() == [0, 2, 0, 0, -1, 1]
    assert impressions.labels["click"].tolist() == [1, 0, 1, 0, 0, 0]
    assert impressions.days.tolist() == [0, 0, 0, 1, 1, 2]
    assert impressions.day_slices() == [(0, slice(0, 3)), (1, slice(3, 5)), (2, slice(5, 6))]


def test_the_day_border_follows_the_time_zone_and_goes_on_from_an_earlier_log() -> None:
    # Five seconds before midnight UTC is a new day one hour further east.
    times = np.array([DAY - 3_605, DAY - 5, DAY + 5, DAY + 10, DAY + 20, DAY + 30])
    assert shown(times=times).days.tolist() == [0, 0, 1, 1, 1, 1]
    east = shown(times=times, utc_offset=3_600)
    assert east.days.tolist() == [0, 1, 1, 1, 1, 1]
    assert east.day_zero == -3_600
    assert shown(times=times, day_zero=-DAY).days.tolist() == [1, 1, 2, 2, 2, 2]


def test_a_history_ends_strictly_before_its_impression() -> None:
    impressions = shown()
    start, stop = impressions.history_slices()
    sequences = [impressions.history_items[a:b].tolist() for a, b in zip(start, stop, strict=True)]
    # The click at second 20 is not in the history of the impression at second 20; nobody's history is empty.
    assert sequences == [[0], [3], [0, 1], [0, 1, 2], [], []]
    start, stop = impressions.history_slices(2, rows=np.array([3, 0]))
    assert [impressions.history_items[a:b].tolist() for a, b in zip(start, stop, strict=True)] == [[1, 2], [0]]
    start, stop = impressions.history_slices(0)
    assert (start == stop).all()


@given(st.data())
def test_histories_found_at_once_are_those_found_one_by_one(data: st.DataObject) -> None:
    moments = st.integers(0, 12)
    past = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), moments), max_size=20))
    asked = data.draw(st.lists(st.tuples(st.integers(-1, 2), moments), min_size=1, max_size=10))
    length = data.draw(st.one_of(st.none(), st.integers(0, 5)))
    histories = events(*(list(column) for column in zip(*past, strict=True))) if past else events([], [], [])
    n = len(asked)
    impressions = Impressions.of_columns(
        "drawn",
        histories.users,
        histories.items,
        user_codes=np.array([user for user, _ in asked], np.int32),
        item_codes=np.zeros(n, np.int32),
        times=np.array([time for _, time in asked], np.int64),
        labels={"click": np.zeros(n, np.int8)},
        histories=histories,
    )
    start, stop = impressions.history_slices(length)
    for row, (user, time) in enumerate(sorted(asked, key=lambda pair: pair[1])):
        before = [item for who, item, at in sorted(past, key=lambda event: event[2]) if who == user and at < time]
        wanted = before if length is None else before[len(before) - min(length, len(before)) :]
        assert impressions.history_items[start[row] : stop[row]].tolist() == wanted


def test_parts_keep_vocabularies_and_histories() -> None:
    impressions = shown()
    train, test = impressions.split_days(0, 1)
    assert (len(train), len(test)) == (3, 2)
    assert test.history_items is impressions.history_items
    assert len(impressions.split_days(0, 1, 2)[1]) == 3
    ads = impressions.sub_domain("ads")
    assert ads.times.tolist() == [25, 30]
    with pytest.raises(SchemaError, match="did you mean 'videos'"):
        impressions.sub_domain("video")
    with pytest.raises(SchemaError, match="no impression on days 7 to 7; its days are 0 to 2"):
        impressions.split_days(1, 7)
    with pytest.raises(SchemaError, match="cannot test what is trained through 1"):
        impressions.split_days(1, 1)


def test_what_follows_a_click_is_asked_of_clicks() -> None:
    impressions = shown()
    assert impressions.tasks == ("click", "conversion")
    assert impressions.samples("click").all()
    np.testing.assert_array_equal(impressions.samples("conversion"), impressions.labels["click"] == 1)
    with pytest.raises(SchemaError, match="no label 'cart'; it has click, conversion"):
        impressions.samples("cart")
    alone = shown(labels={"conversion": np.array([0, 1, 0, 0, 0, 0], np.int8)})
    assert alone.samples("conversion").all()


def test_a_day_without_clicks_is_named_and_no_error() -> None:
    assert shown().days_without_positives() == [1, 2]
    late = np.array([30, 25, 20, 4 * DAY, DAY + 1, DAY])
    assert shown(times=late).days_without_positives() == [1, 2, 3, 4]
    assert shown().select(np.zeros(6, bool)).days_without_positives() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"click": np.array([1, 0, 2, 0, 0, 0], np.int8)}}, r"'click', row 0: 2 is neither 0 nor 1"),
        (
            {"labels": {"click": np.zeros(6, np.int8), "conversion": np.array([0, 0, 1, 0, 0, 0], np.int8)}},
            r"row 0 has a conversion without a click \(1 such rows\)",
        ),
        ({"labels": {}}, "no label; impressions are labelled by click, cart, conversion"),
        ({"labels": {"clicked": np.zeros(6, np.int8)}}, "unknown label 'clicked'"),
        ({"item_codes": np.array([3, 0, 1, 2, 1, 9], np.int32)}, r"item_codes, row 3: code 9 lies outside -1..3"),
        ({"context": {"scenario": np.array([1, 2, 1, 3, 1, 2], np.int32)}}, r"'scenario', row 5: code 3 lies outside"),
        ({"context": {}}, "differ"),
        ({"context_levels": {"scenario": ("home", "search", "cart")}}, "the level of unseen values"),
        ({"sub_domain_names": ("ads",)}, r"sub_domains, row 0: code 1 lies outside 0..0"),
        (
            {"item_attributes": pa.table({"price": [1.0, float("nan"), None, 2.0]})},
            r"item attribute 'price', code 1: nan is no finite number \(1 such\)",
        ),
        ({"user_attributes": pa.table({"age": [1]})}, "one row for each user code"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        shown(**change)


def test_columns_that_are_set_by_hand_are_held_to_the_same() -> None:
    impressions = shown()
    with pytest.raises(SchemaError, match="times must ascend, and row 1 goes back"):
        replace(impressions, times=impressions.times[::-1].copy())
    with pytest.raises(SchemaError, match="days must count 86,400 seconds"):
        replace(impressions, day_zero=5)
    with pytest.raises(SchemaError, match="days must count 86,400 seconds"):
        replace(impressions, days=impressions.days + 1)
    with pytest.raises(SchemaError, match=r"'days' has shape \(5,\)"):
        replace(impressions, days=impressions.days[:5])
    with pytest.raises(SchemaError, match="event 1 does not"):
        replace(impressions, history_times=np.array([10, 5, 30, 20]))
    with pytest.raises(SchemaError, match="history_offsets must ascend from 0 to 4 in 4 steps"):
        replace(impressions, history_offsets=np.array([0, 3, 4]))
    other = Dataset.from_events(
        "others",
        Vocabulary([1]),
        HISTORIES.items,
        event_users=np.zeros(0, np.int32),
        event_items=np.zeros(0, np.int32),
        event_times=np.zeros(0, np.int64),
    )
    with pytest.raises(SchemaError, match="other vocabularies"):
        shown(histories=other)


def test_packed_impressions_come_back_whole_and_alterations_are_found(tmp_path: Path) -> None:
    path = tmp_path / "shown.npz"
    for impressions in (
        shown(sampled="one drawn"),
        shown(sub_domains=None, sub_domain_names=(), context=None, context_levels=None),
    ):
        pack_impressions(impressions, path)
        again = unpack_impressions(path)
        assert again.checksum() == impressions.checksum()
        assert (again.name, again.sampled, again.day_zero) == (impressions.name, impressions.sampled, 0)
        assert again.context_levels == impressions.context_levels
        assert again.sub_domain_names == impressions.sub_domain_names
        assert again.item_attributes.equals(impressions.item_attributes)
    with np.load(path) as archive:
        columns = {name: archive[name] for name in archive.files}
    np.savez(path, **(columns | {"label/click": np.ones(6, np.int8)}))
    with pytest.raises(ArtefactError, match="altered"):
        unpack_impressions(path)
    np.savez(path, format=np.array("headwater-packed-1"))
    with pytest.raises(ArtefactError, match="a packed set of impressions here has"):
        unpack_impressions(path)


@pytest.mark.parametrize("part", ["label", "sub_domain_names", "history_times", "context_levels", "day_zero"])
def test_the_checksum_sees_every_part(part: str) -> None:
    changed = {
        "label": {"labels": {"click": np.array([1, 0, 1, 0, 1, 0], np.int8)}},
        "sub_domain_names": {"sub_domain_names": ("ads", "films")},
        "history_times": {"histories": events([0, 0, 0, 2], [0, 1, 2, 3], [10, 20, 31, 20])},
        "context_levels": {"context_levels": {"scenario": ("", "home", "store")}},
        "day_zero": {"day_zero": -DAY},
    }[part]
    assert shown(**changed).checksum() != shown().checksum()


def test_values_without_a_level_share_level_zero() -> None:
    codes, names = levels_of([10, 9, None, 10])
    assert names == ("", "9", "10")
    assert codes.tolist() == [2, 1, 0, 2]
    assert encode_levels(["9", 11, ""], names).tolist() == [1, 0, 0]
    table = pa.table({"genres": [["x", "y"], [], None, ["a"]]})
    assert attribute_levels(table, "genres")[0].tolist() == [2, 0, 0, 1]


def test_ratings_become_impressions_whose_history_is_what_was_liked_before() -> None:
    # User 0 rates a 5, b 3, c 4 (at one time with b), d 5.
    dataset = events(
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [10, 20, 20, 4 * 3_600],
        event_ratings=np.array([5, 3, 4, 5], np.float32),
        item_attributes=pa.table({"category": ["x", "y", "x", None]}),
    )
    impressions = rated_impressions(dataset, conversion=5.0)
    assert impressions.labels["click"].tolist() == [1, 0, 1, 1]
    assert impressions.labels["conversion"].tolist() == [1, 0, 0, 1]
    start, stop = impressions.history_slices()
    liked = [impressions.history_items[a:b].tolist() for a, b in zip(start, stop, strict=True)]
    assert liked == [[], [0], [0], [0, 2]]
    assert [impressions.context_levels["hour"][code] for code in impressions.context["hour"]] == [
        "00",
        "00",
        "00",
        "04",
    ]
    assert impressions.context_levels["weekday"][impressions.context["weekday"][0]] == "Thursday"
    assert [impressions.sub_domain_names[code] for code in impressions.sub_domains] == ["x", "y", "x", ""]
    later = rated_impressions(dataset, utc_offset=-3_600)
    assert later.context_levels["weekday"][later.context["weekday"][0]] == "Wednesday"


def test_data_that_cannot_be_read_as_rated_impressions_are_refused() -> None:
    with pytest.raises(SchemaError, match="no ratings with times"):
        rated_impressions(events([0], [0], [1]))
    with pytest.raises(SchemaError, match="event 0 has no rating"):
        rated_impressions(events([0], [0], [1], event_ratings=np.array([np.nan], np.float32)))
    with pytest.raises(SchemaError, match="below the click's"):
        rated_impressions(events([0], [0], [1], event_ratings=np.ones(1, np.float32)), conversion=3.0)
