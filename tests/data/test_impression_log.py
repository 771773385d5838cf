from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.data.impression_log import LogColumns, load_log, log_path, read_impressions
from headwater.data.packed import pack_impressions
from headwater.errors import ConfigError, DatasetUnavailable, SchemaError

ROWS = """user_id,item_id,timestamp,click,conversion,position,scenario
7,tea,100,1,1,0,home
7,mug,100,0,0,1,home
8,mug,50,1,0,0,
7,pot,200,0,0,0,search
"""


def written(folder: Path, text: str = ROWS, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_log_becomes_impressions_with_context_sub_domains_and_histories(tmp_path: Path) -> None:
    columns = LogColumns(context=("position",), sub_domain="scenario")
    read = read_impressions(written(tmp_path), columns)
    found = read.impressions
    assert (found.name, found.tasks) == ("log", ("click", "conversion"))
    assert found.items.decode(found.item_codes) == ["mug", "tea", "mug", "pot"]
    assert found.users.decode(found.user_codes) == [8, 7, 7, 7]
    assert found.labels["click"].tolist() == [1, 1, 0, 0]
    assert [found.context_levels["position"][code] for code in found.context["position"]] == ["0", "0", "1", "0"]
    assert [found.sub_domain_names[code] for code in found.sub_domains] == ["", "home", "home", "search"]
    assert set(found.context) == {"hour", "weekday", "position"}
    start, stop = found.history_slices()
    histories = [found.items.decode(found.history_items[a:b]) for a, b in zip(start, stop, strict=True)]
    assert histories == [[], [], [], ["tea"]]
    assert read.notes == ()


def test_parquet_booleans_and_jsonl_read_alike(tmp_path: Path) -> None:
    frame = pl.read_csv(ROWS.encode())
    frame.with_columns(pl.col("click", "conversion").cast(pl.Boolean)).write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.jsonl")
    wanted = read_impressions(written(tmp_path)).impressions.checksum()
    for name in ("log.parquet", "log.jsonl"):
        assert read_impressions(tmp_path / name).impressions.checksum() == wanted


def test_histories_may_come_from_events_with_times_of_their_own(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behaviour\n7,cup,150,purchase\n9,tea,1,click\n7,tea,199,impression\n"
    found = read_impressions(written(tmp_path), history=written(tmp_path, text, "events.csv")).impressions
    start, stop = found.history_slices()
    assert found.items.decode(found.history_items[start[3] : stop[3]]) == ["cup"]
    assert found.history_behaviours[start[3]] == 3
    assert found.users.ids.tolist() == [7, 8, 9]
    with pytest.raises(SchemaError, match=r"text\.csv: its user ids are String, those of .* integers"):
        read_impressions(written(tmp_path), history=written(tmp_path, text.replace("7,cup", "x,cup"), "text.csv"))


def test_attributes_stand_by_code(tmp_path: Path) -> None:
    items = written(tmp_path, "item_id,category,price\nmug,china,2.5\ntea,leaf,\n", "items.csv")
    found = read_impressions(written(tmp_path), items_file=items).impressions
    assert found.item_attributes.column("category").to_pylist() == ["leaf", "china", None]


@pytest.mark.parametrize(
    ("old", "new", "columns", "message"),
    [
        ("7,mug,100,0,0", "7,mug,100,2,0", {}, r"log\.csv, line 3, column 'click': '2' is neither 0 nor 1"),
        ("7,mug,100,0,0", "7,mug,100,,0", {}, r"line 3, column 'click': '?no label|is neither|no label"),
        ("7,mug,100,0,0", "7,mug,100,0,1", {}, r"line 3, column 'conversion': a conversion without a click \(1 such"),
        ("7,pot,200,0,0,0", "7,pot,200,0,0,nan", {"context": ("position",)}, r"line 5, column 'position': 'nan' is no"),
        ("7,mug,100", "7,mug,nan", {}, r"line 3, column 'timestamp': 'nan' is not a finite number"),
        ("7,mug,100", ",mug,100", {}, r"line 3, column 'user_id': no id"),
        ("click", "clicked", {"click": "click"}, r"no column 'click' .*the nearest is 'clicked'"),
        ("", "", {"cart": "basket"}, r"no column 'basket' for the cart"),
        ("", "", {"context": ("positon",)}, r"no column 'positon' for the context .*the nearest is 'position'"),
        (",click,conversion", ",clicked,converted", {}, r"no label: there is no column 'click'"),
    ],
)
def test_what_does_not_fit_is_named_with_file_line_and_column(
    tmp_path: Path, old: str, new: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        read_impressions(written(tmp_path, ROWS.replace(old, new, 1) if old else ROWS), LogColumns(**columns))


def test_numbers_are_no_categories_and_nan_is_refused_in_typed_files(tmp_path: Path) -> None:
    frame = pl.read_csv(ROWS.encode())
    frame.with_columns(price=pl.Series([1.0, float("nan"), 3.0, None])).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=r"row 2, column 'price': nan is no category"):
        read_impressions(tmp_path / "a.parquet", LogColumns(context=("price",)))
    frame.with_columns(price=pl.Series([1.0, 2.5, 3.0, None])).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match=r"row 2, column 'price': 2\.5 is no category"):
        read_impressions(tmp_path / "b.parquet", LogColumns(context=("price",)))
    items = pl.DataFrame({"item_id": ["tea", "mug"], "price": [1.0, float("nan")]})
    items.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(SchemaError, match=r"item attribute 'price', code 1: nan is no finite number"):
        read_impressions(written(tmp_path), items_file=tmp_path / "items.parquet")


def test_an_empty_log_and_a_day_without_clicks_are_told(tmp_path: Path) -> None:
    header = ROWS.splitlines()[0] + "\n"
    with pytest.raises(SchemaError, match="a header and no impression"):
        read_impressions(written(tmp_path, header))
    quiet = read_impressions(written(tmp_path, ROWS.replace("7,pot,200", "7,pot,200000")))
    assert [str(note.severity) for note in quiet.notes] == ["warning", "warning"]
    assert "2 of 3 days have no click: day 1, 2" in quiet.notes[0].what
    unknown = read_impressions(written(tmp_path), LogColumns(click=None))
    assert "clicks are not known" in unknown.notes[-1].what
    assert len(unknown.impressions.history_items) == 0


def test_kept_impressions_are_found_by_name(tmp_path: Path) -> None:
    impressions = read_impressions(written(tmp_path)).impressions
    pack_impressions(impressions, log_path("shop", tmp_path / "home"))
    assert load_log("shop", tmp_path / "home").checksum() == impressions.checksum()
    assert (
        load_log(str(tmp_path / "home" / "impressions" / "shop.npz"), "elsewhere").checksum() == impressions.checksum()
    )
    with pytest.raises(DatasetUnavailable, match=r"no impressions 'shop2' .*there are shop\)"):
        load_log("shop2", tmp_path / "home")
    with pytest.raises(ConfigError, match="cannot name impressions"):
        log_path("../x", tmp_path)


def test_the_command_keeps_a_good_log_and_writes_nothing_of_a_bad_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = [
        "data",
        "import-impressions",
        str(written(tmp_path)),
        "--context",
        "position",
        "--sub-domain",
        "scenario",
    ]
    done = CliRunner().invoke(app, [*arguments, "--home", str(home), "--name", "shop"])
    assert done.exit_code == 0, done.output
    assert "4 impressions of 2 users and 3 items on days 0 to 0 (2 click, 1 conversion)" in done.output
    assert load_log("shop", home).sub_domain_names == ("", "home", "search")
    written(tmp_path, ROWS.replace("7,mug,100,0", "7,mug,100,5"))
    failed = CliRunner().invoke(app, [*arguments, "--home", str(home), "--name", "bad"])
    assert isinstance(failed.exception, SchemaError)
    assert [path.name for path in (home / "impressions").iterdir()] == ["shop.npz"]
