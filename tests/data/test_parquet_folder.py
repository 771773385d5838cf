"""A folder of Parquet files is read as one file, and its faults are named by the file that they lie in."""

from pathlib import Path

import polars as pl
import pytest

from headwater.data.impression_log import read_impressions
from headwater.data.tables import read_table
from headwater.errors import SchemaError


def day(folder: Path, name: str, users: list, clicks: list[int]) -> None:
    n = len(users)
    columns = {"user_id": users, "item_id": list(range(n)), "timestamp": [1_600_000_000] * n, "click": clicks}
    pl.DataFrame(columns).write_parquet(folder / name)


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    day(tmp_path, "day-01.parquet", [3], [0])
    day(tmp_path, "day-00.parquet", [1, 2], [1, 0])
    (tmp_path / "day-02.partial").write_bytes(b"half")
    assert read_table(tmp_path, {"user_id", "click"}).frame["user_id"].to_list() == [1, 2, 3]
    assert len(read_impressions(tmp_path).impressions) == 3


def test_a_faulty_row_is_named_by_its_file_and_its_place_there(tmp_path: Path) -> None:
    day(tmp_path, "day-00.parquet", [1, 2], [1, 0])
    day(tmp_path, "day-01.parquet", [3, 4, 5], [0, 7, 0])
    with pytest.raises(SchemaError, match=r"day-01\.parquet, row 2, column 'click': 7 is neither 0 nor 1"):
        read_impressions(tmp_path)


def test_files_whose_columns_differ_are_refused(tmp_path: Path) -> None:
    day(tmp_path, "day-00.parquet", [1, 2], [1, 0])
    day(tmp_path, "day-01.parquet", ["ann"], [0])
    with pytest.raises(SchemaError, match=r"day-01\.parquet, column 'user_id': is String, and in .*day-00\.parquet"):
        read_impressions(tmp_path)


def test_a_folder_without_parquet_files_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"is a folder without Parquet files\. Give the path of one \.parquet"):
        read_impressions(tmp_path)
