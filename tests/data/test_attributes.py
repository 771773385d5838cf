"""Attributes of items and users from files of a user's own."""

from pathlib import Path

import polars as pl
import pytest

from headwater.data.events import Columns, read_events
from headwater.errors import SchemaError

EVENTS = "user_id,item_id,timestamp\n1,a,1\n1,b,2\n2,c,3\n"


def events(folder: Path, text: str = EVENTS) -> Path:
    path = folder / "events.csv"
    path.write_text(text, encoding="utf-8")
    return path


def attributes(folder: Path, suffix: str = "csv", **columns: list) -> Path:
    path = folder / f"attributes.{suffix}"
    table = pl.DataFrame(columns)
    {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[suffix](path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_attributes_follow_the_codes_and_ids_without_a_row_get_nulls(suffix: str, tmp_path: Path) -> None:
    file = attributes(tmp_path, suffix, item_id=["c", "z", "a"], title=["C", "Z", None], price=[3.5, 1.0, 2.0])
    dataset = read_events(events(tmp_path), items_file=file).dataset
    assert list(dataset.items.ids) == ["a", "b", "c"]
    assert dataset.item_attributes.column_names == ["id", "title", "price"]
    assert dataset.item_attributes.to_pylist() == [
        {"id": "a", "title": None, "price": 2.0},
        {"id": "b", "title": None, "price": None},
        {"id": "c", "title": "C", "price": 3.5},
    ]
    assert dataset.titles == ["a", "b", "C"]


def test_items_without_events_are_added_only_when_asked_for_and_after_the_others(tmp_path: Path) -> None:
    file = attributes(tmp_path, item_id=["z", "c", "y"], title=["Z", "C", "Y"])
    dataset = read_events(events(tmp_path), items_file=file, every_item=True).dataset
    assert list(dataset.items.ids) == ["a", "b", "c", "z", "y"]
    assert dataset.titles == ["a", "b", "C", "Z", "Y"]
    assert dataset.item_counts.tolist() == [1, 1, 1, 0, 0]


def test_titles_and_categories_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    file = attributes(tmp_path, "parquet", item_id=["a", "b"], title=[1984, 2001], category=[7, 8])
    dataset = read_events(events(tmp_path), items_file=file).dataset
    assert dataset.titles == ["1984", "2001", "c"]
    assert dataset.categories[1] == ["", "7", "8"]
    numbers = attributes(tmp_path, item_id=["a", "b"], category=["007", "8"])
    assert read_events(events(tmp_path), items_file=numbers).dataset.categories[1] == ["", "007", "8"]


def test_users_have_attributes_too(tmp_path: Path) -> None:
    file = attributes(tmp_path, user_id=[2, 1], city=["Rome", "Oslo"])
    dataset = read_events(events(tmp_path), users_file=file).dataset
    assert dataset.user_attributes.to_pydict() == {"id": [1, 2], "city": ["Oslo", "Rome"]}


def test_the_id_column_may_be_called_id(tmp_path: Path) -> None:
    path = events(tmp_path, "user_id,id,timestamp\n1,a,1\n")
    file = attributes(tmp_path, id=["a"], title=["A"])
    assert read_events(path, Columns(item="id"), items_file=file).dataset.titles == ["A"]


def test_text_files_of_numbers_fit_text_ids(tmp_path: Path) -> None:
    file = attributes(tmp_path, item_id=["1", "2"], title=["One", "Two"])
    path = events(tmp_path, "user_id,item_id,timestamp\n1,1,1\n1,x,2\n")
    assert read_events(path, items_file=file).dataset.titles == ["One", "x"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item": ["a"]}, "no column 'item_id' for the item or user id (the nearest is 'item')"),
        ({"item_id": ["a", "b", "a"]}, "line 4, column 'item_id': 'a' stands here again (1 such rows)"),
        ({"item_id": ["a", None], "title": ["A", "B"]}, "line 3, column 'item_id': no id"),
        ({"item_id": ["x", "y"]}, "no id here is among the 3 of the events"),
        ({"item_id": ["a"], "id": [1]}, "Rename or drop the column 'id'"),
    ],
)
def test_an_attribute_file_that_does_not_fit_is_refused(columns: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        read_events(events(tmp_path), items_file=attributes(tmp_path, **columns))
    assert "attributes.csv" in str(caught.value)
    assert said in str(caught.value)


def test_typed_ids_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = attributes(tmp_path, "parquet", item_id=[1, 2])
    with pytest.raises(SchemaError, match="the ids are integers, those of the events are string ids"):
        read_events(events(tmp_path), items_file=file)
