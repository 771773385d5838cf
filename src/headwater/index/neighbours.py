"""The k most similar items of every item: one memory-mapped file, checked when opened, shared between processes.

A file is a header of 4,096 bytes and one row for each item. A row holds k item codes (int32), k similarities
(float16) and the digest of the candidates that it was chosen from (uint64), padded to whole cache lines, for a row is
what a request reads: 1 M items of 100 neighbours take 640 MB. The header is JSON behind a magic word, with a checksum
of itself and one of the rows.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash

from headwater.errors import ArtefactError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"HWNEIGH\n"
VERSION = 1
HEADER_BYTES = 4096
CACHE_LINE = 64
ABSENT = -1
"""In place of an item, where fewer than k are similar; its score is -inf."""


PairScorer = Callable[["NDArray[np.int32]", "NDArray[np.int32]"], "NDArray[np.float32]"]
"""What says how similar items are: (n,) triggers and (n,) targets to (n,) similarities, such as SimNet (eq. 9)."""


class Lineage(Protocol):
    """What the codes mean: `headwater.data.Vocabulary`, seen from here."""

    def fingerprint(self, n: int | None = None) -> str:
        """Of the first n ids, of all by default."""
        ...

    def require_lineage(self, fingerprint: str, artefact: str) -> None:
        """Raise `LineageError`, which names `artefact`, unless `fingerprint` was taken from these ids or fewer."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """What a table says of itself.

    Attributes
    ----------
    k : int
        Neighbours of an item, at most.
    n_items : int
        Items of the whole table.
    first, rows : int
        Which of them stand in this file: all, or one shard's.
    vocabulary : str
        Fingerprint of the item vocabulary that the codes are of.
    run : str
        Fingerprint of what the rows were made from, pairs and model. Shards of two runs do not merge.
    """

    k: int
    n_items: int
    first: int
    rows: int
    vocabulary: str
    run: str = ""


def row_type(k: int) -> np.dtype[np.void]:
    """The dtype of one row: `items` (k,) int32, `scores` (k,) float16, `digest` uint64."""
    digest_at = -(-6 * k // 8) * 8
    width = -(-(digest_at + 8) // CACHE_LINE) * CACHE_LINE
    return np.dtype(
        {
            "names": ["items", "scores", "digest"],
            "formats": [("<i4", (k,)), ("<f2", (k,)), "<u8"],
            "offsets": [0, 4 * k, digest_at],
            "itemsize": width,
        }
    )


def empty_rows(n: int, k: int) -> NDArray[np.void]:
    """(n,) rows of `row_type` without any neighbour."""
    rows = np.zeros(n, row_type(k))
    rows["items"] = ABSENT
    rows["scores"] = -np.inf
    return rows


class NeighbourTable:
    """The neighbours of every item, best first, equal scores by item code.

    Attributes
    ----------
    header : Header
    items : (rows, k) int32, read-only
        -1 behind the last neighbour of an item that has fewer than k.
    scores : (rows, k) float16, read-only
    digests : (rows,) uint64, read-only
        Of the candidates that each row was chosen from; `headwater.index.generation` tells by it what changed.
    """

    def __init__(self, header: Header, rows: NDArray[np.void]) -> None:
        self.header = header
        self.records = rows
        self.items: NDArray[np.int32] = rows["items"]
        self.scores: NDArray[np.float16] = rows["scores"]
        self.digests: NDArray[np.uint64] = rows["digest"]

    @classmethod
    def open(cls, path: Path | str, vocabulary: Lineage, *, is_verified: bool = False) -> NeighbourTable:
        """Map a table that `write_table` wrote; processes that open one file share its pages.

        Parameters
        ----------
        path : Path
        vocabulary : Vocabulary
            That in use; it may have grown since the table was built.
        is_verified : bool
            Leave out the checksum of the rows, which reads all of them (640 MB for 1 M items of 100 neighbours), as
            where another process of this machine has just opened the file.

        Raises
        ------
        ArtefactError
            The file is missing, truncated, altered, of another format version or one shard of several.
        LineageError
            It was built on another vocabulary.
        """
        table = cls.open_shard(path, vocabulary, is_verified=is_verified)
        header = table.header
        if header.rows != header.n_items:
            raise ArtefactError(
                f"{path} holds rows {header.first}..{header.first + header.rows} of {header.n_items}: "
                f"it is one shard. Merge all of them first."
            )
        return table

    @classmethod
    def open_shard(cls, path: Path | str, vocabulary: Lineage, *, is_verified: bool = False) -> NeighbourTable:
        """`open` for a table or one shard of it: row r is of item `header.first` + r."""
        path = Path(path)
        header, checksum = _read_header(path)
        vocabulary.require_lineage(header.vocabulary, f"index at {path}")
        layout = row_type(header.k)
        expected = HEADER_BYTES + header.rows * layout.itemsize
        found = path.stat().st_size
        if found != expected:
            raise ArtefactError(f"{path} is truncated: {found} bytes instead of {expected}. Build the index again.")
        if not header.rows:
            return cls(header, np.zeros(0, layout))
        rows = np.memmap(path, layout, "r", HEADER_BYTES, (header.rows,))
        if not is_verified and xxhash.xxh3_128_hexdigest(_raw(rows)) != checksum:
            raise ArtefactError(f"{path} was altered since it was written. Build the index again.")
        # Requests read rows here and there: reading ahead would only bring in what nobody asked for.
        mapped: Any = getattr(rows, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        return cls(header, rows)

    def __len__(self) -> int:
        return self.header.rows

    @property
    def k(self) -> int:
        """Neighbours of an item, at most."""
        return self.header.k

    def row(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        """The neighbours of one item and their similarities, best first; none where the item is unknown."""
        if not 0 <= item < len(self):
            return np.zeros(0, np.int32), np.zeros(0, np.float16)
        size = int(np.count_nonzero(self.items[item] != ABSENT))
        return self.items[item, :size], self.scores[item, :size]

    def rows(self, items: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        """(n, k) neighbours and similarities of n items, copied; absent ones -1 and -inf, as unknown items' all are."""
        is_known = (items >= 0) & (items < len(self))
        found = empty_rows(len(items), self.k)
        found[is_known] = self.records[items[is_known]]
        return found["items"], found["scores"]


