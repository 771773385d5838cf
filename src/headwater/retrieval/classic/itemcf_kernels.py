"""The inner loops of ItemCF, compiled: neighbour search, retrieval and pair scores over CSR arrays.

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


def _compiled(signature: Any = None, **options: Any) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        arguments = () if signature is None else (signature,)
        try:
            return numba.njit(*arguments, cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba found no folder that it may write its cache to, as in a read-only container
            return numba.njit(*arguments, nogil=True, **options)(function)

    return decorate


@_compiled(inline="always")
def _is_worse(score: float, item: int, other_score: float, other_item: int) -> bool:
    """Whether (score, item) stands behind the other: lower score, or equal score and higher item code."""
    return score < other_score or (score == other_score and item > other_item)


@_compiled()
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


@_compiled()
def _offer(scores, items, size, room, score, item):
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


@_compiled()
def _best_first(scores, items, size):
    """Turn the heap into a list, best first, in place."""
    for end in range(size - 1, 0, -1):
        scores[0], scores[end] = scores[end], scores[0]
        items[0], items[end] = items[end], items[0]
        _sink(scores, items, end)


@_compiled(
    "i8(i8, i8, i8[::1], i4[::1], i8[::1], i4[::1], f8[::1], f8[::1], f8[::1], f8, f8, i4[:,::1], f4[:,::1], i8[::1])"
)
def nearest_triggers(
    start,
    stop,
    item_offsets,
    item_users,
    user_offsets,
    user_items,
    user_weights,
    trigger_norms,
    target_norms,
    shrinkage,
    power,
    out_triggers,
    out_similarities,
    out_sizes,
):
    """Fill rows 0..stop - start with the most similar triggers of the targets start..stop."""
    n_items = len(item_offsets) - 1
    room = out_triggers.shape[1]
    weight = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    for target in range(start, stop):
        n_touched = 0
        for at in range(item_offsets[target], item_offsets[target + 1]):
            user = item_users[at]
            user_weight = user_weights[user]
            for other in range(user_offsets[user], user_offsets[user + 1]):
                trigger = user_items[other]
                if weight[trigger] == 0.0:
                    touched[n_touched] = trigger
                    n_touched += 1
                weight[trigger] += user_weight
        triggers, similarities = out_triggers[target - start], out_similarities[target - start]
        size = 0
        for index in range(n_touched):
            trigger = touched[index]
            if trigger != target:
                cosine = weight[trigger] / (trigger_norms[trigger] * target_norms[target] + shrinkage)
                similarity = np.float32(cosine**power)
                if similarity > 0.0:
                    size = _offer(similarities, triggers, size, room, similarity, trigger)
            weight[trigger] = 0.0
        out_sizes[target - start] = size
    return stop - start


@_compiled("void(i8[::1], i4[::1], f4[::1], i8[::1], i4[::1], f4[::1])")
def transpose(offsets, triggers, similarities, cursor, out_targets, out_similarities):
    """Target-major CSR to trigger-major; `cursor` holds each trigger's first position and is used up."""
    for target in range(len(offsets) - 1):
        for at in range(offsets[target], offsets[target + 1]):
            place = cursor[triggers[at]]
            out_targets[place] = target
            out_similarities[place] = similarities[at]
            cursor[triggers[at]] = place + 1


@_compiled()
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


@_compiled(
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
        if mode != REFUSE_NONE:
            for at in range(mask_offsets[row], mask_offsets[row + 1]):
                if mask_items[at] < n_items:
                    listed[mask_items[at]] = row
        n_touched = _accumulate(
            query_offsets[row], query_offsets[row + 1], history, weights, offsets, targets, similarities, score, touched
        )
        size = 0
        for index in range(n_touched):
            item = touched[index]
            total = np.float32(score[item])
            score[item] = 0.0
            is_listed = listed[item] == row
            if (mode == REFUSE_LISTED and is_listed) or (mode == ALLOW_LISTED and not is_listed):
                continue
            if total > 0.0 and (len(catalogue) == 0 or (item < len(catalogue) and catalogue[item])):
                size = _offer(out_scores[row], out_items[row], size, room, total, item)
        _best_first(out_scores[row], out_items[row], size)
        out_sizes[row] = size


@_compiled("void(i8[::1], i4[::1], f8[::1], i8[::1], i4[::1], f4[::1], i8[::1], i4[::1], f4[::1])")
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


@_compiled("void(i4[::1], f8[::1], i8[::1], i4[::1], f4[::1], i4, f8[::1])")
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
