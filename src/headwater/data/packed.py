"""A whole data set, or impressions, in one compressed .npz, for training machines with numpy and pyarrow only."""

from __future__ import annotations

import io
import os
import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.schema import TimeUnit
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

FORMAT = "headwater-packed-1"
IMPRESSIONS_FORMAT = "headwater-impressions-1"

Columns = dict[str, "NDArray[Any]"]
P = TypeVar("P", Dataset, Impressions)


def pack(dataset: Dataset, path: Path) -> None:
    """Write `dataset` to `path`, whole or not at all.

    Event columns are plain arrays. Ids and attributes keep their Arrow types as IPC streams held in uint8 arrays,
    so that nothing is pickled and every type, nulls and lists included, comes back as it was.
    """
    columns: Columns = {
        "format": np.array(FORMAT),
        "name": np.array(dataset.name),
        "time_unit": np.array(dataset.time_unit),
        "checksum": np.array(dataset.checksum()),
        "users": _ids_to_bytes(dataset.users),
        "items": _ids_to_bytes(dataset.items),
        "offsets": dataset.offsets,
        "event_items": dataset.event_items,
        "event_times": dataset.event_times,
        "event_behaviours": dataset.event_behaviours,
        "item_attributes": _table_to_bytes(dataset.item_attributes),
        "user_attributes": _table_to_bytes(dataset.user_attributes),
    }
    if dataset.event_ratings is not None:
        columns["event_ratings"] = dataset.event_ratings
    _write(path, columns)


def unpack(path: Path) -> Dataset:
    """Read what `pack` wrote.

    Raises
    ------
    ArtefactError
        The file is missing, truncated or altered, or no packed data set.
    """
    return _read(path, FORMAT, "data set", _dataset)


def _dataset(columns: Columns) -> Dataset:
    return Dataset(
        name=str(columns["name"]),
        users=_ids_from_bytes(columns["users"]),
        items=_ids_from_bytes(columns["items"]),
        offsets=columns["offsets"],
        event_items=columns["event_items"],
        event_times=columns["event_times"],
        event_behaviours=columns["event_behaviours"],
        event_ratings=columns.get("event_ratings"),
        item_attributes=_table_from_bytes(columns["item_attributes"]),
        user_attributes=_table_from_bytes(columns["user_attributes"]),
        time_unit=cast("TimeUnit", str(columns["time_unit"])),
    )


PLAIN = (
    "user_codes",
    "item_codes",
    "times",
    "days",
    "history_offsets",
    "history_items",
    "history_times",
    "history_behaviours",
)
"""Columns of `Impressions` that are stored under their own names."""


def pack_impressions(impressions: Impressions, path: Path) -> None:
    """Write `impressions` to `path`, whole or not at all, the way that `pack` does."""
    import pyarrow as pa

    columns: Columns = {
        "format": np.array(IMPRESSIONS_FORMAT),
        "name": np.array(impressions.name),
        "checksum": np.array(impressions.checksum()),
        "sampled": np.array(impressions.sampled),
        "day_zero": np.array(impressions.day_zero),
        "users": _ids_to_bytes(impressions.users),
        "items": _ids_to_bytes(impressions.items),
        "item_attributes": _table_to_bytes(impressions.item_attributes),
        "user_attributes": _table_to_bytes(impressions.user_attributes),
        **{name: getattr(impressions, name) for name in PLAIN},
        **{f"label/{task}": values for task, values in impressions.labels.items()},
        **{f"context/{name}": values for name, values in impressions.context.items()},
    }
    for name, levels in impressions.context_levels.items():
        columns[f"levels/{name}"] = _table_to_bytes(pa.table({"level": pa.array(levels, pa.string())}))
    if impressions.sub_domains is not None:
        columns["sub_domains"] = impressions.sub_domains
        names = pa.array(impressions.sub_domain_names, pa.string())
        columns["sub_domain_names"] = _table_to_bytes(pa.table({"level": names}))
    _write(path, columns)


def unpack_impressions(path: Path) -> Impressions:
    """Read what `pack_impressions` wrote.

    Raises
    ------
    ArtefactError
        The file is missing, truncated or altered, or holds no packed impressions.
    SchemaError
        What it holds is no valid `Impressions`.
    """
    return _read(path, IMPRESSIONS_FORMAT, "set of impressions", _impressions)


def _impressions(columns: Columns) -> Impressions:
    def under(prefix: str) -> Columns:
        return {name.removeprefix(prefix): values for name, values in columns.items() if name.startswith(prefix)}

    def levels(raw: NDArray[np.uint8]) -> tuple[str, ...]:
        return tuple(_table_from_bytes(raw).column("level").to_pylist())

    has_parts = "sub_domains" in columns
    return Impressions(
        name=str(columns["name"]),
        users=_ids_from_bytes(columns["users"]),
        items=_ids_from_bytes(columns["items"]),
        user_attributes=_table_from_bytes(columns["user_attributes"]),
        item_attributes=_table_from_bytes(columns["item_attributes"]),
        labels=under("label/"),
        context=under("context/"),
        context_levels={name: levels(raw) for name, raw in under("levels/").items()},
        sub_domains=columns["sub_domains"] if has_parts else None,
        sub_domain_names=levels(columns["sub_domain_names"]) if has_parts else (),
        day_zero=int(columns["day_zero"]),
        sampled=str(columns["sampled"]),
        **{name: columns[name] for name in PLAIN},
    )


def _write(path: Path, columns: Columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with staging.open("xb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **columns)
            handle.flush()
            os.fsync(handle.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _read(path: Path, wanted: str, what: str, build: Callable[[Columns], P]) -> P:
    try:
        archive = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        columns = {name: archive[name] for name in archive.files}
        found = str(columns.get("format"))
        if found != wanted:
            raise ArtefactError(f"{path} has format {found}; a packed {what} here has {wanted}. Pack it again.")
        packed = build(columns)
        expected = str(columns["checksum"])
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; write it with `headwater data pack`") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        # numpy gives an array in place of an archive for a bare .npy: it has no `files`.
        raise ArtefactError(f"{path} is truncated or no packed {what} ({error}); pack it again") from error
    if packed.checksum() != expected:
        raise ArtefactError(f"{path} was altered since it was packed; pack it again")
    return packed


def _ids_to_bytes(vocabulary: Vocabulary) -> NDArray[np.uint8]:
    import pyarrow as pa

    kind = pa.int64() if vocabulary.kind == "integer" else pa.string()
    return _table_to_bytes(pa.table({"id": pa.array(vocabulary.ids, type=kind)}))


def _ids_from_bytes(raw: NDArray[np.uint8]) -> Vocabulary:
    import pyarrow as pa

    column = _table_from_bytes(raw).column("id")
    return Vocabulary(column.to_numpy() if pa.types.is_integer(column.type) else column.to_pylist())


def _table_to_bytes(table: pa.Table) -> NDArray[np.uint8]:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _table_from_bytes(raw: NDArray[np.uint8]) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(raw.tobytes())) as reader:
        return reader.read_all()
