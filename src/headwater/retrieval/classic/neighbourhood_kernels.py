"""The inner loops of item-to-item channels, compiled: retrieval and pair scores over a matrix, and its parts.

Kernels release the GIL and hold no state, so that threads of a service or of `fit` share them; sums are
float64 in one fixed order, so that no batching and no thread changes a result. Signatures are given, so that
everything is compiled on import (once per machine, then read from numba's cache) and never within a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

REFUSE_NONE, REFUSE_LISTED, ALLOW_LISTED = 0, 1, 2


def compiled(signature: Any = None, **options: Any) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        arguments = () if signature is None else (signature,)
        try:
            return numba.njit(*arguments, cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba found no folder that it may write its cache to, as in a read-only container
            return numba.njit(*arguments, nogil=True, **options)(function)

    return decorate


@compiled(inline="always")
def _is_worse(score: float, item: int, other_score: float, other_item: int) -> bool:
    """Whether (score, item) stands behind the other: lower score, or equal score and higher item code."""
    return score < other_score or (score == other_score and item > other_item)


@compiled()
def _sink(scores, items, size):
    """Restore the heap (worst on top) after its top was replaced."""
    at = 0
    score, item = scores[0], items[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _is_worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not _is_worse(scores[child], items[child], score, item):
            break
        scores[at], items[at] = scores[child], items[child]
        at = child
    scores[at], items[at] = score, item


@compiled()
def offer(scores, items, size, room, score, item):
    """Keep (score, item) if it is among the best `room` so far; returns the heap's size."""
    if size < room:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not _is_worse(score, item, scores[parent], items[parent]):
                break
            scores[at], items[at] = scores[parent], items[parent]
            at = parent
        scores[at], items[at] = score, item
        return size + 1
    if _is_worse(scores[0], items[0], score, item):
        scores[0], items[0] = score, item
        _sink(scores, items, size)
    return size


@compiled()
def best_first(scores, items, size):
    """Turn the heap into a list, best first, in place."""
    for end in range(size - 1, 0, -1):
        scores[0], scores[end] = scores[end], scores[0]
        items[0], items[end] = items[end], items[0]
        _sink(scores, items, end)


@compiled("void(i8[::1], i4[::1], f4[::1], i8[::1], i4[::1], f4[::1])")
def transpose(offsets, triggers, similarities, cursor, out_targets, out_similarities):
    """Target-major CSR to trigger-major; `cursor` holds each trigger's first position and is used up."""
    for target in range(len(offsets) - 1):
        for at in range(offsets[target], offsets[target + 1]):
            place = cursor[triggers[at]]
            out_targets[place] = target
            out_similarities[place] = similarities[at]
            cursor[triggers[at]] = place + 1


@compiled()
def _accumulate(start, stop, items, weights, offsets, targets, similarities, score, touched):
    """Add weight x similarity over history events start..stop, oldest first; returns how many items were reached."""
    n_touched = 0
    n_items = len(offsets) - 1
    window = len(weights)
    for at in range(max(start, stop - window), stop):
        trigger = items[at]
        if trigger >= n_items:  # an item newer than this artefact
            continue
        weight = weights[stop - 1 - at]
        for edge in range(offsets[trigger], offsets[trigger + 1]):
            part = weight * similarities[edge]
            if part > 0.0:
                if score[targets[edge]] == 0.0:
                    touched[n_touched] = targets[edge]
                    n_touched += 1
                score[targets[edge]] += part
    return n_touched


@compiled(inline="always")
def _list(row, mode, mask_offsets, mask_items, listed):
    """Mark what the mask lists for a row; items newer than the model have no place."""
    if mode != REFUSE_NONE:
        for at in range(mask_offsets[row], mask_offsets[row + 1]):
            if mask_items[at] < len(listed):
                listed[mask_items[at]] = row


@compiled(inline="always")
def _is_allowed(item, row, mode, listed, catalogue):
    is_listed = listed[item] == row
    if (mode == REFUSE_LISTED and is_listed) or (mode == ALLOW_LISTED and not is_listed):
        return False
    return len(catalogue) == 0 or (item < len(catalogue) and catalogue[item])


