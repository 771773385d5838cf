"""Amazon reviews, 5-core, 2014, in the form of S3-Rec (Zhou et al., "S3-Rec", CIKM 2020).

One user a line, the user's id and then the items, oldest first; there are places in the history, no times. Item
attributes are category and brand ids without names.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable, SchemaError

FILES = {"amazon-beauty": "Beauty", "amazon-sports": "Sports_and_Outdoors", "amazon-toys": "Toys_and_Games"}
"""The publisher's name of each set, which its two files begin with."""


def file_names(name: str) -> tuple[str, str]:
    """The names of the two files of a set: histories and item attributes."""
    return f"{FILES[name]}.txt", f"{FILES[name]}_item2attributes.json"


def read_amazon(name: str, files: Files) -> Dataset:
    """One of `FILES`, with positions for times.

    Raises `DatasetUnavailable` where files are missing or not in the published layout.
    """
    import pyarrow as pa

    histories_file, attributes_file = file_names(name)
    files.which([(histories_file, attributes_file)])
    histories = [line.split() for line in files.lines(histories_file, "ascii")]
    try:
        users = Vocabulary(np.array([int(history[0]) for history in histories], np.int64))
        events = np.array([int(item) for history in histories for item in history[1:]], np.int64)
        attributes = {
            int(item): list(dict.fromkeys(map(int, listed)))
            for item, listed in json.loads(files.read(attributes_file)).items()
        }
    except (ValueError, TypeError, AttributeError, SchemaError) as error:
        raise DatasetUnavailable(f"{files.path}: not in the published layout: {error}") from error
    lengths = np.array([len(history) - 1 for history in histories])
    distinct, first = np.unique(events, return_index=True)
    items = Vocabulary(distinct[np.argsort(first)])
    of_items = [attributes.get(int(item), []) for item in items.ids]
    return Dataset.from_events(
        name,
        users,
        items,
        event_users=np.repeat(np.arange(len(users), dtype=np.int32), lengths),
        event_items=items.encode(events),
        event_times=np.concatenate([np.arange(length) for length in lengths]).astype(np.int64),
        item_attributes=pa.table(
            {
                "id": pa.array(items.ids),
                "attribute_ids": pa.array(of_items, pa.list_(pa.int64())),
                "category": pa.array(_categories(of_items), pa.string()),
            }
        ),
        time_unit="position",
    )


def _categories(of_items: list[list[int]]) -> list[str | None]:
    """One category an item, as text: the most common of its attributes that at most half of all items have.

    The files list brands and categories together, unnamed, a brand first where there is one. What nearly every
    item has (the name of the whole department) groups nothing; the most common of the rest is a top category.
    """
    counts = Counter(attribute for listed in of_items for attribute in listed)
    common = len(of_items) / 2
    chosen: list[str | None] = []
    for listed in of_items:
        telling = [attribute for attribute in listed if counts[attribute] <= common] or listed
        chosen.append(str(min(telling, key=lambda attribute: (-counts[attribute], attribute))) if telling else None)
    return chosen
