"""Event files of a user's own: the rules, and every way in which a file can be wrong."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Behaviour, Dataset
from headwater.data.events import Columns, Imported, read_events
from headwater.errors import SchemaError

HEADER = "user_id,item_id,timestamp\n"
ROWS = [("ann", "tea", 30), ("bob", "mug", 10), ("ann", "mug", 20), ("bob", "tea", 10)]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def frame(rows: list[tuple] = ROWS) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def in_every_format(folder: Path, table: pl.DataFrame) -> dict[str, Path]:
    paths = {suffix: folder / f"events.{suffix}" for suffix in ("parquet", "csv", "tsv", "jsonl")}
    table.write_parquet(paths["parquet"])
    table.write_csv(paths["csv"])
    table.write_csv(paths["tsv"], separator="\t")
    table.write_ndjson(paths["jsonl"])
    return paths


def history(dataset: Dataset, user: object) -> list:
    code = dataset.users.code(user)  # type: ignore[arg-type]
    assert code >= 0
    return dataset.items.decode(dataset.event_items[dataset.offsets[code] : dataset.offsets[code + 1]])


def csv_events(tmp_path: Path, text: str, **options: object) -> Imported:
    return read_events(write(tmp_path / "events.csv", text), **options)  # type: ignore[arg-type]


# -- what a good file gives


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_every_file_type_gives_the_same_data_set(suffix: str, tmp_path: Path) -> None:
    dataset = read_events(in_every_format(tmp_path, frame())[suffix]).dataset
    assert dataset.name == "events"
    assert list(dataset.users.ids) == ["ann", "bob"]
    assert list(dataset.items.ids) == ["tea", "mug"]
    assert history(dataset, "ann") == ["mug", "tea"]
    assert history(dataset, "bob") == ["mug", "tea"]
    assert dataset.event_times.tolist() == [20, 30, 10, 10]
    assert dataset.event_behaviours.tolist() == [Behaviour.CLICK] * 4
    assert dataset.event_ratings is None


ids = st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(pairs=st.lists(st.tuples(ids, ids), min_size=1, max_size=20), suffix=st.sampled_from(["parquet", "jsonl"]))
def test_typed_files_give_back_every_id_as_it_was(
    pairs: list, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    users, items = ([pair[at] for pair in pairs] for at in (0, 1))
    one_kind = [
        values if len({type(value) for value in values}) == 1 else [str(v) for v in values] for values in (users, items)
    ]
    table = pl.DataFrame({"user_id": one_kind[0], "item_id": one_kind[1], "timestamp": list(range(len(pairs)))})
    dataset = read_events(in_every_format(tmp_path_factory.mktemp("ids"), table)[suffix]).dataset
    assert dataset.users.decode(dataset.users.encode(one_kind[0])) == one_kind[0]
    assert dataset.items.decode(range(len(dataset.items))) == list(dict.fromkeys(one_kind[1]))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["1", "20", "-3"], [1, 20, -3]),
        (["1.0", "20.0", "3"], [1, 20, 3]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["1", "b", "2"], ["1", "b", "2"]),
        (["99999999999999999999", "1", "2"], ["99999999999999999999", "1", "2"]),
    ],
)
def test_text_ids_become_integers_only_where_they_come_back_as_they_were(
    written: list, kept: list, tmp_path: Path
) -> None:
    text = HEADER + "".join(f"u,{value},{at}\n" for at, value in enumerate(written))
    assert csv_events(tmp_path, text).dataset.items.decode([0, 1, 2]) == kept


def test_columns_of_any_name_are_mapped(tmp_path: Path) -> None:
    columns = Columns(user="who", item="what", time="when", behaviour="did", rating="stars")
    text = "when,did,who,what,stars,extra\n5,click,1,x,4.5,?\n6,cart,1,y,2,?\n"
    dataset = csv_events(tmp_path, text, columns=columns, name="mine").dataset
    assert dataset.name == "mine"
    assert dataset.event_behaviours.tolist() == [Behaviour.CLICK, Behaviour.CART]
    assert dataset.event_ratings is not None
    assert dataset.event_ratings.tolist() == [4.5, 2.0]


def test_the_users_own_words_for_behaviours_are_translated_and_impressions_kept_out(tmp_path: Path) -> None:
    rows = ["1,a,1,view", "1,b,2,view", "1,b,3,fav", "1,b,4,Purchase", "2,c,5,view", "2,b,6,buy"]
    text = "\n".join(["user_id,item_id,timestamp,behaviour", *rows])
    words = {"view": "impression", "fav": "click", "buy": "purchase"}
    imported = csv_events(tmp_path, text, behaviours=words)
    assert (imported.rows, imported.impressions) == (6, 3)
    assert imported.dataset.event_behaviours.tolist() == [Behaviour.CLICK, Behaviour.PURCHASE, Behaviour.PURCHASE]
    assert list(imported.dataset.items.ids) == ["b"]


def test_an_exact_repetition_is_dropped_and_the_first_kept(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,rating\n1,a,5,3\n1,b,5,4\n1,a,5,1\n1,a,6,2\n"
    imported = csv_events(tmp_path, text)
    assert imported.duplicates == 1
    assert imported.dataset.event_ratings is not None
    assert imported.dataset.event_ratings.tolist() == [3, 4, 2]


def test_the_same_item_at_the_same_time_by_another_behaviour_is_no_repetition(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behaviour\n1,a,5,click\n1,a,5,cart\n"
    assert len(csv_events(tmp_path, text).dataset) == 2


def test_whole_decimals_are_times_and_fractions_order_events_before_they_are_dropped(tmp_path: Path) -> None:
    imported = csv_events(tmp_path, HEADER + "1,c,8.0\n1,b,5.9\n1,a,5.2\n")
    assert history(imported.dataset, 1) == ["a", "b", "c"]
    assert imported.dataset.event_times.tolist() == [5, 5, 8]
    assert imported.has_fractions


def test_parquet_date_times_are_read_as_utc(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [datetime(2001, 9, 9, 1, 46, 40)]})
    table.write_parquet(tmp_path / "events.parquet")
    assert read_events(tmp_path / "events.parquet").dataset.event_times.tolist() == [1_000_000_000]


def test_without_a_clock_the_order_of_the_file_is_the_position_and_repeats_are_kept(tmp_path: Path) -> None:
    imported = csv_events(tmp_path, "user_id,item_id\n1,a\n2,b\n1,b\n1,a\n", time_unit="position")
    assert imported.dataset.time_unit == "position"
    assert imported.duplicates == 0
    assert history(imported.dataset, 1) == ["a", "b", "a"]
    assert imported.dataset.event_times.tolist() == [0, 1, 2, 0]


def test_a_named_column_gives_the_positions(tmp_path: Path) -> None:
    text = "user_id,item_id,place\n1,a,2\n1,b,0\n1,c,1\n"
    dataset = csv_events(tmp_path, text, time_unit="position", columns=Columns(time="place")).dataset
    assert history(dataset, 1) == ["b", "c", "a"]


def test_blank_lines_quotes_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = '\ufeffuser_id,item_id,timestamp\r\n1,"a, ""b""",3\r\n\r\n2,"line\nend",4\r\n\r\n'
    assert list(csv_events(tmp_path, text).dataset.items.ids) == ['a, "b"', "line\nend"]
    first = '{"user_id": 1, "item_id": "a", "timestamp": 3, "more": [1]}'
    lines = first + '\n\n{"timestamp": 4, "item_id": "b", "user_id": 1}\n'
    assert list(read_events(write(tmp_path / "events.jsonl", lines)).dataset.items.ids) == ["a", "b"]


