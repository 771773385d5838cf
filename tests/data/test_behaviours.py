import numpy as np
import pytest

from headwater.data import Behaviour, Dataset, Vocabulary
from headwater.data.behaviours import behaviour_impressions
from headwater.errors import SchemaError

DAY = 86_400
CLICK, CART, BUY = Behaviour.CLICK, Behaviour.CART, Behaviour.PURCHASE


def acted(rows: list[tuple[int, int, int, int]], *, users: int = 3, items: int = 5, **more: str) -> Dataset:
    """Rows are (user, item, time, behaviour)."""
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Dataset.from_events(
        "acted",
        Vocabulary(np.arange(users)),
        Vocabulary(np.arange(items) + 10),
        event_users=columns[0].astype(np.int32),
        event_items=columns[1].astype(np.int32),
        event_times=columns[2],
        event_behaviours=columns[3].astype(np.int8),
        **more,  # type: ignore[arg-type]
    )


def test_the_first_click_of_a_day_is_the_impression_and_what_follows_it_that_day_its_labels() -> None:
    dataset = acted(
        [
            (0, 0, 100, CLICK),
            (0, 0, 200, CLICK),  # the same item and day: no impression of its own
            (0, 0, 300, BUY),
            (0, 1, 50, CART),  # before its click
            (0, 1, 60, CLICK),
            (0, 2, DAY - 1, CLICK),
            (0, 2, DAY + 5, BUY),  # on another day
            (0, 0, DAY + 9, CLICK),
            (1, 3, 10, CLICK),
            (1, 4, 20, BUY),  # without a click
        ]
    )
    found = behaviour_impressions(dataset, negatives=1)
    positive = found.labels["click"] == 1
    rows = zip(
        *(column[positive].tolist() for column in (found.user_codes, found.item_codes, found.times)),
        found.labels["cart"][positive].tolist(),
        found.labels["conversion"][positive].tolist(),
        strict=True,
    )
    assert sorted(rows) == [
        (0, 0, 100, 0, 1),
        (0, 0, DAY + 9, 0, 0),
        (0, 1, 60, 0, 0),
        (0, 2, DAY - 1, 0, 0),
        (1, 3, 10, 0, 0),
    ]
    assert (found.labels["cart"][~positive] == 0).all()
    assert "by clicks of the day" in found.sampled


def test_negatives_are_drawn_by_the_days_clicks_from_what_the_user_left_alone() -> None:
    random = np.random.default_rng(1)
    rows = [
        (int(user), int(item), int(day * DAY + 50 * at), CLICK)
        for day in range(2)
        for at, (user, item) in enumerate(
            zip(random.integers(0, 400, 1_500), random.choice(5, 1_500, p=[0.5, 0.3, 0.1, 0.06, 0.04]), strict=True)
        )
    ]
    # Item 5 is clicked on day 1 alone.
    rows += [(400, 5, DAY + 5, CLICK)]
    found = behaviour_impressions(acted(rows, users=401, items=6), negatives=3, seed=5)
    negative = found.labels["click"] == 0
    assert (found.item_codes[negative & (found.days == 0)] < 5).all()
    done = {(user, item, time // DAY) for user, item, time, _ in rows}
    drawn = zip(
        found.user_codes[negative].tolist(),
        found.item_codes[negative].tolist(),
        found.days[negative].tolist(),
        strict=True,
    )
    assert not done & set(drawn)
    # At the moment of their positive, at most three of them.
    moments: dict[tuple[int, int], list[int]] = {}
    for user, time, label in zip(
        found.user_codes.tolist(), found.times.tolist(), found.labels["click"].tolist(), strict=True
    ):
        moments.setdefault((user, time), []).append(label)
    assert all(labels.count(1) == 1 and labels.count(0) <= 3 for labels in moments.values())
    # Users who did nothing but click item 4 that day can get any other: in proportion to that day's clickers.
    clickers = np.bincount(found.item_codes[~negative & (found.days == 0)], minlength=6)
    only = [user for user in range(400) if {item for who, item, day in done if who == user and day == 0} == {2}]
    mine = negative & (found.days == 0) & np.isin(found.user_codes, only)
    counts = np.bincount(found.item_codes[mine], minlength=6)
    assert counts[0] > counts[3]
    assert clickers[0] > clickers[3]


def test_a_seed_gives_one_draw_and_another_gives_another() -> None:
    random = np.random.default_rng(0)
    rows = [(int(user), int(item), 60 * at, CLICK) for at, (user, item) in enumerate(random.integers(0, 30, (300, 2)))]
    dataset = acted(rows, users=30, items=30)
    first, again, other = (behaviour_impressions(dataset, seed=seed).checksum() for seed in (1, 1, 2))
    assert first == again != other


def test_a_user_who_did_everything_gets_no_negative() -> None:
    found = behaviour_impressions(acted([(0, 0, 5, CLICK), (0, 1, 6, CLICK), (1, 0, 7, CLICK)]), negatives=2)
    assert found.user_codes[found.labels["click"] == 0].tolist() == [1, 1]
    assert found.item_codes[found.labels["click"] == 0].tolist() == [1, 1]


def test_the_day_follows_the_time_zone() -> None:
    rows = [(0, 0, DAY - 10, CLICK), (0, 0, DAY + 10, CLICK), (1, 1, DAY, CLICK)]
    assert (behaviour_impressions(acted(rows)).labels["click"] == 1).sum() == 3
    east = behaviour_impressions(acted(rows), utc_offset=3_600)
    assert (east.labels["click"] == 1).sum() == 2
    assert east.day_zero == DAY - 3_600


def test_what_cannot_be_read_so_is_refused() -> None:
    with pytest.raises(SchemaError, match="no click"):
        behaviour_impressions(acted([(0, 0, 1, BUY)]))
    with pytest.raises(SchemaError, match="positions, not times"):
        behaviour_impressions(acted([(0, 0, 1, CLICK)], time_unit="position"))
    with pytest.raises(SchemaError, match="at least 1 negative"):
        behaviour_impressions(acted([(0, 0, 1, CLICK)]), negatives=0)
