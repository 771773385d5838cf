"""A whole data set in one compressed .npz, for training machines that have numpy and pyarrow only."""

from __future__ import annotations

import io
import os
import secrets
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.schema import TimeUnit
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

FORMAT = "headwater-packed-1"


def pack(dataset: Dataset, path: Path) -> None:
    """Write `dataset` to `path`, whole or not at all.

    Event columns are plain arrays. Ids and attributes keep their Arrow types as IPC streams held in uint8 arrays,
    so that nothing is pickled and every type, nulls and lists included, comes back as it was.
    """
    columns: dict[str, NDArray[Any]] = {
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


def unpack(path: Path) -> Dataset:
    """Read what `pack` wrote.

    Raises
    ------
    ArtefactError
        The file is missing, truncated or altered, or no packed data set.
    """
    try:
        archive = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        columns = {name: archive[name] for name in archive.files}
        found = str(columns.get("format"))
        if found != FORMAT:
            raise ArtefactError(f"{path} has format {found}; this version reads {FORMAT}. Pack it again.")
        dataset = Dataset(
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
        expected = str(columns["checksum"])
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} does not exist; write it with `headwater data pack`") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        # numpy gives an array in place of an archive for a bare .npy: it has no `files`.
        raise ArtefactError(f"{path} is truncated or no packed data set ({error}); pack it again") from error
    if dataset.checksum() != expected:
        raise ArtefactError(f"{path} was altered since it was packed; pack it again")
    return dataset


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
