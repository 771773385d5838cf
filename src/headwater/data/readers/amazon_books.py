"""Amazon Books, 2014 (McAuley et al., SIGIR 2015; He and McAuley, WWW 2016): all ratings, or the reviews of the 5-core.

Ratings are a CSV without a header, user, item, rating and Unix seconds. Reviews are JSON, one a line, compressed or
not, of which `reviewerID`, `asin`, `overall` and `unixReviewTime` are read, line by line: the file takes gigabytes.
"""

from __future__ import annotations

import json
from array import array

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

RATINGS = "ratings_Books.csv"
REVIEWS = ("reviews_Books_5.json.gz", "reviews_Books_5.json")


def read_amazon_books_ratings(name: str, files: Files) -> Dataset:
    """Every rating, in the order of the file; ids are text.

    Raises `DatasetUnavailable` where the file is missing or not in the published layout.
    """
    import polars as pl

    files.which([(RATINGS,)])
    schema = {"user": pl.String, "item": pl.String, "rating": pl.Float32, "time": pl.Int64}
    try:
        rows = pl.read_csv(files.read(RATINGS), has_header=False, schema=schema)
    except pl.exceptions.PolarsError as error:
        what = str(error).splitlines()[0]
        raise DatasetUnavailable(f"{files.path}: {RATINGS} is not in the published layout: {what}") from error
    if sum(rows.null_count().row(0)):
        raise DatasetUnavailable(f"{files.path}: {RATINGS} has rows with missing fields; was it cut short?")
    codes, ids = {}, {}
    for column in ("user", "item"):
        distinct = rows.select(pl.col(column).unique(maintain_order=True)).with_row_index("code")
        ids[column] = Vocabulary(distinct[column].to_list())
        joined = rows.select(column).join(distinct, on=column, how="left", maintain_order="left")
        codes[column] = joined["code"].to_numpy().astype(np.int32)
    return Dataset.from_events(
        name,
        ids["user"],
        ids["item"],
        event_users=codes["user"],
        event_items=codes["item"],
        event_times=rows["time"].to_numpy(),
        event_ratings=rows["rating"].to_numpy(),
    )


def read_amazon_books_reviews(name: str, files: Files) -> Dataset:
    """Every review of the 5-core, in the order of the file; ids are text.

    Raises `DatasetUnavailable` where the file is missing or a line is not in the published layout.
    """
    file = REVIEWS[files.which([(one,) for one in REVIEWS])]
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    event_users, event_items, times, ratings = array("i"), array("i"), array("q"), array("f")
    for at, line in enumerate(files.stream(file), 1):
        try:
            review = json.loads(line)
            user, item = str(review["reviewerID"]), str(review["asin"])
            times.append(int(review["unixReviewTime"]))
            ratings.append(float(review["overall"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetUnavailable(
                f"{files.path}: {file}, line {at} is not in the published layout: {type(error).__name__}: {error}"
            ) from error
        event_users.append(users.setdefault(user, len(users)))
        event_items.append(items.setdefault(item, len(items)))
    return Dataset.from_events(
        name,
        Vocabulary(list(users)),
        Vocabulary(list(items)),
        event_users=np.array(event_users, np.int32),
        event_items=np.array(event_items, np.int32),
        event_times=np.array(times, np.int64),
        event_ratings=np.array(ratings, np.float32),
    )