def test_ratings_may_be_left_out(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,rating\n1,a,3,\n"
    assert csv_events(tmp_path, text, columns=Columns(rating=None)).dataset.event_ratings is None


@given(st.permutations(range(6)))
def test_events_out_of_time_order_give_the_same_histories(order: list[int]) -> None:
    times = np.array([3, 1, 4, 15, 9, 2])[order]
    # Distinct times, so that the input's order has nothing to settle.
    table = pl.DataFrame({"user": [1] * 6, "item": order, "time": times, "exact_time": times, "behaviour": [1] * 6})
    from headwater.data.events import build

    made = build(
        table, "x", Columns(), name="x", time_unit="seconds", items_file=None, users_file=None, every_item=False
    )
    assert history(made.dataset, 1) == [1, 5, 0, 2, 4, 3]


# -- what a bad file is told


def refused(path: Path, **options: object) -> str:
    with pytest.raises(SchemaError) as caught:
        read_events(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert path.name in message
    return message


def test_a_missing_file_a_folder_and_an_unknown_type_are_named(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv")
    assert "unknown file type '.xlsx'. Known are .parquet, .csv" in refused(write(tmp_path / "events.xlsx", "x"))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_an_empty_file_is_named(suffix: str, tmp_path: Path) -> None:
    assert "the file is empty" in refused(write(tmp_path / f"events.{suffix}", ""))


def test_a_file_without_events_is_named(tmp_path: Path) -> None:
    assert "a header and no event" in refused(write(tmp_path / "events.csv", HEADER))
    assert "only blank lines" in refused(write(tmp_path / "events.jsonl", "\n \n"))
    frame().clear().write_parquet(tmp_path / "events.parquet")
    assert "a header and no event" in refused(tmp_path / "events.parquet")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_a_missing_column_is_named_with_the_nearest_that_is_there(suffix: str, tmp_path: Path) -> None:
    path = in_every_format(tmp_path, frame().rename({"item_id": "itemid"}))[suffix]
    message = refused(path)
    assert "no column 'item_id' for the item (the nearest is 'itemid')" in message
    assert "--item or Columns(item=" in message


def test_an_optional_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", HEADER + "1,2,3\n")
    assert "no column 'stars' for the rating" in refused(path, columns=Columns(rating="stars"))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,item_id,timestamp\n1,2,3,4\n")
    assert "line 1: two columns are named 'item_id'" in refused(path)


# value of the column in the third event -> what the message says
BAD_VALUES = [
    ("timestamp", -5, " is negative. Times are Unix seconds"),
    ("timestamp", 978_300_760_000, "after the year 2100. It looks like milliseconds: divide by 1,000"),
    ("timestamp", 978_300_760_000_000, "It looks like microseconds"),
    ("timestamp", 978_300_760_000_000_000, "It looks like nanoseconds"),
    ("timestamp", None, "no value"),
    ("item_id", None, "no id"),
    ("user_id", None, "no id"),
]


@pytest.mark.parametrize(("column", "value", "said"), BAD_VALUES)
@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_a_bad_value_is_named_with_its_row_and_column(
    column: str, value: object, said: str, suffix: str, tmp_path: Path
) -> None:
    table = frame()
    table = table.with_columns(
        pl.when(pl.int_range(pl.len()) == 2).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )
    place = {"parquet": "row 3", "jsonl": "line 3"}.get(suffix, "line 4")
    assert f"{place}, column {column!r}: " in (message := refused(in_every_format(tmp_path, table)[suffix]))
    assert said in message


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "good"])
def test_a_rating_that_is_no_finite_number_is_refused_with_how_many_there_are(value: str, tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp,rating\n1,a,1,4\n1,b,2,{value}\n1,c,3,{value}\n"
    message = refused(write(tmp_path / "events.csv", text))
    assert "line 3, column 'rating'" in message
    assert "(2 such rows)" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_rating_of_a_typed_file_must_be_finite_too(value: float | None, suffix: str, tmp_path: Path) -> None:
    table = frame().with_columns(rating=pl.Series([1.0, 2.0, value, 3.0]))
    path = tmp_path / f"events.{suffix}"
    if suffix == "parquet":
        table.write_parquet(path)
    else:
        write(path, "".join(json.dumps(row) + "\n" for row in table.to_dicts()))
    assert "3, column 'rating'" in refused(path)


def test_ids_of_mixed_type_are_refused_at_the_first_that_differs(tmp_path: Path) -> None:
    lines = ['{"user_id": 1, "item_id": "a", "timestamp": 1}', '{"user_id": "1", "item_id": "a", "timestamp": 2}']
    message = refused(write(tmp_path / "events.jsonl", "\n".join(lines)))
    assert "line 2, column 'user_id': '1' is text, while 1 before it is an integer" in message
    assert "every one as text" in message


@pytest.mark.parametrize(("value", "said"), [("true", "True is a boolean"), ("[1]", "neither a number nor text")])
def test_ids_that_are_neither_numbers_nor_text_are_refused(value: str, said: str, tmp_path: Path) -> None:
    line = f'{{"user_id": {value}, "item_id": "a", "timestamp": 1}}'
    assert f"line 1, column 'user_id': {value.title() if value == 'true' else value} is" in (
        message := refused(write(tmp_path / "events.jsonl", line))
    )
    assert said in message


def test_ids_with_a_fraction_or_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    assert "line 3, column 'item_id': '2.5' is no whole number" in refused(
        write(tmp_path / "events.csv", HEADER + "1,1.0,1\n1,2.5,2\n")
    )
    pl.DataFrame({"user_id": [1.0, 1.5], "item_id": [1, 2], "timestamp": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    assert "row 2, column 'user_id': 1.5 is no whole number" in refused(tmp_path / "a.parquet")
    pl.DataFrame({"user_id": [2**63], "item_id": [1], "timestamp": [1]}).write_parquet(tmp_path / "b.parquet")
    assert f"row 1, column 'user_id': {2**63} does not fit 64 bits" in refused(tmp_path / "b.parquet")
    line = f'{{"user_id": {2**64}, "item_id": 1, "timestamp": 1}}'
    assert f"{2**64} does not fit 64 bits" in refused(write(tmp_path / "c.jsonl", line))


def test_an_unknown_behaviour_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,timestamp,behaviour\n1,a,1,click\n1,a,2,purchas\n")
    message = refused(path)
    assert "line 3, column 'behaviour': unknown behaviour 'purchas' (the nearest is 'purchase')" in message
    assert "--behaviour-map purchas=click" in message
    assert "mapped to the unknown behaviour 'buying'" in refused(path, behaviours={"purchas": "buying"})


def test_a_file_of_impressions_alone_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,timestamp,behaviour\n1,a,1,impression\n")
    assert "holds only impressions" in refused(path)


@pytest.mark.parametrize("kept", [3, 100, -1, -8])
def test_a_truncated_parquet_file_is_refused(kept: int, tmp_path: Path) -> None:
    path = in_every_format(tmp_path, frame())["parquet"]
    write(path, path.read_bytes()[:kept])
    assert "not a whole Parquet file" in refused(path)


@pytest.mark.parametrize("line", ['{"user_id": 2, "item_id"', "user_id,item_id", "[1, 2]", '{"a": NaN,}'])
def test_a_broken_line_of_json_is_named(line: str, tmp_path: Path) -> None:
    good = '{"user_id": 1, "item_id": 1, "timestamp": 1}\n'
    message = refused(write(tmp_path / "events.jsonl", good + line + "\n" + good))
    assert "line 2: not a JSON object" in message


@pytest.mark.parametrize(("row", "fields"), [("1,b", 2), ("1,b,3,4", 4)])
def test_a_row_with_too_few_or_too_many_fields_is_named(row: str, fields: int, tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", HEADER + f"1,a,2\n\n{row}\n1,c,5\n")
    assert f"line 4: {fields} fields where the header has 3 columns" in refused(path)


def test_lines_are_counted_as_an_editor_does_also_after_quoted_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", HEADER + '1,"two\nlines",2\n\n1,b,-3\n')
    assert "line 5, column 'timestamp': '-3' is negative" in refused(path)


def test_a_quote_that_never_closes_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "events.csv", HEADER + '1,x,1\n1,"a,2\n1,b,3\n'))
    assert "after line 2" in message
    assert "a quote opened there and never closed" in message


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_text_that_is_not_utf8_is_named_with_its_line(suffix: str, tmp_path: Path) -> None:
    rows = {
        "csv": [HEADER.strip(), "1,café,2"],
        "jsonl": [f'{{"user_id": 1, "item_id": "{item}", "timestamp": 2}}' for item in ("tea", "café")],
    }
    message = refused(write(tmp_path / f"events.{suffix}", "\n".join(rows[suffix]).encode("latin-1")))
    assert "line 2" in message
    assert "utf-8" in message.lower()


def test_a_utf16_file_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "events.csv", (HEADER + "1,a,2\n").encode("utf-16")))
    assert "is UTF-16 text. Convert it" in message


def test_a_message_says_how_many_more_problems_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,timestamp,rating\n1,a,-1,nan\n")
    assert "is negative" in (message := refused(path))
    assert "(1 more: `headwater data check` lists all.)" in message


texts = st.text(st.sampled_from('user_id,item_id,timestamp\n"{}: 01.-enaNul\t\ré[]\\'))
binaries = st.binary(max_size=60)


@given(
    content=texts.map(str.encode) | binaries,
    suffix=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]),
    head=st.booleans(),
)
def test_whatever_a_file_holds_it_is_read_or_refused_by_name(
    content: bytes, suffix: str, head: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start = HEADER.replace(",", "\t" if suffix == "tsv" else ",").encode() if head else b""
    path = write(tmp_path_factory.mktemp("any") / f"events.{suffix}", start + content)
    try:
        assert len(read_events(path).dataset) > 0
    except SchemaError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_positions_must_be_whole_and_not_negative(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,place\n1,a,0\n1,b,0.5\n")
    message = refused(path, time_unit="position", columns=Columns(time="place"))
    assert "line 3, column 'place': '0.5' is no position" in message
    write(path, "user_id,item_id,place\n1,a,0\n1,b,1e300\n")
    assert "'1e300' is no position" in refused(path, time_unit="position", columns=Columns(time="place"))


def test_a_rating_beyond_single_precision_is_refused_not_made_infinite(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", "user_id,item_id,timestamp,rating\n1,a,1,1e300\n")
    assert "line 2, column 'rating': '1e300' is too great" in refused(path)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "events.jsonl", r'{"user_id": "\ud800", "item_id": 1, "timestamp": 1, "rating": NaN}')
    assert "line 1: not a JSON object" in refused(path)
