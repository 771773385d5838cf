"""The inner loops of path retrieval (eq. 14), compiled.

What a request costs is memory that no cache holds: m rows of the index, and one vector for each item that they reach.
So item vectors are kept twice. Each reached item's direct part is first estimated from a copy of one byte a number,
a single cache line where d = 64; only items that the estimate's error bound leaves a chance are scored from the float32
vectors. What is returned is what scoring all of them would have returned.
"""

from __future__ import annotations

import numba
import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import (
    ALLOW_LISTED,
    REFUSE_LISTED,
    REFUSE_NONE,
    best_first,
    compiled,
    offer,
)

NO_SLOT = -1

_I4, _I8, _F4, _F8, _U2, _B1 = numba.int32, numba.int64, numba.float32, numba.float64, numba.uint16, numba.boolean


def _read(dtype, ndim=1):
    """The type of an array that is only read: what is mapped from a file cannot be written to."""
    return numba.types.Array(dtype, ndim, "C", readonly=True)


_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_EXP = tuple(np.float32(1 / factor) for factor in (5040, 720, 120, 24, 6, 2, 1, 1))
_LOG = tuple(np.float32(2 / odd) for odd in (13, 11, 9, 7, 5, 3, 1))
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_PER_LN2 = np.float32(1.44269504088896341)
_LEAST = np.float32(-87.0)
_HALF_TO_SINGLE = np.float32(2.0**112)


@compiled(inline="always")
def _softplus(x):
    """ln(1 + eˣ) within 3e-7 of its value, of operations that the compiler makes vector instructions of.

    max(x, 0) + ln(1 + z) with z = e^-|x| = 2ⁿ eʳ, |r| ≤ ln2 / 2, by Taylor's polynomial; ln(1 + z) = 2 artanh(w) with
    w = z / (2 + z) ≤ 1/3.
    """
    y = max(-abs(x), _LEAST)
    n = np.floor(y * _PER_LN2 + _HALF)
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    z = _EXP[0]
    z = z * r + _EXP[1]
    z = z * r + _EXP[2]
    z = z * r + _EXP[3]
    z = z * r + _EXP[4]
    z = z * r + _EXP[5]
    z = z * r + _EXP[6]
    z = z * r + _EXP[7]
    z *= np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    w = z / (_TWO + z)
    square = w * w
    series = _LOG[0]
    series = series * square + _LOG[1]
    series = series * square + _LOG[2]
    series = series * square + _LOG[3]
    series = series * square + _LOG[4]
    series = series * square + _LOG[5]
    series = series * square + _LOG[6]
    return max(x, np.float32(0)) + series * w


@compiled("void(f4[::1])", fastmath={"contract"}, error_model="numpy")
def softplus_in_place(values):
    """Replace each x by ln(1 + eˣ)."""
    for at in range(len(values)):
        values[at] = _softplus(values[at])


@compiled(
    numba.void(_F4, _read(_U2), _F4[::1]),
    fastmath={"contract"},
    error_model="numpy",
)
def path_parts(trigger_score, similarities, out_parts):
    """softplus(t + s) (eq. 10) of one row of the index, whose float16 similarities are given as their bits."""
    for at in range(len(out_parts)):
        half = np.int32(similarities[at])
        # Sign and magnitude in their places of a float32; the product makes up for the exponents' other origin.
        bits = np.int32(((half & np.int32(0x8000)) << np.int32(16)) | ((half & np.int32(0x7FFF)) << np.int32(13)))
        out_parts[at] = _softplus(trigger_score + bits.view(np.float32) * _HALF_TO_SINGLE)


@compiled(_F4(_read(_F4), _read(_F4)), fastmath={"contract", "reassoc"})
def inner_product(vector, other):
    total = np.float32(0)
    for at in range(len(vector)):
        total += vector[at] * other[at]
    return total


