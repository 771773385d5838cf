"""Continuous features as levels that can be embedded: quantile bins, what is missing, below and above."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 1 << 18
"""Values that quantiles are taken of, at most."""


def quantile_borders(
    values: NDArray[np.floating], bins: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Borders of `bins` bins of nearly equal weight, the least and the greatest value among them, ascending.

    Fewer where values repeat; nan does not count. Without any value there is one border at 0. Of millions of
    values evenly spaced ones stand for all, but for the least and the greatest.
    """
    known = np.isfinite(values)
    if not known.all():
        values, weights = values[known], None if weights is None else weights[known]
    if not len(values):
        return np.zeros(1, np.float32)
    ends = values.min(), values.max()
    every = -(-len(values) // SAMPLE)
    values, weights = values[::every], None if weights is None else weights[::every]
    order = np.argsort(values, kind="stable")
    values = values[order]
    total = np.cumsum(np.ones(len(values)) if weights is None else weights[order].astype(np.float64))
    at = np.searchsorted(total, total[-1] * np.arange(1, bins) / bins)
    return np.unique(np.array([ends[0], *values[at], ends[1]], np.float32))


def bin_levels(values: NDArray[np.floating], borders: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0 for nan, 1 below the first border, 2, … for the bins, and one more above the last border."""
    values = values.astype(np.float32, copy=False)
    levels = np.searchsorted(borders[1:-1], values, "right").astype(np.uint8)
    levels += 2
    levels[values < borders[0]] = 1
    levels[values > borders[-1]] = n_levels(borders) - 1
    levels[np.isnan(values)] = 0
    return levels


def n_levels(borders: NDArray[np.float32]) -> int:
    """Levels that `bin_levels` can give."""
    return 3 + max(len(borders) - 1, 1)
