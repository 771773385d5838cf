"""The inner loops of TrigNet and SimNet as arrays, compiled: everything but the matrix products."""

from __future__ import annotations

import numba
import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled

_I4, _I8, _F4, _U1 = numba.int32, numba.int64, numba.float32, numba.uint8


def _read(dtype, ndim=1):
    return numba.types.Array(dtype, ndim, "C", readonly=True)


@compiled(
    numba.void(
        *(_read(_I4), _read(_I4), _read(_F4, 2), _read(_F4, 2)),
        *(_read(_F4, 2), _read(_I8), _U1[:, ::1], _F4, _F4[:, ::1]),
    ),
    fastmath={"contract"},
)
def first_layer(triggers, targets, by_trigger, by_target, by_level, level_offsets, levels, slope, out_hidden):
    """LeakyReLU of the sum of the rows that each pair reads: its trigger's, its target's and one of each measure.

    One pass over what several gathers and sums would write and read again.
    """
    for pair in range(len(triggers)):
        hidden, trigger, target = out_hidden[pair], by_trigger[triggers[pair]], by_target[targets[pair]]
        for at in range(len(hidden)):
            hidden[at] = trigger[at] + target[at]
        for measure in range(levels.shape[1]):
            row = by_level[level_offsets[measure] + levels[pair, measure]]
            for at in range(len(hidden)):
                hidden[at] += row[at]
        for at in range(len(hidden)):
            hidden[at] = max(hidden[at], np.float32(0)) + slope * min(hidden[at], np.float32(0))


@compiled(numba.void(_F4[:, ::1], _read(_F4), _F4), fastmath={"contract"})
def next_layer(hidden, bias, slope):
    """LeakyReLU of products with the bias added, in place."""
    for row in range(len(hidden)):
        own = hidden[row]
        for at in range(len(own)):
            value = own[at] + bias[at]
            own[at] = max(value, np.float32(0)) + slope * min(value, np.float32(0))


@compiled(numba.void(_read(_I4), _read(_I4), _read(_I8), _read(_I4), _read(_U1, 2), _U1[:, :]))
def find_levels(triggers, targets, offsets, others, levels, out_levels):
    """The levels of each pair from a CSR by trigger, ascending by target; 0 where it does not hold the pair."""
    for pair in range(len(triggers)):
        target = targets[pair]
        low, high = offsets[triggers[pair]], offsets[triggers[pair] + 1]
        stop = high
        while low < high:
            middle = (low + high) >> 1
            if others[middle] < target:
                low = middle + 1
            else:
                high = middle
        is_found = low < stop and others[low] == target
        for measure in range(levels.shape[1]):
            out_levels[pair, measure] = levels[low, measure] if is_found else np.uint8(0)


@compiled(numba.void(_read(_I4), _read(_I4, 2), _read(_F4, 3), _I4[::1], _F4[::1]), fastmath={"contract"})
def add_counts(triggers, codes, table, counts, out_hidden):
    """Add what the values that stand in a history give to a first layer: a row for each doubling of their counts.

    `codes` are each item's values, 0 where it has none; `counts` is 0 for every value, before and after.
    """
    for trigger in triggers:
        for value in codes[trigger]:
            if value > 0:
                counts[value] += 1
                n = counts[value]
                if n & (n - 1) == 0:  # 1, 2, 4, …: the next level is reached
                    level = 0
                    while n > 1:
                        n >>= 1
                        level += 1
                    if level < table.shape[0]:
                        row = table[level, value]
                        for at in range(len(out_hidden)):
                            out_hidden[at] += row[at]
    for trigger in triggers:
        for value in codes[trigger]:
            counts[value] = 0
