"""Which items compete with a held-out target: all unseen ones, or a seeded sample of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FullRanking:
    """Every item that is not in the query's history competes. The default, and the only one without a bias."""

    @property
    def name(self) -> str:
        """Printed with every result."""
        return "full ranking over unseen items"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SampledNegatives:
    """The targets compete with `n` items that the user never interacted with, drawn uniformly.

    The protocol of NCF (He et al., "Neural collaborative filtering", WWW 2017, section 4.1). Sampled figures are
    far higher than full ones and can order systems differently (Krichene and Rendle, KDD 2020), so they are only
    comparable with other sampled figures.

    Attributes
    ----------
    n : int
        Negatives for each query; where a user has fewer items without interaction, all of them.
    seed : int
        The same seed, queries and catalogue draw the same negatives.
    """

    n: int = 99
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"at least 1 negative is needed, not {self.n}")

    @property
    def name(self) -> str:
        """Printed with every result."""
        return f"{self.n} sampled negatives, uniform, seed {self.seed}"

    def __str__(self) -> str:
        return self.name

    def draw(
        self, offsets: NDArray[np.integer], interacted: NDArray[np.integer], n_items: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Negatives of each query, exact and without a loop over users.

        Parameters
        ----------
        offsets : (n + 1,)
            CSR over the queries.
        interacted : (interactions,)
            Item codes that each query's user interacted with at any time, the targets among them; in any order,
            repeats allowed.
        n_items : int
            Size of the catalogue that is drawn from.

        Returns
        -------
        offsets : (n + 1,) int64
        items : int32
            CSR: distinct items per query, ascending, none of them interacted with.
        """
        rows = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
        listed = np.unique(rows * n_items + interacted)
        rows = listed // n_items
        room = n_items - np.bincount(rows, minlength=len(offsets) - 1)
        sizes = np.minimum(self.n, room)
        places = _distinct_integers(np.random.default_rng(self.seed), room, sizes)
        outside = nth_outside(rows, listed % n_items, np.repeat(np.arange(len(sizes)), sizes), places)
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), outside.astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class ListedNegatives:
    """The targets compete with the items that are listed for each query: negatives that were published with the data.

    Attributes
    ----------
    offsets : (n + 1,) int64
        CSR over the queries, each of which has at least one.
    items : int32
        Item codes.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]

    def __post_init__(self) -> None:
        if (np.diff(self.offsets) < 1).any():
            raise ValueError("every query needs a listed negative: its targets would have no rival")

    @property
    def name(self) -> str:
        """Printed with every result."""
        sizes = np.unique(np.diff(self.offsets)).tolist()
        return (
            f"{'-'.join(str(size) for size in (sizes if len(sizes) < 3 else [sizes[0], sizes[-1]]))} listed negatives"
        )

    def __str__(self) -> str:
        return self.name


Protocol = FullRanking | SampledNegatives | ListedNegatives


def nth_outside(
    listed_rows: NDArray[np.integer],
    listed: NDArray[np.integer],
    rows: NDArray[np.integer],
    places: NDArray[np.integer],
) -> NDArray[np.int64]:
    """The number at place p (from 0) among the non-negative integers that a row does not list.

    With b_j = (j-th listed number) - j, which counts the unlisted numbers below it, the answer is
    p + |{j: b_j <= p}|: one binary search, however long the lists.

    Parameters
    ----------
    listed_rows, listed : (l,)
        What each row lists: sorted by row, then number; distinct within a row.
    rows, places : (m,)
        What is asked.
    """
    listed_rows = np.asarray(listed_rows, np.int64)
    starts = np.searchsorted(listed_rows, rows)
    first = np.searchsorted(listed_rows, listed_rows)
    below = listed - (np.arange(len(listed)) - first)
    width = int(max(below.max(initial=0), places.max(initial=0))) + 1
    passed = np.searchsorted(listed_rows * width + below, np.asarray(rows, np.int64) * width + places, side="right")
    return places + passed - starts


def _distinct_integers(
    rng: np.random.Generator, room: NDArray[np.integer], sizes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """For each row `sizes` distinct integers below `room`, ascending, every subset equally likely; flat by row.

    Floyd's algorithm (Bentley and Floyd, CACM 1987) for all rows at once: step t draws from 0..j with
    j = room - size + t, and takes j itself where the draw was taken before. The loop is over the sample size.
    """
    longest = int(sizes.max(initial=0))
    taken = np.full((len(sizes), longest), np.iinfo(np.int64).max)
    for step in range(longest):
        active = np.flatnonzero(step < sizes)
        top = (room - sizes)[active] + step
        draw = rng.integers(0, top + 1)
        is_repeat = (taken[active, :step] == draw[:, None]).any(axis=1)
        taken[active, step] = np.where(is_repeat, top, draw)
    taken.sort(axis=1)
    return taken[np.arange(longest) < sizes[:, None]]
