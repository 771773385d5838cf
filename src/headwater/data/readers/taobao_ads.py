"""Taobao's display advertising: what users were shown in eight days of 2017, and clicked (Tianchi data set 56).

Files are `raw_sample.csv` (user, time_stamp, adgroup_id, pid, nonclk, clk), `ad_feature.csv` (adgroup_id, cate_id,
campaign_id, customer, brand, price) and `user_profile.csv` (userid and eight coded columns). `behavior_log.csv` names
categories and brands and no ads, so histories, which are of items, are the clicks of `raw_sample.csv` itself.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.levels import CLOCK, clock_context, levels_of
from headwater.data.readers.files import Files
from headwater.data.schema import LATEST_TIME
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

FILES = ("raw_sample.csv", "ad_feature.csv", "user_profile.csv")

CHINA = 8 * 3600
"""Seconds by which Taobao's clock, which days follow, is ahead of UTC."""

EMPTY = ["", "NULL"]
"""How these files write that a value is not known."""

AD = {"cate_id": "category", "campaign_id": "campaign", "customer": "shop", "brand": "brand", "price": "price"}
"""Columns of the ads -> attributes of the items; the advertiser is the field's `shop`."""

PROFILE = (
    *("cms_segid", "cms_group_id", "final_gender_code", "age_level"),
    *("pvalue_level", "shopping_level", "occupation", "new_user_class_level"),
)


def read_taobao_ads(name: str, files: Files) -> Impressions:
    """Every impression, in time order, ties as they stand in the file; clicks are labels and histories.

    The context is hour, weekday and `pid`, the place on the page, whose values are the sub-domains too. Ads without a
    row of features, users without a profile, and empty or `NULL` cells have empty attributes. There are no carts and
    conversions.

    Raises
    ------
    DatasetUnavailable
        A file is missing, damaged or not in the published layout, or a row contradicts itself; the row is named.
    """
    import polars as pl

    files.which([FILES])
    text, number = pl.String, pl.Int64
    columns = {"user": number, "time_stamp": number, "adgroup_id": number, "pid": text, "nonclk": number, "clk": number}
    shown = _table(files, FILES[0], columns)
    _require_sound(files, shown)
    users, items = (Vocabulary(np.unique(shown[column].to_numpy())) for column in ("user", "adgroup_id"))
    user_codes, item_codes = users.encode(shown["user"].to_numpy()), items.encode(shown["adgroup_id"].to_numpy())
    times, is_click = shown["time_stamp"].to_numpy(), shown["clk"].to_numpy() == 1
    known = shown["pid"].unique().to_list()
    levels, names = levels_of(known)
    places = shown["pid"].replace_strict(known, levels, return_dtype=pl.Int32).to_numpy()
    ads = _table(files, FILES[1], {"adgroup_id": number, **dict.fromkeys(AD, number), "price": pl.Float64}).rename(AD)
    people = _table(files, FILES[2], {"userid": number, **dict.fromkeys(PROFILE, number)})
    return Impressions.of_columns(
        name,
        users,
        items,
        user_codes=user_codes,
        item_codes=item_codes,
        times=times,
        labels={"click": is_click.astype(np.int8)},
        histories=Dataset.from_events(
            f"clicks of {name}",
            users,
            items,
            event_users=user_codes[is_click],
            event_items=item_codes[is_click],
            event_times=times[is_click],
        ),
        context={**clock_context(times, CHINA), "pid": places},
        context_levels={**CLOCK, "pid": names},
        sub_domains=places,
        sub_domain_names=names,
        user_attributes=_attributes(files, FILES[2], users, people, "userid"),
        item_attributes=_attributes(files, FILES[1], items, ads, "adgroup_id"),
        utc_offset=CHINA,
    )


def _table(files: Files, name: str, columns: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """The named columns of a file, whose published header has blanks behind some names."""
    import polars as pl

    raw = files.read(name)
    try:
        published = pl.read_csv(io.BytesIO(raw), n_rows=0).columns
        given = {column.strip(): column for column in published}
        missing = [column for column in columns if column not in given]
        if missing:
            raise DatasetUnavailable(f"{files.path}: {name} has no column {missing[0]!r}; it has {', '.join(given)}")
        rows = pl.read_csv(
            io.BytesIO(raw),
            columns=[given[column] for column in columns],
            schema_overrides={given[column]: kind for column, kind in columns.items()},
            null_values=EMPTY,
        )
    except pl.exceptions.PolarsError as error:
        what = str(error).splitlines()[0]
        raise DatasetUnavailable(f"{files.path}: {name} is not in the published layout: {what}") from error
    return rows.select(pl.col(given[column]).alias(column) for column in columns)


def _require_sound(files: Files, shown: pl.DataFrame) -> None:
    """Raise where an impression lacks a field, is labelled twice or not at all, or has an absurd time."""
    import polars as pl

    where = f"{files.path}: {FILES[0]}"
    if not shown.height:
        raise DatasetUnavailable(f"{where} has no impression")
    faults = {
        "a field is missing; was it cut short?": pl.any_horizontal(pl.all().is_null()),
        "of clk and nonclk one must be 1 and the other 0": ~pl.col("clk").is_in([0, 1])
        | (pl.col("clk") + pl.col("nonclk") != 1),
        "time_stamp is no Unix second between 1970 and 2100": ~pl.col("time_stamp").is_between(0, LATEST_TIME),
    }
    for said, is_bad in faults.items():
        bad = shown.select(is_bad).to_series()
        if bad.any():
            raise DatasetUnavailable(f"{where}, line {int(bad.arg_true()[0]) + 2}: {said} ({bad.sum():,} such rows)")


def _attributes(files: Files, name: str, vocabulary: Vocabulary, table: pl.DataFrame, key: str) -> pa.Table:
    """One row for each code, `id` first; an id that the table lacks gets nulls."""
    import polars as pl
    import pyarrow as pa

    twice = table[key].is_duplicated() | table[key].is_null()
    if twice.any():
        line = int(twice.arg_true()[0]) + 2
        raise DatasetUnavailable(
            f"{files.path}: {name}, line {line}: {key} {table[key][line - 2]} is not one row's own"
        )
    ids = pl.DataFrame({key: vocabulary.decode(np.arange(len(vocabulary), dtype=np.int32))})
    found = ids.join(table, on=key, how="left", maintain_order="left").rename({key: "id"})
    return pa.table({column.name: pa.array(column.to_list()) for column in found})
