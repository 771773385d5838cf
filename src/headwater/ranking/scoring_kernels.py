"""The inner loops of scoring candidates, compiled: everything but the matrix products."""

from __future__ import annotations

import numba
import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled

_I8, _F4 = numba.int64, numba.float32


def _read(dtype, ndim=1):
    return numba.types.Array(dtype, ndim, "C", readonly=True)


@compiled(numba.void(_read(_I8), _read(_F4, 2), _read(_F4, 2), _read(_F4, 2), _F4[:, :, ::1]), fastmath={"contract"})
def target_matrices(targets, items, key, product, out_matrices):
    """key + diag(q) product of each target: what its events meet in the activation unit."""
    for at in range(len(targets)):
        own, matrix = items[targets[at]], out_matrices[at]
        for row in range(len(own)):
            for column in range(key.shape[1]):
                matrix[row, column] = key[row, column] + own[row] * product[row, column]


@compiled(
    numba.void(_read(_I8), _F4[:, :, ::1], _read(_F4, 2), _read(_F4), _read(_F4), _F4, _F4[:, ::1]),
    fastmath={"contract", "reassoc", "nsz"},
)
def unit_outputs(targets, hidden, constants, slope, output, bias, out_weights):
    """w · PReLU(hidden + constant of the target) + b, of every event."""
    for at in range(len(targets)):
        constant = constants[targets[at]]
        for event in range(hidden.shape[1]):
            own, total = hidden[at, event], bias
            for unit in range(len(own)):
                value = own[unit] + constant[unit]
                total += output[unit] * (max(value, np.float32(0)) + slope[unit] * min(value, np.float32(0)))
            out_weights[at, event] = total


@compiled(numba.void(_F4[:, ::1], _read(_F4), _read(_F4)), fastmath={"contract"})
def add_and_rectify(hidden, bias, slope):
    """PReLU(hidden + bias), in place."""
    for row in range(len(hidden)):
        own = hidden[row]
        for unit in range(len(own)):
            value = own[unit] + bias[unit]
            own[unit] = max(value, np.float32(0)) + slope[unit] * min(value, np.float32(0))