@compiled(_F4(_F4[::1], _read(numba.int8)), fastmath={"contract", "reassoc"})
def _estimate(steps, codes):
    total = np.float32(0)
    for at in range(len(steps)):
        total += steps[at] * np.float32(codes[at])
    return total


@compiled(_I8(_I8, _I8, _read(_I4), _read(_F4), _I8, _F4[::1], _I4[::1]))
def best_triggers(start, stop, triggers, trigger_scores, n_items, out_scores, out_ages):
    """The best known triggers among events start..stop, best first, as events before the last; the newest of equals."""
    size = 0
    for at in range(start, stop):
        if 0 <= triggers[at] < n_items:
            size = offer(out_scores, out_ages, size, len(out_ages), trigger_scores[at], np.int32(stop - 1 - at))
    best_first(out_scores, out_ages, size)
    return size


@compiled("i8(i4, i4[::1], i4[::1])")
def _find(item, slots, items):
    """The slot of an item in an open hash of places in `items`, or the free one where it would stand."""
    last = len(slots) - 1
    slot = np.int64((np.uint32(item) * np.uint32(2654435769)) >> np.uint32(7)) & last
    while slots[slot] != NO_SLOT and items[slots[slot]] != item:
        slot = (slot + 1) & last
    return slot


@compiled()
def _reach(triggers, last, scores, ages, targets, similarities, k, depth, parts, slots, items, sums):
    """Sum the paths through the given triggers by the items that they reach; returns how many those are."""
    n_reached = 0
    slots[:] = NO_SLOT
    for rank in range(len(ages)):
        trigger = triggers[last - ages[rank]]
        path_parts(scores[rank], similarities[trigger, 2 * k : 2 * k + depth], parts)
        row = targets[trigger]
        for at in range(depth):
            item = row[at]
            if item < 0:
                break
            slot = _find(item, slots, items)
            place = slots[slot]
            if place == NO_SLOT:
                slots[slot] = n_reached
                items[n_reached] = item
                sums[n_reached] = parts[at]
                n_reached += 1
            else:
                sums[place] += parts[at]
    return n_reached


@compiled()
def _refuse(listed, mode, catalogue, slots, items, n_reached, is_refused):
    """Mark which of the reached items may not be returned."""
    is_refused[:n_reached] = mode == ALLOW_LISTED
    if mode != REFUSE_NONE:
        for at in range(len(listed)):
            if listed[at] >= 0:
                place = slots[_find(listed[at], slots, items)]
                if place != NO_SLOT:
                    is_refused[place] = mode == REFUSE_LISTED
    if len(catalogue):
        for place in range(n_reached):
            if items[place] >= len(catalogue) or not catalogue[items[place]]:
                is_refused[place] = True


@compiled()
def _best(items, sums, is_refused, user, vectors, codes, steps, residual, estimates, out_items, out_scores):
    """The best of the reached items into `out_items`, best first: sums + softplus(p·q) (eq. 14); returns how many."""
    room = len(out_items)
    n_kept = 0
    for place in range(len(items)):  # the refused leave, so that the loops below have no branch for them
        if not is_refused[place]:
            items[n_kept], sums[n_kept] = items[place], sums[place]
            n_kept += 1
    items, sums, estimates = items[:n_kept], sums[:n_kept], estimates[:n_kept]
    size = 0
    if len(user) == 0:
        for place in range(n_kept):
            size = offer(out_scores, out_items, size, room, np.float32(sums[place]), items[place])
        best_first(out_scores, out_items, size)
        return size
    scaled = user * steps
    least = -np.inf
    if n_kept > room:
        for place in range(n_kept):
            estimates[place] = _estimate(scaled, codes[items[place]])
        softplus_in_place(estimates)
        for place in range(n_kept):
            estimates[place] += np.float32(sums[place])
        # softplus rises by no more than its argument does, so a score is within `error` of its estimate.
        most = np.abs(scaled).sum()
        error = min(0.5 * most, np.sqrt(inner_product(user, user)) * residual)
        rounding = 1e-5 * (1.0 + np.abs(estimates).max()) + 127.0 * 1.2e-7 * len(user) * most
        least = np.partition(estimates, n_kept - room)[n_kept - room] - 2.0 * (error + rounding)
    n_scored = 0
    for place in range(n_kept):
        if n_kept <= room or estimates[place] >= least:
            items[n_scored], sums[n_scored] = items[place], sums[place]
            n_scored += 1
    for place in range(n_scored):
        estimates[place] = inner_product(user, vectors[items[place]])
    softplus_in_place(estimates[:n_scored])
    for place in range(n_scored):
        size = offer(out_scores, out_items, size, room, np.float32(sums[place] + estimates[place]), items[place])
    best_first(out_scores, out_items, size)
    return size


