"""Attributes of items and users from files of a user's own."""

from datetime import timedelta
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


def lines(folder: Path, *rows: str) -> Path:
    path = folder / "items.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["title", "category"])
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([None, ["tea", "mug"]], "['tea', 'mug'] (List(String))"),
        ([None, {"en": "tea"}], "{'en': 'tea'} (Struct({'en': String}))"),
        ([None, b"tea"], "b'tea' (Binary)"),
        ([None, timedelta(seconds=1)], "datetime.timedelta(seconds=1) (Duration"),
    ],
)
def test_a_title_or_category_that_is_no_text_is_refused_with_its_place(
    column: str, values: list, shown: str, tmp_path: Path
) -> None:
    file = attributes(tmp_path, "parquet", item_id=["a", "b"], **{column: values})
    with pytest.raises(SchemaError) as caught:
        read_events(events(tmp_path), items_file=file)
    assert str(caught.value).startswith(f"{file}, row 2, column {column!r}: {shown}")
    assert f"Write one {column} an id" in str(caught.value)


def test_a_category_column_of_lists_that_are_all_missing_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    schema = {"item_id": pl.String, "category": pl.List(pl.String)}
    pl.DataFrame({"item_id": ["a"], "category": [None]}, schema=schema).write_parquet(path)
    assert read_events(events(tmp_path), items_file=path).dataset.categories[1] == [""]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "[1.5, NaN]", '{"low": Infinity}'])
def test_nan_in_json_lines_is_refused_with_line_and_column(value: str, tmp_path: Path) -> None:
    file = lines(tmp_path, '{"item_id": "a", "price": 1.5}', "", f'{{"item_id": "NaN", "price": {value}}}')
    with pytest.raises(SchemaError) as caught:
        read_events(events(tmp_path), items_file=file)
    said = f"{file}, line 3, column 'price': NaN or Infinity, which JSON does not have. Write null, or a finite number."
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("7", "7 is an integer, while 'x' before it is text"),
        ('["y"]', "['y'] does not fit the rows before it: "),
        ("true", "True does not fit the rows before it: "),
    ],
)
def test_values_of_several_types_in_one_column_are_refused_with_line_and_column(
    value: str, said: str, tmp_path: Path
) -> None:
    file = lines(
        tmp_path, '{"item_id": "a", "tag": "x"}', '{"item_id": "b"}', f'{{"item_id": "c", "tag": {value}}}', ""
    )
    with pytest.raises(SchemaError) as caught:
        read_events(events(tmp_path), items_file=file)
    assert str(caught.value).startswith(f"{file}, line 3, column 'tag': {said}")


def test_an_object_without_a_key_is_refused_because_parquet_cannot_hold_it(tmp_path: Path) -> None:
    file = lines(tmp_path, '{"item_id": "a", "more": null}', '{"item_id": "b", "more": {}}')
    with pytest.raises(SchemaError, match=r"line 2, column 'more': .* an object without any key"):
        read_events(events(tmp_path), items_file=file)


def test_json_lines_may_hold_lists_objects_booleans_and_keys_that_the_first_line_lacks(tmp_path: Path) -> None:
    file = lines(
        tmp_path,
        '{"item_id": "b", "genres": ["x", "y"]}',
        "",
        '{"item_id": "a", "size": {"cm": 3}, "new": true, "title": "A"}',
    )
    assert read_events(events(tmp_path), items_file=file).dataset.item_attributes.to_pylist() == [
        {"id": "a", "genres": None, "size": {"cm": 3}, "new": True, "title": "A"},
        {"id": "b", "genres": ["x", "y"], "size": None, "new": None, "title": None},
        {"id": "c", "genres": None, "size": None, "new": None, "title": None},
    ]


def test_attributes_stay_beside_their_ids_where_the_file_has_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,price\n\nc,C,3\n\na,,1\n", encoding="utf-8")
    dataset = read_events(events(tmp_path), items_file=path).dataset
    assert dataset.titles == ["a", "b", "C"]
    assert dataset.item_attributes.column("price").to_pylist() == [1, None, 3]


def test_columns_of_a_text_file_take_the_type_that_all_their_values_have(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "item_id,whole,decimal,flag,zip,wide,great,word,none\na,7,7,true,07030,1,1,x,\n"
        f"b,,-1.5e3,false,10001,{2**70},1e999,7,\nc,-2,0.25,,2,3,2,,\n",
        encoding="utf-8",
    )
    found = read_events(events(tmp_path), items_file=path).dataset.item_attributes.to_pydict()
    assert found["whole"] == [7, None, -2]
    assert found["decimal"] == [7.0, -1500.0, 0.25]
    assert found["flag"] == [True, False, None]
    assert found["zip"] == ["07030", "10001", "2"]
    assert found["word"] == ["x", "7", None]
    assert found["none"] == [None, None, None]
    assert found["wide"] == ["1", str(2**70), "3"]
    assert found["great"] == ["1", "1e999", "2"]