@compiled(
    "void(i8[::1], i4[::1], f8[::1], i8[::1], i4[::1], f4[::1], i8, i8[::1], i4[::1], b1[::1],"
    " i4[:,::1], f4[:,::1], i8[::1])"
)
def best_targets(
    query_offsets,
    history,
    weights,
    offsets,
    targets,
    similarities,
    mode,
    mask_offsets,
    mask_items,
    catalogue,
    out_items,
    out_scores,
    out_sizes,
):
    """The best items of each query into rows of `out_items`, best first; `weights` by age in events."""
    n_items = len(offsets) - 1
    room = out_items.shape[1]
    score = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    listed = np.full(n_items, -1, np.int64)
    for row in range(len(query_offsets) - 1):
        _list(row, mode, mask_offsets, mask_items, listed)
        n_touched = _accumulate(
            query_offsets[row], query_offsets[row + 1], history, weights, offsets, targets, similarities, score, touched
        )
        size = 0
        for index in range(n_touched):
            item = touched[index]
            total = np.float32(score[item])
            score[item] = 0.0
            if total > 0.0 and _is_allowed(item, row, mode, listed, catalogue):
                size = offer(out_scores[row], out_items[row], size, room, total, item)
        best_first(out_scores[row], out_items[row], size)
        out_sizes[row] = size


@compiled("void(i8[::1], i4[::1], f8[::1], i8[::1], i4[::1], f4[::1], i8[::1], i4[::1], f4[::1])")
def pair_scores(query_offsets, history, weights, offsets, targets, similarities, pair_offsets, pair_items, out_scores):
    """The score of each (query, item) pair, pairs as CSR over the queries; 0 where no trigger reaches the item."""
    n_items = len(offsets) - 1
    score = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    for row in range(len(query_offsets) - 1):
        if pair_offsets[row] == pair_offsets[row + 1]:
            continue
        n_touched = _accumulate(
            query_offsets[row], query_offsets[row + 1], history, weights, offsets, targets, similarities, score, touched
        )
        for at in range(pair_offsets[row], pair_offsets[row + 1]):
            item = pair_items[at]
            out_scores[at] = np.float32(score[item]) if item < n_items else np.float32(0.0)
        for index in range(n_touched):
            score[touched[index]] = 0.0


@compiled("void(i4[::1], f8[::1], i8[::1], i4[::1], f4[::1], i4, f8[::1])")
def contributions(history, weights, offsets, targets, similarities, item, out_parts):
    """What each event of one history adds to the score of one item; 0 outside the window."""
    n_items = len(offsets) - 1
    last = len(history) - 1
    for at in range(len(history)):
        out_parts[at] = 0.0
        trigger = history[at]
        if trigger >= n_items or last - at >= len(weights):
            continue
        low, high = offsets[trigger], offsets[trigger + 1]
        while low < high:
            middle = (low + high) // 2
            if targets[middle] < item:
                low = middle + 1
            else:
                high = middle
        if low < offsets[trigger + 1] and targets[low] == item:
            out_parts[at] = weights[last - at] * similarities[low]


@compiled("void(i8, i8, i8[::1], i4[::1], f8[::1], f4[:,::1], f4[:,::1])")
def dense_scores(start, stop, query_offsets, history, weights, matrix, out_scores):
    """Every item's score for the histories start..stop, a row each: the weighted sum of the triggers' rows."""
    n_items = len(matrix)
    total = np.empty(n_items, np.float64)
    for query in range(start, stop):
        total[:] = 0.0
        end = query_offsets[query + 1]
        for at in range(max(query_offsets[query], end - len(weights)), end):
            trigger = history[at]
            if trigger >= n_items:
                continue
            weight, similarities = weights[end - 1 - at], matrix[trigger]
            for item in range(n_items):
                total[item] += weight * similarities[item]
        for item in range(n_items):
            out_scores[query - start, item] = np.float32(total[item])


@compiled("void(i8, f4[:,::1], i8, i8[::1], i4[::1], b1[::1], i4[:,::1], f4[:,::1], i8[::1])")
def best_of_dense(start, scores, mode, mask_offsets, mask_items, catalogue, out_items, out_scores, out_sizes):
    """The best items with a score other than 0 of each row of dense scores; row 0 is query `start` of the mask."""
    n_items = scores.shape[1]
    room = out_items.shape[1]
    listed = np.full(n_items, -1, np.int64)
    for row in range(len(scores)):
        _list(start + row, mode, mask_offsets, mask_items, listed)
        size = 0
        for item in range(n_items):
            score = scores[row, item]
            if score != 0.0 and _is_allowed(item, start + row, mode, listed, catalogue):
                size = offer(out_scores[row], out_items[row], size, room, score, np.int32(item))
        best_first(out_scores[row], out_items[row], size)
        out_sizes[row] = size
