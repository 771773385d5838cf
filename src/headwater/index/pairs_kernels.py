"""The inner loops of index generation, compiled: candidates of items, and the best of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(signature: Any) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # numba found no folder that it may write its cache to, as in a read-only container
            return numba.njit(signature, nogil=True)(function)

    return decorate


_I4, _I8, _F4, _U2, _U8 = numba.int32, numba.int64, numba.float32, numba.uint16, numba.uint64


def _read(dtype: Any, ndim: int = 1) -> Any:
    return numba.types.Array(dtype, ndim, "C", readonly=True)


@compiled(_U8(_U8, _U8))
def _mixed(digest, value):
    """The finaliser of splitmix64 over both: order matters, and one other bit changes half of the result's."""
    mixed = (digest ^ value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@compiled(
    numba.void(
        *(_read(_I4), _read(_I8), _read(_I4), _read(_F4), _read(_I8, 2), _read(_I8), _read(_I4)),
        *(numba.boolean, _I4[:, ::1], _I8[::1], _U8[::1]),
    )
)
def collect_candidates(
    items, offsets, others, counts, groups, group_offsets, members, of_counts, out_candidates, out_sizes, out_digests
):
    """Fill one row for each item: the others of highest count, equal counts by code, then members of its groups.

    Digests are of the candidates in their order and with their counts, or of the mere set of them.
    """
    room = out_candidates.shape[1]
    taken_by = np.full(len(offsets) - 1, -1, np.int64)
    for row in range(len(items)):
        item = items[row]
        candidates = out_candidates[row]
        begin, stop = offsets[item], offsets[item + 1]
        order = np.arange(stop - begin)
        if len(order) > room:  # the matrix holds others by code, which a stable sort keeps among equals
            order = np.argsort(-counts[begin:stop], kind="mergesort")
        taken_by[item] = row
        size = 0
        digest = np.uint64(0)
        for at in order:
            other = others[begin + at]
            if size < room and counts[begin + at] > 0 and taken_by[other] != row:
                candidates[size] = other
                taken_by[other] = row
                size += 1
                bits = np.uint64(np.float32(counts[begin + at]).view(np.uint32))
                if of_counts:
                    digest = _mixed(digest, np.uint64(other) << np.uint64(32) | bits)
                else:
                    digest += _mixed(np.uint64(0), np.uint64(other))
        for column in range(groups.shape[1]):
            group = groups[item, column]
            if group >= 0:
                for at in range(group_offsets[group], group_offsets[group + 1]):
                    if size == room:
                        break
                    if taken_by[members[at]] != row:
                        candidates[size] = members[at]
                        taken_by[members[at]] = row
                        size += 1
                        if of_counts:
                            digest = _mixed(digest, np.uint64(members[at]) << np.uint64(32))
                        else:
                            digest += _mixed(np.uint64(0), np.uint64(members[at]))
        out_sizes[row] = size
        out_digests[row] = digest


@compiled(numba.void(_read(_I8), _read(_I4), _read(_U2), _I4[:, :], _U2[:, :]))
def keep_best(offsets, candidates, halves, out_items, out_halves):
    """The best candidates of each row by float16 similarity (given as its bits), equal ones by code, best first.

    What follows the last candidate of a row is left as it is.
    """
    room = out_items.shape[1]
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        keys = np.empty(stop - begin, np.int64)
        for at in range(len(keys)):
            half = np.int64(halves[begin + at])
            if half == 0x8000:  # -0 is 0
                half = np.int64(0)
            # As unsigned numbers that rise with the similarity, then with falling item code.
            rising = half ^ 0xFFFF if half & 0x8000 else half | 0x8000
            keys[at] = rising << 32 | (0xFFFFFFFF - np.int64(candidates[begin + at]))
        kept = min(len(keys), room)
        if kept < len(keys):
            keys = np.partition(keys, len(keys) - kept)[len(keys) - kept :]
        keys.sort()
        for place in range(kept):
            key = keys[kept - 1 - place]
            rising = key >> 32
            out_items[row, place] = 0xFFFFFFFF - (key & 0xFFFFFFFF)
            out_halves[row, place] = rising ^ 0x8000 if rising & 0x8000 else rising ^ 0xFFFF
