"""Original ids to dense int32 codes, append-only, with a fingerprint of the lineage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import xxhash

from headwater.data.schema import IdKind
from headwater.errors import ArtefactError, LineageError, SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = -1
"""The code of an id that the vocabulary does not hold."""


class Vocabulary:
    """An append-only map of original ids to codes 0, 1, 2, … in order of first appearance.

    A code is never reused and never moves, so a grown vocabulary still reads every older artefact:
    `accepts` compares the fingerprint of the first n ids with the one the artefact recorded.

    Parameters
    ----------
    ids : sequence of int, or sequence of str
        Distinct ids, all of one kind. `bool`, float and mixed ids are refused.

    Raises
    ------
    SchemaError
        Ids of mixed type, or one id twice.
    """

    def __init__(self, ids: Sequence[int] | Sequence[str] | NDArray[np.int64]) -> None:
        self.kind: IdKind
        self._ids: NDArray[np.int64] | list[str]
        if isinstance(ids, np.ndarray) and np.issubdtype(ids.dtype, np.integer):
            if ids.dtype == np.uint64 and len(ids) and int(ids.max()) >= 1 << 63:
                raise SchemaError(f"id {int(ids.max())} does not fit 64 bits; give such ids as strings")
            self.kind, self._ids = "integer", ids.astype(np.int64)
        else:
            listed = list(ids)
            kinds = {type(value) for value in listed}
            if kinds <= {str}:
                self.kind, self._ids = "string", cast("list[str]", listed)
            elif all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
                too_wide = next((value for value in cast("list[int]", listed) if not _fits(value)), None)
                if too_wide is not None:
                    raise SchemaError(f"id {too_wide} does not fit 64 bits; give such ids as strings")
                self.kind, self._ids = "integer", np.asarray(listed, dtype=np.int64)
            else:
                names = ", ".join(sorted(kind.__name__ for kind in kinds))
                raise SchemaError(f"ids must be all integers or all strings, not {names}")
        distinct = len(set(self._ids)) if self.kind == "string" else len(np.unique(self._ids))
        if distinct != len(self._ids):
            raise SchemaError(f"a vocabulary needs distinct ids; {len(self._ids) - distinct} stand twice")

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | str) and self.code(value) != UNKNOWN

    @property
    def ids(self) -> NDArray[np.int64] | list[str]:
        """The original ids; the id at position c has code c."""
        return self._ids

    def extended(self, ids: Iterable[int] | Iterable[str]) -> Vocabulary:
        """A vocabulary with the unseen among `ids` appended, in their order; old codes stay.

        Raises `SchemaError` where they are of the other kind.
        """
        given = list(ids)
        unseen = self.encode(cast("list[str]", given)) == UNKNOWN
        fresh = Vocabulary(cast("list[str]", list(dict.fromkeys(compress(given, unseen)))))
        if not len(self) or not len(fresh):
            return fresh if not len(self) else self
        if self.kind != fresh.kind:
            raise SchemaError(f"a vocabulary of {self.kind} ids cannot take {fresh.kind} ids")
        if self.kind == "integer":
            return Vocabulary(np.concatenate([self.integer_ids(), fresh.integer_ids()]))
        return Vocabulary([*cast("list[str]", self._ids), *cast("list[str]", fresh.ids)])

    def integer_ids(self) -> NDArray[np.int64]:
        """The ids as int64; raises `SchemaError` where they are strings."""
        if self.kind == "string" and len(self):
            raise SchemaError("this vocabulary holds string ids, and integers were given")
        return np.asarray(self._ids, dtype=np.int64)

    # -- ids <-> codes

    @cached_property
    def _code_of_string(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(cast("list[str]", self._ids))}

    @cached_property
    def _sorted_integers(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        order = np.argsort(self._ids)
        return np.asarray(self._ids)[order], order.astype(np.int32)

    def encode(self, ids: Sequence[int] | Sequence[str] | NDArray[np.int64]) -> NDArray[np.int32]:
        """Codes of `ids`, int32; -1 where an id is unknown (an id of the other kind is unknown too)."""
        if self.kind == "string":
            table = self._code_of_string
            return np.fromiter((table.get(value, UNKNOWN) for value in ids), np.int32, len(ids))  # type: ignore[arg-type]
        if not isinstance(ids, np.ndarray):
            fits = [type(value) is not bool and isinstance(value, int | np.integer) and _fits(value) for value in ids]
            codes = np.full(len(ids), UNKNOWN, np.int32)
            whole = np.array([value for value, good in zip(ids, fits, strict=True) if good], dtype=np.int64)
            codes[np.asarray(fits, dtype=bool)] = self.encode(whole)
            return codes
        return _lookup(self._sorted_integers, np.asarray(ids, dtype=np.int64))

    def code(self, value: int | str) -> int:
        """The code of one id, or -1."""
        return int(self.encode([value])[0])  # type: ignore[list-item]

    def decode(self, codes: Iterable[int] | NDArray[np.int32]) -> list[int] | list[str]:
        """The original ids of `codes`, as Python values. Raises `IndexError` on a code outside 0..n-1."""
        rows = np.asarray(codes if isinstance(codes, np.ndarray) else list(codes), dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"codes must lie in 0..{len(self) - 1}")
        if self.kind == "string":
            return [cast("list[str]", self._ids)[row] for row in rows]
        return cast("list[int]", np.asarray(self._ids)[rows].tolist())

    # -- 64-bit keys, which outlive releases

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The 64-bit key of every id, by code: integers as they are, strings by xxh3.

        Profile and nearline state hold keys, never codes. Two strings with one key (about one chance in
        4 million at 3 million ids) raise `SchemaError` here, when the vocabulary is built, not later.
        """
        if self.kind == "integer":
            return np.asarray(self._ids, dtype=np.int64)
        keys = np.fromiter((key_of(value) for value in self._ids), np.int64, len(self))
        values, counts = np.unique(keys, return_counts=True)
        if (counts > 1).any():
            clash = np.flatnonzero(keys == values[counts > 1][0])
            raise SchemaError(f"ids {self.decode(clash)} have one 64-bit key; rename one of them")
        return keys

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        order = np.argsort(self.keys)
        return self.keys[order], order.astype(np.int32)

    def codes_of_keys(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Codes of 64-bit keys, int32; -1 where a key is unknown."""
        return _lookup(self._sorted_keys, keys)

    # -- lineage

    def fingerprint(self, n: int | None = None) -> str:
        """`"<n>:<kind>:<xxh3-128>"` of the first `n` ids (all by default); of none, the kind is `any`."""
        n = len(self) if n is None else n
        digest = xxhash.xxh3_128()
        if self.kind == "integer":
            digest.update(np.asarray(self._ids[:n], dtype="<i8").tobytes())
        else:
            for value in self._ids[:n]:
                raw = cast("str", value).encode()
                digest.update(len(raw).to_bytes(4, "little") + raw)
        # Nothing is the beginning of every lineage, of either kind.
        return f"{n}:{self.kind if n else 'any'}:{digest.hexdigest()}"

    def accepts(self, fingerprint: str) -> bool:
        """Whether `fingerprint` was taken from this vocabulary when it was as large or smaller."""
        size, _, _ = fingerprint.partition(":")
        return size.isdigit() and int(size) <= len(self) and self.fingerprint(int(size)) == fingerprint

    def require_lineage(self, fingerprint: str, artefact: str) -> None:
        """Raise `LineageError`, which names `artefact`, unless `accepts(fingerprint)`."""
        if not self.accepts(fingerprint):
            raise LineageError(
                f"{artefact} was built on another vocabulary ({fingerprint}) than this one "
                f"({self.fingerprint()}): its codes mean other ids here. Rebuild it, or load its own vocabulary."
            )

    # -- files

    def save(self, path: Path) -> None:
        """Write the ids to a Parquet file with one column, `id`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.int64() if self.kind == "integer" else pa.string()
        pq.write_table(pa.table({"id": pa.array(self._ids, type=kind)}), path)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote. Raises `ArtefactError` on a file that is not a vocabulary."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            column = pq.read_table(path).column("id")
        except (pa.ArrowException, KeyError, OSError) as error:
            raise ArtefactError(f"{path} is not a vocabulary file: {error}") from error
        return cls(column.to_numpy() if pa.types.is_integer(column.type) else column.to_pylist())


def key_of(value: int | str) -> int:
    """The signed 64-bit key of one id: an integer as it is, a string by xxh3-64.

    Raises `SchemaError` where an integer does not fit 64 bits.
    """
    if isinstance(value, str):
        digest = xxhash.xxh3_64_intdigest(value.encode())
        return digest - (1 << 64) if digest >= 1 << 63 else digest
    if not _fits(value):
        raise SchemaError(f"id {value} does not fit 64 bits; give it as a string")
    return value


def _fits(value: int | np.integer) -> bool:
    return -(1 << 63) <= int(value) < 1 << 63


def _lookup(table: tuple[NDArray[np.int64], NDArray[np.int32]], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    values, codes = table
    if not len(values):
        return np.full(len(wanted), UNKNOWN, np.int32)
    at = np.searchsorted(values, wanted)
    at[at == len(values)] = 0
    return np.where(values[at] == wanted, codes[at], UNKNOWN).astype(np.int32)
