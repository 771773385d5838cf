"""The inner loops of counting co-occurrence, compiled: a row of pairs at a time, split by fold of users."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled


@compiled()
def _emit(touched, n_touched, counts, at, out_items, out_counts):
    """Write one row, ascending by item, and clear what was counted; returns the place behind it."""
    touched[:n_touched].sort()
    for index in range(n_touched):
        item = touched[index]
        out_items[at] = item
        for fold in range(counts.shape[1]):
            out_counts[at, fold] = counts[item, fold]
            counts[item, fold] = 0
        at += 1
    return at


@compiled("i8(i8, i8[::1], i4[::1], i8[::1], i4[::1], i8[::1], i4[:,::1], i4[::1], i4[:,::1], i8[::1])")
def rows_of_sets(
    start, item_offsets, item_sets, set_offsets, set_items, set_folds, counts, out_items, out_counts, out_sizes
):
    """Count in how many sets each item stands beside items `start`, …, until the buffer may not hold another row.

    `counts` (items, folds) comes in zero and is left so. Returns the row to go on with.
    """
    n_items = len(counts)
    touched = np.empty(n_items, np.int32)
    is_touched = np.zeros(n_items, np.bool_)
    at, row = 0, start
    while row < n_items and at + n_items <= len(out_items):
        n_touched = 0
        for place in range(item_offsets[row], item_offsets[row + 1]):
            owner = item_sets[place]
            fold = set_folds[owner]
            for other in range(set_offsets[owner], set_offsets[owner + 1]):
                item = set_items[other]
                if item == row:
                    continue
                if not is_touched[item]:
                    is_touched[item] = True
                    touched[n_touched] = item
                    n_touched += 1
                counts[item, fold] += 1
        for index in range(n_touched):
            is_touched[touched[index]] = False
        end = _emit(touched, n_touched, counts, at, out_items, out_counts)
        out_sizes[row] = end - at
        at, row = end, row + 1
    return row


@compiled("i8(i8, i8[::1], i8[::1], i4[::1], i8[::1], i8[::1], i8, i4[:,::1], i4[::1], i4[:,::1], i8[::1])")
def rows_of_windows(
    start, item_offsets, places, items, ends, event_folds, window, counts, out_items, out_counts, out_sizes
):
    """Count how often each item comes within `window` events after items `start`, …; see `rows_of_sets`.

    `places` lists the events of each item, `ends` (events,) says where the history of an event ends.
    """
    n_items = len(counts)
    touched = np.empty(n_items, np.int32)
    is_touched = np.zeros(n_items, np.bool_)
    at, row = 0, start
    while row < n_items and at + n_items <= len(out_items):
        n_touched = 0
        for listed in range(item_offsets[row], item_offsets[row + 1]):
            event = places[listed]
            for later in range(event + 1, min(event + window + 1, ends[event])):
                item = items[later]
                if item == row:
                    continue
                if not is_touched[item]:
                    is_touched[item] = True
                    touched[n_touched] = item
                    n_touched += 1
                counts[item, event_folds[event]] += 1
        for index in range(n_touched):
            is_touched[touched[index]] = False
        end = _emit(touched, n_touched, counts, at, out_items, out_counts)
        out_sizes[row] = end - at
        at, row = end, row + 1
    return row
