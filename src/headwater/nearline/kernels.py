"""The operator's inner loops, compiled: packing ranked lists, and the best k of a queue of them.

Kernels hold no state and release the GIL. Signatures are given, so that all is compiled on import (once per machine,
then read from numba's cache) and never while records wait.

A packed list ("content") is, little-endian: uint16 n, uint16 c, uint8 bytes of an item (4 where all are in [0, 2³²),
else 8), uint8 bytes of a place (1 where c ≤ 256, else 2), two zeros; c int64 categories, as they first come; n items,
best first; n places of their categories among the c; zeros up to a multiple of 8. Contents that are laid one after
another are aligned, and are read through views of 1, 2, 4 and 8 bytes of one buffer.
"""

# pyright: basic
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from headwater.nearline.candidates import FIFO, RANDOM, SCORE

_HEAD = 8
"""Bytes of a content before its categories."""

SPARE_BYTES = 16
"""What a content takes at most beside `BYTES_PER_ITEM` for each item: its head, and the zeros at its end."""

BYTES_PER_ITEM = 18
"""What each item takes at most: 8 for itself, 8 for its category, 2 for the place."""

_WIDE = 1 << 32


def compiled(signature: Any = None, **options: Any) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        arguments = () if signature is None else (signature,)
        try:
            return numba.njit(*arguments, cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba found no folder that it may write its cache to, as in a read-only container
            return numba.njit(*arguments, nogil=True, **options)(function)

    return decorate


@compiled("u8(u8)")
def mix(key):
    """64 bits that look random (fmix64 of MurmurHash3): the shuffle of `FIFO` and `RANDOM`."""
    key = (key ^ key >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
    key = (key ^ key >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    return key ^ key >> np.uint64(33)


# -- hash tables: `keys` and `stamps` of a power of two places; a place is taken where its stamp is the current one


@compiled("i8(i8[::1], i4[::1], i8, i8)")
def _place(keys, stamps, stamp, key):
    """Where `key` stands, or would."""
    mask = len(keys) - 1
    scattered = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((scattered ^ scattered >> np.uint64(32)) & np.uint64(mask))
    while stamps[at] == stamp and keys[at] != key:
        at = (at + 1) & mask
    return at


@compiled("i8(i8)")
def _table_size(n):
    """Places of a table for n keys: a power of two, at most half full."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


# -- packing: its tables hold the row of a key in an array, behind the stamp, and so are smaller


@compiled("i8(u8[::1], i8, i8[::1], i8)")
def _row_place(table, stamp, keys, key):
    """Where the row of `key` stands in `table`, or would."""
    mask = np.uint64(len(table) - 1)
    scattered = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = (scattered ^ scattered >> np.uint64(32)) & mask
    while table[at] >> np.uint64(16) == np.uint64(stamp) and keys[table[at] & np.uint64(0xFFFF)] != key:
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


_KEYS = numba.types.Array(numba.int64, 1, "C", readonly=True)  # Arrow's memory must not be written to
_PLACES = numba.int64[::1]


@compiled(numba.void(_KEYS, _KEYS, _PLACES, _PLACES, _PLACES, numba.uint8[::1], _PLACES))
def pack(items, categories, starts, stops, truncations, out, ends):
    """Eq. 4 for v lists: repeated items go, then the list is cut, then written to `out` as a content.

    Parameters
    ----------
    items, categories : (m,) int64
    starts, stops, truncations : (v,) int64
        List n is ``items[starts[n]:stops[n]]``, of which `truncations[n]` different ones are kept.
    out : uint8, of a multiple of 8 bytes
        Room for `SPARE_BYTES` of each list and `BYTES_PER_ITEM` of each of its items.
    ends : (v,) int64
        Filled: where the content of each list ends in `out`; the next one begins there.
    """
    out2, out4, out8 = out.view(np.uint16), out.view(np.uint32), out.view(np.int64)
    longest = 1
    for n in range(len(starts)):
        longest = max(longest, stops[n] - starts[n])
    item_rows, category_rows = np.zeros(2 * _table_size(longest), np.uint64), np.zeros(_table_size(longest), np.uint64)
    kept, table, places = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    end = 0
    for n in range(len(starts)):
        stamp = n + 1
        size_kept, size_table, ored = 0, 0, 0
        for at in range(starts[n], stops[n]):
            if size_kept == truncations[n]:
                break
            item = items[at]
            place = _row_place(item_rows, stamp, kept, item)
            if item_rows[place] >> np.uint64(16) == np.uint64(stamp):
                continue
            item_rows[place] = np.uint64(stamp << 16 | size_kept)
            ored |= item
            kept[size_kept] = item
            category = categories[at]
            place = _row_place(category_rows, stamp, table, category)
            if category_rows[place] >> np.uint64(16) != np.uint64(stamp):
                category_rows[place] = np.uint64(stamp << 16 | size_table)
                table[size_table] = category
                size_table += 1
            places[size_kept] = np.int64(category_rows[place] & np.uint64(0xFFFF))
            size_kept += 1
        item_width = 4 if 0 <= ored < 1 << 32 else 8
        place_width = 1 if size_table <= 256 else 2
        out8[end >> 3] = size_kept | size_table << 16 | item_width << 32 | place_width << 40
        end += _HEAD
        for row in range(size_table):
            out8[(end >> 3) + row] = table[row]
        end += 8 * size_table
        if item_width == 4:
            for row in range(size_kept):
                out4[(end >> 2) + row] = kept[row]
        else:
            for row in range(size_kept):
                out8[(end >> 3) + row] = kept[row]
        end += item_width * size_kept
        if place_width == 1:
            for row in range(size_kept):
                out[end + row] = places[row]
        else:
            for row in range(size_kept):
                out2[(end >> 1) + row] = places[row]
        end += place_width * size_kept
        while end & 7:
            out[end] = 0
            end += 1
        ends[n] = end


# -- the best k


@compiled("void(i8[::1], i8)")
def _sink(heap, size):
    """Restore the heap (least on top) after its top was replaced."""
    at, key = 0, heap[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@compiled("b1(i8[::1], i8, i8, i8)")
def _holds(ascending, start, stop, key):
    end = stop
    while start < stop:
        middle = (start + stop) // 2
        if ascending[middle] < key:
            start = middle + 1
        else:
            stop = middle
    return start < end and ascending[start] == key


@compiled(
    "void(u1[::1], i8[::1], u8[::1], i8[::1], i8[::1], i8[::1], i8, i8, i8, i8, i8, i8[:,::1], i8[:,::1], "
    "i8[:,::1], i8[::1])"
)
def best(
    contents,
    starts,
    hashes,
    queues,
    acted,
    acted_offsets,
    strategy,
    alpha,
    beta,
    cap,
    no_category,
    out_items,
    out_times,
    out_ranks,
    out_sizes,
):
    """The candidates of each of q queues (eq. 3), best first: at most k, the width of `out_items`.

    Each list is in order already, so that `SCORE` is a merge of them: the least (α + rank)(β + time index) is
    taken from the top of a heap with one entry for each visit, and an item's first coming is its best place. That
    is about k steps, and all entries where few are let through.

    Parameters
    ----------
    contents : uint8, of a multiple of 8 bytes
    starts, hashes : (v,) int64, uint64
        Where each visit's content begins in `contents`, and its hash, which `FIFO` shuffles its items by;
        `RANDOM` shuffles the items of all visits by that of the newest.
    queues : (q + 1,) int64
        Visits ``queues[n]:queues[n + 1]`` are queue n, newest first: the place there is the time index.
    acted, acted_offsets : int64, (q + 1,) int64
        Items left out of queue n, ascending: ``acted[acted_offsets[n]:acted_offsets[n + 1]]``.
    strategy : `SCORE`, `FIFO` or `RANDOM`
    alpha, beta, cap : int64
        Of eq. 6; candidates of one category at most, but for `no_category`.
    out_items, out_times, out_ranks : (q, k) int64
    out_sizes : (q,) int64
        Filled.
    """
    k = out_items.shape[1]
    contents2, contents4, contents8 = contents.view(np.uint16), contents.view(np.uint32), contents.view(np.int64)
    longest, most_visits, longest_list = 1, 1, 1
    for n in range(len(queues) - 1):
        total = 0
        most_visits = max(most_visits, queues[n + 1] - queues[n])
        for visit in range(queues[n], queues[n + 1]):
            length = np.int64(contents2[starts[visit] >> 1])
            longest_list = max(longest_list, length)
            total += length
        longest = max(longest, total)
    size = _table_size(longest)
    seen, seen_stamps = np.empty(size, np.int64), np.zeros(size, np.int32)
    size = _table_size(min(k, longest))
    capped, capped_stamps, capped_sizes = np.empty(size, np.int64), np.zeros(size, np.int32), np.empty(size, np.int64)
    heap = np.empty(most_visits, np.int64)
    lengths, widths = np.empty(most_visits, np.int64), np.empty(most_visits, np.int64)
    tables, lists, places = (
        np.empty(most_visits, np.int64),
        np.empty(most_visits, np.int64),
        np.empty(most_visits, np.int64),
    )
    place_widths = np.empty(most_visits, np.int64)
    shuffled = np.empty(longest if strategy == RANDOM else longest_list, np.uint64)
    entries = np.empty(len(shuffled), np.int64)
    for n in range(len(queues) - 1):
        stamp = n + 1
        first, visits = queues[n], queues[n + 1] - queues[n]
        for time in range(visits):
            head = contents8[starts[first + time] >> 3]
            lengths[time], widths[time], place_widths[time] = head & 0xFFFF, head >> 32 & 0xFF, head >> 40 & 0xFF
            tables[time] = starts[first + time] + _HEAD
            lists[time] = tables[time] + 8 * (head >> 16 & 0xFFFF)
            places[time] = lists[time] + lengths[time] * widths[time]
            # Ascending in time already, so the array is a heap as it is filled.
            heap[time] = alpha * (beta + time) << 24 | time << 16
        size_heap = visits
        taken, drawn, size_entries, newest_undrawn = 0, 0, 0, 0
        order = np.empty(0, np.int64)
        while taken < k:
            # The next entry by strategy.
            if strategy == SCORE:
                if size_heap == 0:
                    break
                time, rank = heap[0] >> 16 & 0xFF, heap[0] & 0xFFFF
                if rank + 1 < lengths[time]:
                    heap[0] = (alpha + rank + 1) * (beta + time) << 24 | time << 16 | (rank + 1)
                else:
                    size_heap -= 1
                    heap[0] = heap[size_heap]
                _sink(heap, size_heap)
            else:
                if drawn == size_entries:
                    if newest_undrawn == visits:
                        break
                    # `FIFO` shuffles one visit after another, `RANDOM` all of them together.
                    drawn, size_entries = 0, 0
                    until = newest_undrawn + 1 if strategy == FIFO else visits
                    salt = mix(hashes[first + newest_undrawn])
                    for time in range(newest_undrawn, until):
                        for rank in range(lengths[time]):
                            at = lists[time] + rank * widths[time]
                            item = np.int64(contents4[at >> 2]) if widths[time] == 4 else contents8[at >> 3]
                            shuffled[size_entries] = mix(np.uint64(item) ^ salt)
                            entries[size_entries] = time << 16 | rank
                            size_entries += 1
                    order = np.argsort(shuffled[:size_entries], kind="mergesort")
                    newest_undrawn = until
                time, rank = entries[order[drawn]] >> 16, entries[order[drawn]] & 0xFFFF
                drawn += 1
            # Whether it is let through.
            at = lists[time] + rank * widths[time]
            item = np.int64(contents4[at >> 2]) if widths[time] == 4 else contents8[at >> 3]
            place = _place(seen, seen_stamps, stamp, item)
            if seen_stamps[place] == stamp:
                continue
            seen_stamps[place], seen[place] = stamp, item
            if _holds(acted, acted_offsets[n], acted_offsets[n + 1], item):
                continue
            at = places[time] + rank * place_widths[time]
            row = np.int64(contents[at]) if place_widths[time] == 1 else np.int64(contents2[at >> 1])
            category = contents8[(tables[time] >> 3) + row]
            if category != no_category:
                place = _place(capped, capped_stamps, stamp, category)
                if capped_stamps[place] != stamp:
                    capped_stamps[place], capped[place], capped_sizes[place] = stamp, category, 0
                if capped_sizes[place] == cap:
                    continue
                capped_sizes[place] += 1
            out_items[n, taken], out_times[n, taken], out_ranks[n, taken] = item, time, rank
            taken += 1
        out_sizes[n] = taken
