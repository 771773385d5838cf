"""How many items each cluster gives to a list (section 2.2): M_k = M · p_k^α / Σ p^α, as whole numbers that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_CHANCE = 1e-12
"""A smaller p counts as this much, so that its logarithm is finite."""


def quotas(chances: NDArray[np.floating], rooms: NDArray[np.integer], total: int, alpha: float) -> NDArray[np.int64]:
    """Whole quotas of every cluster, for each user.

    First M_k = min(room_k, λ p_k^α) with λ such that they sum to `total`, or to all the room where that is less: what
    a cluster cannot give goes to the others by p^α. Then each is rounded once, by largest remainder. Rounding before
    what is left over is given away would let the quota of the most likely cluster fall as α rises.

    Parameters
    ----------
    chances : (n, K)
        p of each cluster, from the intent model; they need not sum to 1.
    rooms : (n, K)
        Items that each cluster can give to the user.
    total : int
        M.
    alpha : float
        0: all clusters alike; 1: by chance; the higher, the more goes to the most likely one.

    Returns
    -------
    (n, K) int64
        Each row sums to min(M, its room); none is above its room. With α rising, that of a row's most likely cluster
        never falls.

    Raises
    ------
    ConfigError
        α is negative or not finite, or a chance is.
    """
    require_alpha(alpha)
    if not (np.isfinite(chances).all() and (chances >= 0).all()):
        raise ConfigError(
            "chances of clusters must be finite and not negative; was the intent model trained to the end?"
        )
    rooms = np.asarray(rooms, np.int64)
    if not chances.size:
        return np.zeros(rooms.shape, np.int64)
    weights = alpha * np.log(np.maximum(chances, LEAST_CHANCE).astype(np.float64))
    shares = _shares(weights, rooms, np.minimum(rooms.sum(1), total))
    return _rounded(shares)


def require_alpha(alpha: float) -> None:
    """Raises `ConfigError` where α is no exponent for quotas."""
    if not (np.isfinite(alpha) and alpha >= 0):
        raise ConfigError(f"alpha must be 0 or more and finite, not {alpha}; 0 gives every cluster the same")


def _shares(weights: NDArray[np.float64], rooms: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, K) min(room, λ e^weight) that sum to `totals`: clusters fill up one after the other, most loaded first."""
    shares = np.zeros(weights.shape)
    is_open = rooms > 0
    left = totals.astype(np.float64)
    while True:
        # Relative to the highest that is still open: p^α of the others may be 0 in float64.
        highest = np.max(weights, axis=1, where=is_open, initial=-np.inf)
        parts = np.where(
            is_open, np.exp(np.minimum(weights - np.where(is_open.any(1), highest, 0.0)[:, None], 0.0)), 0.0
        )
        wanted = left[:, None] * parts / np.maximum(parts.sum(1), 1e-300)[:, None]
        is_full = is_open & (wanted >= rooms)
        if not is_full.any():
            return np.where(is_open, wanted, shares)
        shares[is_full] = rooms[is_full]
        left -= np.where(is_full, rooms, 0).sum(1)
        is_open &= ~is_full


def _rounded(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers with the same row sums by largest remainder; of equal remainders the larger share's goes first."""
    whole = np.floor(shares + 1e-9).astype(np.int64)
    missing = np.rint(shares.sum(1)).astype(np.int64) - whole.sum(1)
    order = np.lexsort((-shares, -np.round(shares - whole, 9)), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(shares.shape[1])[None], axis=1)
    return whole + (places < missing[:, None])
