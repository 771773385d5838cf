"""The inner loops that cut behaviour sequences out of histories, compiled."""

from __future__ import annotations

import numba
import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled

_I4, _I8 = numba.int32, numba.int64


def _read(dtype, ndim=1):
    return numba.types.Array(dtype, ndim, "C", readonly=True)


@compiled(numba.void(_read(_I8), _read(_I8), _read(_I4), _I8, _I8[:, ::1]))
def fill_windows(starts, stops, items, n_items, out_rows):
    """Rows (1 + code) of the events starts[r]:stops[r], oldest first, and 0 behind them and for unknown items."""
    for row in range(len(starts)):
        width = min(stops[row] - starts[row], out_rows.shape[1])
        first = stops[row] - width
        for at in range(width):
            item = items[first + at]
            out_rows[row, at] = item + 1 if 0 <= item < n_items else 0
        for at in range(width, out_rows.shape[1]):
            out_rows[row, at] = 0


@compiled(numba.void(_read(_I8), _read(_I8), _read(_I4), _read(_I8), _read(_I4), _I8[:, ::1]))
def fill_searched(starts, stops, items, targets, values, out_rows):
    """Rows of the latest events of each slice whose value is the target's, newest first; 0 behind them.

    `targets` are rows, `values` is by row; the value 0 is none, and finds nothing.
    """
    n_rows, kept = len(values), out_rows.shape[1]
    for row in range(len(starts)):
        value, found = values[targets[row]], 0
        at = stops[row]
        while value != 0 and at > starts[row] and found < kept:
            at -= 1
            event = np.int64(items[at]) + 1
            if 0 < event < n_rows and values[event] == value:
                out_rows[row, found] = event
                found += 1
        out_rows[row, found:] = 0
