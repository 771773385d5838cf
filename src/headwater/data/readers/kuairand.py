"""KuaiRand: what users of a short-video feed were shown, and clicked (Gao et al., CIKM 2022), in its three layouts.

Logs are CSV files `log_standard_*_{pure,1k,27k}.csv`, in 27K in parts, with columns `user_id`, `video_id`, `time_ms`,
`is_click` and `tab` among others; `log_random_*` (randomly exposed) are no part of it. As in the Divide paper (Zhang
et al., WWW 2023, section 3.1.1): clicks (`is_click` = 1) in the main feed (`tab` = 1), items of 70 or more, users of
10 or more.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

if TYPE_CHECKING:
    import polars as pl

MIN_ITEM, MIN_USER = 70, 10

LOG = re.compile(r"log_standard_\w+_(pure|1k|27k)(_part\d+)?\.csv")

COLUMNS = ("user_id", "video_id", "time_ms", "is_click", "tab")


def read_kuairand(name: str, files: Files, *, min_item: int = MIN_ITEM, min_user: int = MIN_USER) -> Dataset:
    """Clicks in the main feed, in time order, ties as they stand in the files; times in seconds.

    The paper does not say in which order its two filters come, nor whether they are repeated. Items are counted over
    all users, then users over the items that are left, each once: the sentence names items first. `verify` of the
    catalogue tells whether that gives the published counts.

    Parameters
    ----------
    min_item, min_user : int
        Fewest clicks of an item, and of a user.

    Raises
    ------
    DatasetUnavailable
        There is no log, logs of several layouts lie together, one is not in the published layout, or nothing is left.
    """
    import polars as pl

    logs = sorted(file for file in files.names() if LOG.fullmatch(file))
    if not logs:
        raise DatasetUnavailable(
            f"{files.path} does not hold the files of this data set: log_standard_*_pure.csv, _1k.csv or _27k*.csv"
        )
    layouts = sorted({match.group(1) for file in logs if (match := LOG.fullmatch(file))})
    if len(layouts) > 1:
        raise DatasetUnavailable(f"{files.path} holds logs of {' and '.join(layouts)}; give the folder of one of them")
    clicks = pl.concat([_clicks(files, file) for file in logs])
    clicks = clicks.filter(pl.len().over("video_id") >= min_item)
    clicks = clicks.filter(pl.len().over("user_id") >= min_user)
    if not len(clicks):
        raise DatasetUnavailable(
            f"{files.path}: no click in the main feed is of an item of {min_item} and a user of {min_user} or more"
        )
    users, items = (Vocabulary(np.unique(clicks[column].to_numpy())) for column in ("user_id", "video_id"))
    return Dataset.from_events(
        name,
        users,
        items,
        event_users=users.encode(clicks["user_id"].to_numpy()),
        event_items=items.encode(clicks["video_id"].to_numpy()),
        event_times=clicks["time_ms"].to_numpy() // 1000,
    )


def _clicks(files: Files, file: str) -> pl.DataFrame:
    """User, item and time of the clicks of one log; what else it holds is not kept in memory."""
    import polars as pl

    types = {column: pl.Int64 for column in COLUMNS}
    try:
        rows = pl.read_csv(io.BytesIO(files.read(file)), columns=list(COLUMNS), schema_overrides=types)
    except pl.exceptions.PolarsError as error:
        what = str(error).splitlines()[0]
        raise DatasetUnavailable(f"{files.path}: {file} is not in the published layout: {what}") from error
    if sum(rows.null_count().row(0)):
        raise DatasetUnavailable(f"{files.path}: {file} has rows with missing fields; was it cut short?")
    kept = rows.filter((pl.col("tab") == 1) & (pl.col("is_click") == 1))
    return kept.select("user_id", "video_id", "time_ms").sort("time_ms", maintain_order=True)