@compiled(
    numba.void(
        *(_read(_I8), _read(_I4), _read(_F4), _read(_F4, 2)),
        *(_read(_I4, 2), _read(_U2, 2), _I8, _I8, _I8),
        *(_read(_F4, 2), _read(numba.int8, 2), _read(_F4), _F8),
        *(_I8, _read(_I8), _read(_I4), _read(_B1)),
        *(_I4[:, ::1], _F4[:, ::1], _I8[::1], _I8[::1]),
    )
)
def best_paths(
    offsets,
    triggers,
    trigger_scores,
    users,
    targets,
    similarities,
    k,
    depth,
    n_triggers,
    vectors,
    codes,
    steps,
    residual,
    mode,
    mask_offsets,
    mask_items,
    catalogue,
    out_items,
    out_scores,
    out_sizes,
    out_reached,
):
    """The best items of each query into rows of `out_items`, best first.

    `targets` and `similarities` are one row of the index for each item, as words and as halves: k targets, then k
    similarities. `out_reached` is how many items a query's paths reach; where none, every item stands in the scan.
    """
    n_items = len(targets)
    most = max(n_triggers * depth, 1)
    n_slots = 2
    while n_slots < 2 * most:
        n_slots *= 2
    slots = np.empty(n_slots, np.int32)
    items, sums = np.empty(most, np.int32), np.empty(most, np.float64)
    is_refused, estimates = np.empty(most, np.bool_), np.empty(most, np.float32)
    parts = np.empty(depth, np.float32)
    scores, ages = np.empty(n_triggers, np.float32), np.empty(n_triggers, np.int32)
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        n_best = best_triggers(begin, stop, triggers, trigger_scores, n_items, scores, ages)
        n_reached = _reach(
            triggers, stop - 1, scores, ages[:n_best], targets, similarities, k, depth, parts, slots, items, sums
        )
        out_reached[row] = n_reached
        listed = mask_items[mask_offsets[row] : mask_offsets[row + 1]] if mode != REFUSE_NONE else mask_items[:0]
        if n_reached:
            _refuse(listed, mode, catalogue, slots, items, n_reached, is_refused)
            out_sizes[row] = _best(
                items[:n_reached],
                sums[:n_reached],
                is_refused,
                users[row],
                vectors,
                codes,
                steps,
                residual,
                estimates,
                out_items[row],
                out_scores[row],
            )
        elif users.shape[1]:
            refused = np.full(n_items, mode == ALLOW_LISTED)
            for at in range(len(listed)):
                if 0 <= listed[at] < n_items:
                    refused[listed[at]] = mode == REFUSE_LISTED
            for item in range(n_items if len(catalogue) else 0):
                refused[item] |= item >= len(catalogue) or not catalogue[item]
            out_sizes[row] = _best(
                np.arange(n_items).astype(np.int32),
                np.zeros(n_items),
                refused,
                users[row],
                vectors,
                codes,
                steps,
                residual,
                np.empty(n_items, np.float32),
                out_items[row],
                out_scores[row],
            )
        else:
            out_sizes[row] = 0
