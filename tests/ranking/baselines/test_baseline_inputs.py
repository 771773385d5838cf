import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Impressions, Vocabulary
from headwater.errors import ConfigError
from headwater.ranking.baselines.config import BaselineConfig
from headwater.ranking.baselines.inputs import InputTables
from headwater.ranking.baselines.matches import Windows, matches, mean_before, seconds_since
from headwater.ranking.baselines.rates import PastCounts
from made_up_log import DAY, made_up

CONFIG = BaselineConfig(
    kind="any",
    name="any",
    length=3,
    item_attributes=("category", "tags", "price"),
    user_attributes=("level",),
    context=("scenario",),
)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 1)), max_size=40))
def test_counts_know_earlier_days_only(rows: list[tuple[int, int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    days, keys, labels = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    whole, before = PastCounts.learn(keys, days, labels)
    for at in range(len(rows)):
        past = (keys == keys[at]) & (days < days[at])
        assert (before.shown[at], before.positive[at]) == (past.sum(), labels[past].sum())
    known = whole.look_up(np.arange(6))
    assert known.shown.tolist() == [(keys == key).sum() for key in range(6)]
    assert known.positive.tolist() == [labels[keys == key].sum() for key in range(6)]


def test_a_rate_of_few_impressions_is_drawn_to_the_prior() -> None:
    _, before = PastCounts.learn(np.zeros(3, np.int64), np.array([0, 0, 1]), np.array([1, 1, 0]))
    assert before.rate(0.5, 2.0).tolist() == [0.5, 0.5, 0.75]


def liked(times: list[int], items: list[int], asked: list[tuple[int, int]]) -> Impressions:
    """One user's history, and (item, time) that are asked."""
    users, catalogue = Vocabulary([1]), Vocabulary(["a", "b", "c"])
    histories = Dataset.from_events(
        "liked",
        users,
        catalogue,
        event_users=np.zeros(len(times), np.int32),
        event_items=np.array(items, np.int32),
        event_times=np.array(times),
    )
    n = len(asked)
    return Impressions.of_columns(
        "asked",
        users,
        catalogue,
        user_codes=np.zeros(n, np.int32),
        item_codes=np.array([item for item, _ in asked], np.int32),
        times=np.array([time for _, time in asked]),
        labels={"click": np.zeros(n, np.int8)},
        histories=histories,
    )


def test_events_that_share_a_value_are_counted_within_the_history_and_its_recent_part() -> None:
    # Values: a has 1 and 2, b has 2, c has none. Events: a at 10, b at 20, c at 30, a at 40.
    values = np.array([[1, 2], [2, 0], [0, 0], [0, 0]], np.int32)
    impressions = liked([10, 20, 30, 40], [0, 1, 2, 0], [(0, 40), (1, 41), (2, 50), (-1, 60)])
    windows = Windows.of(impressions, 2)
    found = matches(impressions, windows, values)
    # a at 40 sees a, b, c: value 1 once, value 2 twice; of the recent b and c, value 2 once.
    assert found.whole.tolist() == [1.5, 3.0, 0.0, 0.0]
    assert found.recent.tolist() == [0.5, 1.0, 0.0, 0.0]
    assert found.last.tolist() == [1, 3, -1, -1]
    since = seconds_since(impressions, found.last)
    np.testing.assert_allclose(since, [np.log1p(20), np.log1p(1), np.nan, np.nan])
    prices = np.array([1.0, 3.0, np.nan])
    np.testing.assert_allclose(mean_before(impressions, windows, prices), [2.0, 5 / 3, 5 / 3, 5 / 3])
    np.testing.assert_array_equal(
        mean_before(liked([], [], [(0, 5)]), Windows.of(liked([], [], [(0, 5)]), 2), prices), [np.nan]
    )


def test_no_input_knows_a_label_of_its_own_day_or_later() -> None:
    impressions = made_up()
    day = 4
    today = impressions.days == day
    flipped = {
        task: np.where(impressions.days >= day, 1 - values, values) for task, values in impressions.labels.items()
    }
    flipped = {"click": flipped["click"].astype(np.int8)}
    other = Impressions.of_columns(
        "flipped",
        impressions.users,
        impressions.items,
        user_codes=impressions.user_codes,
        item_codes=impressions.item_codes,
        times=impressions.times,
        labels=flipped,
        histories=Dataset.from_events(
            "liked",
            impressions.users,
            impressions.items,
            event_users=np.repeat(np.arange(40, dtype=np.int32), np.diff(impressions.history_offsets)),
            event_items=impressions.history_items,
            event_times=impressions.history_times,
        ),
        context=impressions.context,
        context_levels=impressions.context_levels,
        item_attributes=impressions.item_attributes,
        user_attributes=impressions.user_attributes,
    )
    _, before = InputTables.learn(impressions, "click", CONFIG)
    _, after = InputTables.learn(other, "click", CONFIG)
    assert (impressions.days > 0).any()
    for name, values in before.numbers.items():
        np.testing.assert_array_equal(values[today], after.numbers[name][today], err_msg=name)
        later = impressions.days > day
        if name.startswith("rate("):
            assert (values[later] != after.numbers[name][later]).any(), name


def test_later_impressions_are_read_with_what_was_known_at_the_end_of_training() -> None:
    impressions = made_up()
    train, test = impressions.split_days(6, 7)
    tables, _ = InputTables.learn(train, "click", CONFIG)
    # As a last day of training, day 7 would see the same counts.
    _, both = InputTables.learn(impressions, "click", CONFIG)
    read = tables.read(test)
    for name, values in both.numbers.items():
        np.testing.assert_allclose(read.numbers[name], values[impressions.days == 7], rtol=1e-6, err_msg=name)
    for name, codes in both.levels.items():
        np.testing.assert_array_equal(read.levels[name], codes[impressions.days == 7], err_msg=name)
    again = InputTables.restore(CONFIG, tables.tensors()).read(test)
    for name, values in read.numbers.items():
        np.testing.assert_array_equal(again.numbers[name], values, err_msg=name)
    assert again.sizes == read.sizes


def test_unseen_users_items_and_context_have_a_level_of_their_own() -> None:
    impressions = made_up()
    tables, _ = InputTables.learn(impressions, "click", CONFIG)
    users = Vocabulary(np.append(np.asarray(impressions.users.ids), 7))
    items = Vocabulary([*impressions.items.ids, "new"])
    histories = Dataset.from_events(
        "later",
        users,
        items,
        event_users=np.array([40, 40], np.int32),
        event_items=np.array([60, 1], np.int32),
        event_times=np.array([5, 6]) + int(impressions.times[-1]),
    )
    later = Impressions.of_columns(
        "later",
        users,
        items,
        user_codes=np.array([40, -1], np.int32),
        item_codes=np.array([60, -1], np.int32),
        times=np.array([DAY, DAY]) + impressions.times[-1],
        labels={"click": np.zeros(2, np.int8)},
        histories=histories,
        context={"scenario": np.array([1, 2], np.int32)},
        context_levels={"scenario": ("", "kiosk", "search")},
    )
    read = tables.read(later)
    assert {name: codes[:, 0].tolist() for name, codes in read.levels.items()} == {
        "user": [0, 0],
        "item": [0, 0],
        "user.level": [0, 0],
        "item.category": [0, 0],
        "item.tags": [0, 0],
        "item.price": [0, 0],
        "scenario": [0, 2],
    }
    assert read.numbers["shown(item)"].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(read.numbers["history"], np.log1p([2, 0]), rtol=1e-6)
    # It did choose the new item before, which training did not know.
    np.testing.assert_allclose(read.numbers["matches(item)"], [np.log1p(1), 0.0], rtol=1e-6)


def test_what_is_not_there_is_named() -> None:
    impressions = made_up(200)
    with pytest.raises(ConfigError, match="no context 'position'; it has scenario"):
        InputTables.learn(impressions, "click", CONFIG.model_copy(update={"context": ("position",)}))
    with pytest.raises(ConfigError, match="items have no attribute 'categry'; did you mean 'category'"):
        InputTables.learn(impressions, "click", CONFIG.model_copy(update={"item_attributes": ("categry",)}))
