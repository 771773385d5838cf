"""A data set in a folder: three Parquet files and the `dataset.json` that vouches for them.

``items.parquet`` and ``users.parquet`` hold ids and attributes, row c for code c; ``interactions.parquet`` holds
codes (``user``, ``item``), ``time``, ``behaviour`` and, where there is one, ``rating``, sorted by user, then time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from pydantic import ValidationError

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.data.folder import recover, replacing
from headwater.data.schema import TIE_RULE, TimeUnit
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
MANIFEST = "dataset.json"
PARTS = ("interactions.parquet", "items.parquet", "users.parquet")


class Manifest(Settings):
    """What `dataset.json` says."""

    format: int
    """Version of this layout."""
    name: str
    time_unit: TimeUnit
    users: int
    items: int
    interactions: int
    checksum: str
    """`Dataset.checksum()`: vocabularies and interactions."""
    files: dict[str, str]
    """xxh3-128 of each Parquet file, attributes included."""
    source: str = ""
    """Where the data came from, in words."""
    tie_rule: str = TIE_RULE


def save_dataset(dataset: Dataset, folder: Path | str, *, source: str = "") -> Manifest:
    """Write `dataset` into `folder`, replacing a data set that is there, all or nothing.

    Everything is written beside `folder` first; then the old data set is moved away and the new one in. After an
    error the old one stands where it was. A kill between the two moves leaves it beside `folder`, from where the
    next save or load puts it back.

    Raises
    ------
    ArtefactError
        `folder` holds something other than a data set, which is left alone.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtefactError(f"{folder} holds something other than a data set. Name an empty or another folder.")
    with replacing(folder) as content:
        return _write(dataset, content, source)


def _write(dataset: Dataset, folder: Path, source: str) -> Manifest:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "user": dataset.event_users,
        "item": dataset.event_items,
        "time": dataset.event_times,
        "behaviour": dataset.event_behaviours,
    }
    if dataset.event_ratings is not None:
        columns["rating"] = dataset.event_ratings
    tables = (
        pa.table({name: pa.array(values) for name, values in columns.items()}),
        _with_ids(dataset.item_attributes, dataset.items),
        _with_ids(dataset.user_attributes, dataset.users),
    )
    files = {}
    for part, table in zip(PARTS, tables, strict=True):
        pq.write_table(table, folder / part, compression="zstd")
        files[part] = _digest(folder / part)
    manifest = Manifest(
        format=FORMAT,
        name=dataset.name,
        time_unit=dataset.time_unit,
        users=len(dataset.users),
        items=len(dataset.items),
        interactions=len(dataset),
        checksum=dataset.checksum(),
        files=files,
        source=source,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path | str) -> Manifest:
    """What the folder says of itself, unverified. Raises `ArtefactError` where it is no data set of this format."""
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{folder} is not a data set: it has no {MANIFEST}.") from error
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}). Fetch or import the data set again.") from error
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise ArtefactError(f"{path}: format {version!r}, this version reads {FORMAT}. Fetch or import it again.")
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtefactError(f"{path}: {key}: {first['msg']}. Fetch or import the data set again.") from error


def load_dataset(folder: Path | str) -> Dataset:
    """Read what `save_dataset` wrote, verifying every file and the data set's checksum.

    Where the folder is missing because a writer was killed while it replaced it, the old data set is put back first.

    Raises
    ------
    ArtefactError
        The folder is no data set, or a file is missing, truncated, altered or of another format version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    if not folder.exists():
        recover(folder)
    manifest = read_manifest(folder)
    for part in PARTS:
        path = folder / part
        if not path.is_file():
            raise ArtefactError(f"{path} is missing. Fetch or import the data set again.")
        if _digest(path) != manifest.files.get(part):
            raise ArtefactError(f"{path} is truncated or was altered. Fetch or import the data set again.")
    try:
        events, items, users = (pq.read_table(folder / part) for part in PARTS)
        item_vocabulary, user_vocabulary = _vocabulary(items), _vocabulary(users)
        counts = np.bincount(events["user"].to_numpy(), minlength=len(user_vocabulary))
        dataset = Dataset(
            name=manifest.name,
            users=user_vocabulary,
            items=item_vocabulary,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            event_items=events["item"].to_numpy(),
            event_times=events["time"].to_numpy(),
            event_behaviours=events["behaviour"].to_numpy(),
            event_ratings=events["rating"].to_numpy() if "rating" in events.column_names else None,
            item_attributes=items,
            user_attributes=users,
            time_unit=manifest.time_unit,
        )
    except (pa.ArrowException, KeyError, SchemaError) as error:
        raise ArtefactError(f"{folder} holds no data set of format {FORMAT}: {error}") from error
    if dataset.checksum() != manifest.checksum:
        raise ArtefactError(
            f"{folder}: the checksum is {dataset.checksum()}, {MANIFEST} says {manifest.checksum}. "
            f"The files do not belong together: fetch or import the data set again."
        )
    return dataset


def _with_ids(attributes: pa.Table, vocabulary: Vocabulary) -> pa.Table:
    """`attributes` with the vocabulary's ids as first column `id`, whatever they held there."""
    import pyarrow as pa

    ids = pa.array(vocabulary.ids, type=pa.int64() if vocabulary.kind == "integer" else pa.string())
    rest = attributes.drop_columns(["id"]) if "id" in attributes.column_names else attributes
    return rest.add_column(0, "id", ids)


def _vocabulary(table: pa.Table) -> Vocabulary:
    import pyarrow as pa

    ids = table.column("id")
    return Vocabulary(ids.to_numpy() if pa.types.is_integer(ids.type) else ids.to_pylist())


def _digest(path: Path) -> str:
    return xxhash.xxh3_128(path.read_bytes()).hexdigest()
