"""The inner loop of MF's fit, compiled: one regularised least squares problem for each user or item.

Loops run over slices from 0 on, because only then does the compiler know that no index is negative, and makes vector
instructions of them: ten times as fast.
"""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled


@compiled()
def _add_outer_products(system, first, second, third, fourth):
    """Add v ⊗ v of four vectors to the upper triangle; four at a time, for each pass reads and writes it once."""
    for row in range(len(first)):
        by_first, by_second, by_third, by_fourth = first[row], second[row], third[row], fourth[row]
        line = system[row, row:]
        one, two, three, four = first[row:], second[row:], third[row:], fourth[row:]
        for at in range(len(line)):
            line[at] += by_first * one[at] + by_second * two[at] + by_third * three[at] + by_fourth * four[at]


@compiled()
def _solve_in_place(system, right):
    """Solve by UᵀU, the upper triangle of `system` overwritten with U and `right` with the solution."""
    size = len(right)
    for pivot in range(size):
        line = system[pivot, pivot:]
        scale = np.float32(1.0) / np.sqrt(line[0])
        for at in range(len(line)):
            line[at] *= scale
        right[pivot] *= scale
        for row in range(pivot + 1, size):
            below, beside = system[row, row:], system[pivot, row:]
            factor = beside[0]
            for at in range(len(below)):
                below[at] -= factor * beside[at]
            right[row] -= factor * right[pivot]
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
    nothing = np.zeros(size, np.float32)
    for row in range(start, stop):
        right = out_solved[row]
        right[:] = 0.0
        begin, end = offsets[row], offsets[row + 1]
        if begin == end:
            continue
        system[:] = gram
        penalty = np.float32(strength * (end - begin + unobserved * len(fixed)) ** exponent)
        for diagonal in range(size):
            system[diagonal, diagonal] += penalty
        for at in range(begin, end, 4):
            first = fixed[others[at]]
            second = fixed[others[at + 1]] if at + 1 < end else nothing
            third = fixed[others[at + 2]] if at + 2 < end else nothing
            fourth = fixed[others[at + 3]] if at + 3 < end else nothing
            _add_outer_products(system, first, second, third, fourth)
            for place in range(size):
                right[place] += first[place] + second[place] + third[place] + fourth[place]
        _solve_in_place(system, right)
