"""What is stored of one user: their vector and those of their observed categories, with a checksum.

A record is 16-bit words: how many categories, their codes in ascending order, the vector, a vector for each category;
and then 8 bytes of xxh3-64 over these, seeded by version and key. So a record of another user or version, or one that
is torn or altered, is told from the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numba
import numpy as np
import xxhash

from headwater.errors import TornValue
from headwater.knowledge.built import Built
from headwater.retrieval.classic.neighbourhood_kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECKSUM_BYTES = 8
HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every number of half precision, by its bits."""

STORED_AS_RECORDS = ("user_keys", "users", "pair_offsets", "pair_categories", "pairs")
"""Arrays of what is built that a version holds by user, and not as files."""

USER_UNKNOWN, ITEM_UNKNOWN, PAIR_UNKNOWN = 1, 2, 4
"""Flags of an answer: the user, the item, or user and category together get the default."""

_U2, _I8, _F4, _U1 = numba.uint16, numba.int64, numba.float32, numba.uint8


def key_words(keys: NDArray[np.int64]) -> list[bytes]:
    """Each key as 8 bytes in the order of the numbers."""
    raw = (keys.view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8").tobytes()
    return [raw[at : at + 8] for at in range(0, len(raw), 8)]


def records_of(built: Built, version: int, *, at_once: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """(key, record) of every user, in the order of keys, some at a time."""
    offsets = np.asarray(built.pair_offsets)
    for start in range(0, len(built.user_keys), at_once):
        stop = min(start + at_once, len(built.user_keys))
        keys = key_words(np.ascontiguousarray(built.user_keys[start:stop]))
        seeds = _seeds(np.ascontiguousarray(built.user_keys[start:stop]), version)
        first, last = int(offsets[start]), int(offsets[stop])
        codes = built.pair_categories[first:last].tobytes()
        vectors, pairs = built.users[start:stop].tobytes(), built.pairs[first:last].tobytes()
        width, of_pairs = 2 * built.users.shape[1], 2 * built.pairs.shape[1]
        ends = (offsets[start : stop + 1] - first).tolist()
        found = []
        for at, key in enumerate(keys):
            begin, end = ends[at], ends[at + 1]
            words = b"".join(
                (
                    (end - begin).to_bytes(2, "little"),
                    codes[2 * begin : 2 * end],
                    vectors[width * at : width * (at + 1)],
                    pairs[of_pairs * begin : of_pairs * end],
                )
            )
            found.append((key, words + xxhash.xxh3_64_intdigest(words, seeds[at]).to_bytes(CHECKSUM_BYTES, "little")))
        yield found


def resealed(records: Sequence[tuple[bytes, bytes]], version: int, next_version: int) -> list[tuple[bytes, bytes]]:
    """(key, record) of one version as those of another. Raises `TornValue` as `joined` does."""
    keys = np.frombuffer(b"".join(key for key, _ in records), ">u8").astype(np.uint64) ^ np.uint64(1 << 63)
    joined(keys.view(np.int64), [record for _, record in records], version)
    found = []
    for (key, record), seed in zip(records, _seeds(keys.view(np.int64), next_version), strict=True):
        words = words_of(record)
        found.append((key, words + xxhash.xxh3_64_intdigest(words, seed).to_bytes(CHECKSUM_BYTES, "little")))
    return found


def words_of(record: bytes) -> bytes:
    """All of a record but its checksum: the same in every version that knows the same."""
    return record[:-CHECKSUM_BYTES]


def pairs_of(record: bytes) -> int:
    """How many categories a user was observed with."""
    return int.from_bytes(record[:2], "little")


def joined(
    keys: NDArray[np.int64], records: Sequence[bytes], version: int
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The words of several users' records behind one another, each verified, and where each begins.

    Raises `TornValue`, which names the user.
    """
    if not records:
        return np.zeros(0, np.uint16), np.zeros(0, np.int64)
    raw = b"".join(records)
    words = np.frombuffer(raw, np.uint16)
    ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
    borders = [0, *ends.tolist()]
    view, digest = memoryview(raw), xxhash.xxh3_64_intdigest
    own = CHECKSUM_BYTES
    found = [
        digest(view[begin : end - own], seed)
        for begin, end, seed in zip(borders, borders[1:], _seeds(keys, version), strict=False)
    ]
    at = (ends // 2)[:, None] + np.arange(-own // 2, 0)
    expected = np.ascontiguousarray(words[at]).view("<u8")[:, 0]
    is_right = expected == np.array(found, np.uint64)
    if not is_right.all():
        raise TornValue(
            f"knowledge of user {int(keys[is_right.argmin()])} in version {version} is torn or altered; "
            "roll back, and publish it again"
        )
    return words, np.append(0, ends[:-1]) // 2


def _seeds(keys: NDArray[np.int64], version: int) -> list[int]:
    """Of each user's checksum: another one of every user and version."""
    return (keys.view(np.uint64) + np.uint64(version * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)).tolist()


def _read(dtype, ndim=1):
    return numba.types.Array(dtype, ndim, "C", readonly=True)


@compiled(
    numba.void(
        _read(_U2), _read(_I8), _read(_I8), _read(_I8), _read(_I8), _read(_U2, 2), _read(_U2), _read(_U2),
        _read(_U2, 2), _U2[:, ::1], _U1[::1],
    )
)  # fmt: skip
def gather(words, starts, records, items, categories, vectors, default_user, default_item, default_pairs, out, flags):
    """[K̂_u, K̂_i, K̂_uc] of each row, in half precision as they are stored, and what of it is a default.

    `records` is the place of the user's record in `starts`, `items` the row of the item, `categories` a code; -1 is
    unknown.
    """
    width, of_pairs = vectors.shape[1], default_pairs.shape[1]
    for row in range(len(records)):
        flag, n, at = 0, 0, np.int64(0)
        if records[row] >= 0:
            at = starts[records[row]]
            n = np.int64(words[at])
            user = words[at + 1 + n : at + 1 + n + width]
        else:
            user = default_user
            flag |= 1
        if items[row] >= 0:
            item = vectors[items[row]]
        else:
            item = default_item
            flag |= 2
        category = categories[row]
        found = np.int64(-1)
        for place in range(n):
            if np.int64(words[at + 1 + place]) == category:
                found = place
        if found >= 0:
            begin = at + 1 + n + width + found * of_pairs
            pair = words[begin : begin + of_pairs]
        else:
            pair = default_pairs[category if category >= 0 else len(default_pairs) - 1]
            flag |= 4
        out[row, :width] = user
        out[row, width : 2 * width] = item
        out[row, 2 * width :] = pair
        flags[row] = flag


@compiled(numba.void(_read(_U2, 2), _read(_F4), _F4[:, ::1]))
def widen(stored, halves, out):
    """[K̂_u, K̂_i, K̂_u ∘ K̂_i, K̂_uc] of each row (eq. 6) in single precision, of what `gather` found."""
    width = out.shape[1] - stored.shape[1]
    for row in range(len(stored)):
        for column in range(width):
            of_user, of_item = halves[stored[row, column]], halves[stored[row, width + column]]
            out[row, column] = of_user
            out[row, width + column] = of_item
            out[row, 2 * width + column] = of_user * of_item
        for column in range(2 * width, stored.shape[1]):
            out[row, width + column] = halves[stored[row, column]]
