"""The inner loop of MF's fit, compiled: one regularised least squares problem for each user or item."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled


@compiled()
def _add_outer(system, vector):
    """Add vector ⊗ vector to the upper triangle."""
    size = len(vector)
    for row in range(size):
        scale, line = vector[row], system[row]
        for column in range(row, size):
            line[column] += scale * vector[column]


@compiled()
def _solve_in_place(system, right):
    """Solve by UᵀU, the upper triangle of `system` overwritten with U and `right` with the solution."""
    size = len(right)
    for pivot in range(size):
        line = system[pivot]
        root = np.sqrt(line[pivot])
        for column in range(pivot, size):
            line[column] /= root
        right[pivot] /= root
        for row in range(pivot + 1, size):
            scale, below = line[row], system[row]
            for column in range(row, size):
                below[column] -= scale * line[column]
            right[row] -= scale * right[pivot]
    for row in range(size - 1, -1, -1):
        total = right[row]
        for column in range(row + 1, size):
            total -= system[row, column] * right[column]
        right[row] = total / system[row, row]


@compiled("void(i8, i8, i8[::1], i4[::1], f4[:,::1], f4[:,::1], f8, f8, f8, f4[:,::1])")
def solve_rows(start, stop, offsets, others, fixed, gram, strength, unobserved, exponent, out_solved):
    """Set rows start..stop of `out_solved`; `gram` is unobserved x fixedᵀ fixed. Rows without an entry become 0."""
    size = fixed.shape[1]
    system = np.empty((size, size), np.float32)
    for row in range(start, stop):
        right = out_solved[row]
        right[:] = 0.0
        count = offsets[row + 1] - offsets[row]
        if count == 0:
            continue
        system[:] = gram
        penalty = np.float32(strength * (count + unobserved * len(fixed)) ** exponent)
        for diagonal in range(size):
            system[diagonal, diagonal] += penalty
        for at in range(offsets[row], offsets[row + 1]):
            vector = fixed[others[at]]
            _add_outer(system, vector)
            for place in range(size):
                right[place] += vector[place]
        _solve_in_place(system, right)
