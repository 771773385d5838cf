"""What is true of items and users, and hidden: no ranker, channel or candidate source may import this (a test asserts).

Behaviour is made of it, and what can be seen of it is only what users do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemLatents:
    """The items' hidden side, by code.

    Attributes
    ----------
    vectors : (items, d) float32
        Of length 1.
    quality : (items,) float32
        In standard deviations.
    look_vectors : (categories * styles, d) float32
        Of length 1: what an item of that look points at, on the whole.
    """

    vectors: NDArray[np.float32]
    quality: NDArray[np.float32]
    look_vectors: NDArray[np.float32]


@dataclass
class UserLatents:
    """The users' hidden side, by code; tastes move from day to day (`drifted`).

    Attributes
    ----------
    tastes : (users, t, d) float32
        Of length 1.
    looks : (users, t) int32
        The category and style, in one number, that each taste came from.
    price_levels : (users,) float32
        The log price that a user aims at, beside a category's own.
    sensitivities : (users,) float32
        Above 0, 1 on the whole.
    rates : (users,) float64
        Sessions a day.
    """

    tastes: NDArray[np.float32]
    looks: NDArray[np.int32]
    price_levels: NDArray[np.float32]
    sensitivities: NDArray[np.float32]
    rates: NDArray[np.float64]

    def drifted(
        self, items: ItemLatents, likely: NDArray[np.float64], *, drift: float, new_taste: float, seed: list[int]
    ) -> UserLatents:
        """The same users a day later: each taste took a small step, and a few gave way to others.

        Parameters
        ----------
        likely : (categories * styles,) float64
            How likely a new taste is of each look; sums to 1.
        drift, new_taste : float
            See `WorldConfig`.
        seed : list of int
            Of this day.
        """
        random = np.random.default_rng(seed)
        looks = self.looks.copy()
        is_new = random.random(looks.shape) < new_taste
        tastes = self.tastes + np.float32(drift) * random.standard_normal(self.tastes.shape, np.float32)
        looks[is_new] = random.choice(len(likely), int(is_new.sum()), p=likely)
        tastes[is_new] = items.look_vectors[looks[is_new]]
        return UserLatents(unit(tastes), looks, self.price_levels, self.sensitivities, self.rates)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The same directions with length 1 along the last axis."""
    lengths = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
