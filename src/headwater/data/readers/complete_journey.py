"""The Complete Journey (84.51°, by dunnhumby): a year of groceries of 2,469 households, from a package on PyPI.

The package's tables are Parquet: `transactions` (one row a basket and product), `products` and `demographics`. It is
the edition of 2017 that the package of the same name for R holds, not the two years of the older download.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.schema import Behaviour
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

TABLES = ("transactions.parquet", "products.parquet", "demographics.parquet")

PRODUCT = {
    "department": "department",
    "product_category": "category",
    "product_type": "product_type",
    "brand": "brand",
    "manufacturer_id": "shop",
    "package_size": "package_size",
}
"""Columns of the products -> attributes of the items; who makes a product is the field's `shop`."""

HOUSEHOLD = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")


def read_complete_journey(name: str, files: Files) -> Dataset:
    """Every purchase, in the order of the file; items are products that somebody bought, users are households.

    Times are the stores' local time, read as UTC. Products that `products` lacks and households that answered no
    questions have empty attributes.

    Raises
    ------
    DatasetUnavailable
        A table is missing, damaged, or lacks a column.
    """
    import polars as pl

    files.which([TABLES])
    bought = _table(files, TABLES[0], ("household_id", "product_id", "transaction_timestamp"))
    if not bought.height:
        raise DatasetUnavailable(f"{files.path}: {TABLES[0]} has no row")
    if sum(bought.null_count().row(0)):
        raise DatasetUnavailable(f"{files.path}: {TABLES[0]} has rows with missing fields; was it cut short?")
    users, items = (
        Vocabulary(bought[column].unique(maintain_order=True).to_numpy()) for column in ("household_id", "product_id")
    )
    times = bought["transaction_timestamp"]
    if not times.dtype.is_temporal():
        raise DatasetUnavailable(f"{files.path}: {TABLES[0]}: transaction_timestamp is {times.dtype}, and no time")
    products = _table(files, TABLES[1], ("product_id", *PRODUCT)).rename(PRODUCT)
    households = _table(files, TABLES[2], ("household_id", *HOUSEHOLD))
    return Dataset.from_events(
        name,
        users,
        items,
        event_users=users.encode(bought["household_id"].to_numpy()),
        event_items=items.encode(bought["product_id"].to_numpy()),
        event_times=times.cast(pl.Datetime("ms")).dt.epoch("s").to_numpy(),
        event_behaviours=np.full(bought.height, Behaviour.PURCHASE, np.int8),
        item_attributes=_attributes(items, products, "product_id"),
        user_attributes=_attributes(users, households, "household_id"),
    )


def _table(files: Files, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(files.read(name)), columns=list(columns))
    except pl.exceptions.PolarsError as error:
        what = str(error).splitlines()[0]
        raise DatasetUnavailable(f"{files.path}: {name} is not in the published layout: {what}") from error


def _attributes(vocabulary: Vocabulary, table: pl.DataFrame, key: str) -> pa.Table:
    """One row for each code, `id` first; an id that the table lacks gets nulls, one that it has twice the first row."""
    import polars as pl
    import pyarrow as pa

    ids = pl.DataFrame({key: vocabulary.decode(np.arange(len(vocabulary), dtype=np.int32))})
    found = ids.join(table.unique(key, keep="first", maintain_order=True), on=key, how="left", maintain_order="left")
    return pa.table({column.name: pa.array(column.to_list()) for column in found.rename({key: "id"})})