def write_table(path: Path | str, header: Header, parts: Iterable[NDArray[np.void]]) -> None:
    """Write a table, whole or not at all: after a crash at any instant the old file or the new one is there.

    Parameters
    ----------
    path : Path
    header : Header
    parts : iterable of (m,) arrays of `row_type(header.k)`
        Successive rows; never all in memory at once unless the caller has them so.

    Raises
    ------
    ValueError
        The parts hold another number of rows than the header says, or rows of another k.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = row_type(header.k)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(HEADER_BYTES))
            digest, written = xxhash.xxh3_128(), 0
            for part in parts:
                if part.dtype != layout:
                    raise ValueError(f"rows are {part.dtype}; a table of k = {header.k} takes {layout}")
                raw = _raw(np.ascontiguousarray(part))
                digest.update(raw)
                file.write(raw)
                written += len(part)
            if written != header.rows:
                raise ValueError(f"{written} rows were given, and the header says {header.rows}")
            file.seek(0)
            file.write(_header_bytes(header, digest.hexdigest()))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def merge_shards(paths: Iterable[Path | str], path: Path | str, vocabulary: Lineage) -> None:
    """Join the shards of one table, given in any order, into the file that a single run would have written.

    Raises
    ------
    ArtefactError
        A shard is missing, stands twice, is truncated, altered, or of another model, k or size than the others.
    LineageError
        A shard was built on another vocabulary.
    """
    shards = sorted(
        ((NeighbourTable.open_shard(shard, vocabulary), Path(shard)) for shard in paths),
        key=lambda shard: (shard[0].header.first, shard[0].header.rows),
    )
    if not shards:
        raise ArtefactError(f"no shards were given to merge into {path}")
    first = shards[0][0].header
    reached = 0
    for table, place in shards:
        header = table.header
        if (header.k, header.n_items, header.run) != (first.k, first.n_items, first.run):
            raise ArtefactError(f"{place} is of another run than {shards[0][1]}. Build this shard again.")
        if header.first != reached:
            raise ArtefactError(
                f"{place} begins at row {header.first}, and the shards before it end at {reached}: "
                f"{'one is missing' if header.first > reached else 'one stands twice'}."
            )
        reached += header.rows
    if reached != first.n_items:
        raise ArtefactError(f"the shards end at row {reached} of {first.n_items}: the last is missing. Build it.")
    whole = Header(first.k, first.n_items, 0, first.n_items, first.vocabulary, first.run)
    write_table(path, whole, (table.records for table, _ in shards))


def _raw(rows: NDArray[np.void]) -> memoryview:
    return rows.view(np.uint8).data


def _header_bytes(header: Header, checksum: str) -> bytes:
    document = json.dumps({"version": VERSION, **asdict(header), "checksum": checksum}, sort_keys=True).encode()
    raw = MAGIC + xxhash.xxh3_64_hexdigest(document).encode() + document
    if len(raw) > HEADER_BYTES:
        raise ValueError(f"the header takes {len(raw)} bytes, and there is room for {HEADER_BYTES}")
    return raw.ljust(HEADER_BYTES, b"\0")


def _read_header(path: Path) -> tuple[Header, str]:
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read ({error.strerror}). Build the index, or name its file.") from error
    if not raw.startswith(MAGIC):
        raise ArtefactError(f"{path} is no table of neighbours. Name the file that index generation wrote.")
    checksum, document = raw[len(MAGIC) : len(MAGIC) + 16], raw[len(MAGIC) + 16 :].rstrip(b"\0")
    if len(raw) < HEADER_BYTES or xxhash.xxh3_64_hexdigest(document).encode() != checksum:
        raise ArtefactError(f"{path}: its header is truncated or was altered. Build the index again.")
    fields = json.loads(document)
    version = fields.pop("version")
    if version != VERSION:
        raise ArtefactError(f"{path} has format version {version}; this one reads {VERSION}. Build the index again.")
    rows_checksum = fields.pop("checksum")
    return Header(**fields), rows_checksum
