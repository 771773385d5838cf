"""The inner loop of SLIM's fit, compiled: coordinate descent for one target's column over the Gram matrix."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled


@compiled()
def _sweep(listed, size, lasso, ridge, diagonal, residual, weight, offsets, items, values):
    """One pass of coordinate descent over the listed triggers; returns the largest change."""
    largest = 0.0
    for index in range(size):
        trigger = listed[index]
        before = weight[trigger]
        gain = residual[trigger] + diagonal[trigger] * before - lasso
        after = gain / (diagonal[trigger] + ridge) if gain > 0.0 else 0.0
        change = after - before
        if change != 0.0:
            weight[trigger] = after
            for at in range(offsets[trigger], offsets[trigger + 1]):
                residual[items[at]] -= change * values[at]
            largest = max(largest, abs(change))
    return largest


@compiled("void(i8, i8, i8[::1], i4[::1], f4[::1], f8[::1], f8, f8, f8, i8, i4[:,::1], f4[:,::1], i8[::1])")
def sparse_columns(
    start,
    stop,
    offsets,
    items,
    values,
    diagonal,
    lasso,
    ridge,
    tolerance,
    most_sweeps,
    out_triggers,
    out_weights,
    out_sizes,
):
    """Fill rows 0..stop - start with the non-zero weights of the targets start..stop, in ascending trigger."""
    n_items = len(offsets) - 1
    residual = np.zeros(n_items, np.float64)
    weight = np.zeros(n_items, np.float64)
    listed = np.empty(n_items, np.int32)
    active = np.empty(n_items, np.int32)
    for target in range(start, stop):
        # Gram entries and weights are not negative, so a residual only falls: a trigger that co-occurs with the
        # target no more often than the lasso's price can never enter. This screening is exact.
        n_listed = 0
        residual[:] = 0.0
        for at in range(offsets[target], offsets[target + 1]):
            trigger = items[at]
            residual[trigger] = values[at]
            if trigger != target and values[at] > lasso:
                listed[n_listed] = trigger
                n_listed += 1
        sweeps = 0
        while sweeps < most_sweeps:
            change = _sweep(listed, n_listed, lasso, ridge, diagonal, residual, weight, offsets, items, values)
            sweeps += 1
            if change <= tolerance:
                break
            # Most of the work is done on the few weights that are not zero; then all are looked at again.
            n_active = 0
            for index in range(n_listed):
                if weight[listed[index]] > 0.0:
                    active[n_active] = listed[index]
                    n_active += 1
            while sweeps < most_sweeps:
                change = _sweep(active, n_active, lasso, ridge, diagonal, residual, weight, offsets, items, values)
                sweeps += 1
                if change <= tolerance:
                    break
        size = 0
        for index in range(n_listed):
            trigger = listed[index]
            if np.float32(weight[trigger]) > 0.0:
                out_triggers[target - start, size] = trigger
                out_weights[target - start, size] = np.float32(weight[trigger])
                size += 1
            weight[trigger] = 0.0
        out_sizes[target - start] = size
