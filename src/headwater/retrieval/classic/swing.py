"""SWING: two items are close where pairs of users agree on both and on little else."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig
from headwater.retrieval.classic.incidence import Incidence
from headwater.retrieval.classic.similarities import SparseSimilarities

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

BYTES_FOR_SUMS = 1 << 30
"""Memory of the pair sums, all threads together: the catalogue is fitted in as many parts as that needs."""

ROWS_PER_BLOCK = 256


class SWINGConfig(AdditiveConfig):
    """Settings of `SWING`."""

    kind: Literal["swing"] = "swing"
    """Names the channel class in a recipe."""

    name: str = "swing"
    """Name in candidates and reasons; one channel of a name in a service."""

    neighbours: int = Field(default=100, ge=1)
    """Triggers kept for each item, the most similar ones (20..400)."""

    smoothing: float = Field(default=1.0, ge=0)
    """α, added to the number of items that a pair of users shares (0..20). More evens out how much a pair with
    little in common counts beside one with much."""

    user_exponent: float = Field(default=0.5, ge=0, le=2)
    """A user with n items counts n^-exponent in each of his pairs; 0 all alike, as the formula was first given;
    0.5 is the usual weight 1/√n."""

    target_exponent: float = Field(default=1.0, ge=0, le=2)
    """How much the recommended item's number of users divides the sum: 0 the published formula, which on dense
    data returns little but popular items, since their pairs of users grow with the square of their users."""

    users_per_item: int | None = Field(default=None, ge=2)
    """An item with more users is represented by so many of them, drawn once with `seed`, in all that is counted;
    none: all. The time of a fit grows with its square (500..2,000 for a catalogue of 100,000 items or more)."""

    seed: int = Field(default=0, ge=0)
    """Of the drawn users."""


class SWING(AdditiveChannel[SparseSimilarities]):
    """Similarity by swings (Yang, Zhu, Zhang et al., "Large scale product graph construction for recommendation
    in e-commerce", 2020, eq. 4), inductive.

    score(u, i) = Σ_j w_j sim(j, i) over the history, with w_j = 2^(-age_j / half_life), age in events, and

        sim(j, i) = |U_i|^-β Σ_{u < v in U_i ∩ U_j} |I_u|^-γ |I_v|^-γ / (α + |I_u ∩ I_v|)

    U_i the users of item i, I_u the items of user u, α `smoothing`, β `target_exponent`, γ `user_exponent`;
    β = γ = 0 is the paper's. Items with a score of zero are not returned.

    Parameters
    ----------
    config : SWINGConfig
    """

    kind: ClassVar[str] = "swing"
    config_class: ClassVar = SWINGConfig
    model_class: ClassVar = SparseSimilarities
    config: SWINGConfig

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Sum over all pairs of users. The result does not depend on `threads` (all cores by default).

        Time grows with Σ_{u < v} |I_u ∩ I_v| min(|I_u|, |I_v|), a few seconds on ML-1M; the sums take 1 GiB at
        most. `validate` is not needed, since nothing is iterated.
        """
        from headwater.retrieval.classic import swing_kernels as kernels

        chosen = data.matrix()
        lengths = np.diff(chosen.indptr)
        if self.config.users_per_item is not None:
            chosen = _sampled(chosen, self.config.users_per_item, self.config.seed)
        # Each pair is met at its first user: the shorter history, in which what both share is dense.
        order = np.argsort(np.diff(chosen.indptr), kind="stable")
        pairs = Incidence.of(chosen[order])
        user_weights = np.maximum(lengths[order], 1) ** -self.config.user_exponent
        target_norms = np.maximum(np.diff(pairs.item_offsets), 1) ** self.config.target_exponent
        n_items = pairs.n_items
        room = max(min(self.config.neighbours, n_items - 1), 1)
        workers = threads or os.cpu_count() or 1
        parts = max(workers, -(-8 * n_items**2 * workers // BYTES_FOR_SUMS))

        def part_of_items(part: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
            n_rows = len(range(part, n_items, parts))
            weights = np.zeros((n_rows, n_items))
            kernels.pair_weights(
                part,
                parts,
                pairs.user_offsets,
                pairs.user_items,
                pairs.item_offsets,
                pairs.item_users,
                user_weights,
                self.config.smoothing,
                weights,
            )
            triggers, similarities, sizes = [], [], np.empty(n_rows, np.int64)
            for start in range(0, n_rows, ROWS_PER_BLOCK):
                stop = min(start + ROWS_PER_BLOCK, n_rows)
                found = np.empty((stop - start, room), np.int32), np.empty((stop - start, room), np.float32)
                kernels.best_triggers(part, parts, start, stop, weights, target_norms, *found, sizes[start:stop])
                filled = np.arange(room) < sizes[start:stop, None]
                triggers.append(found[0][filled])
                similarities.append(found[1][filled])
            return (
                np.concatenate([np.zeros(0, np.int32), *triggers]),
                np.concatenate([np.zeros(0, np.float32), *similarities]),
                sizes,
            )

        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(part_of_items, range(parts)))
        # Part p holds items p, p + parts, …, so that popular items are shared out; back into the order of codes.
        targets = np.concatenate([np.arange(part, n_items, parts) for part in range(parts)])
        sizes = np.concatenate([sizes for _, _, sizes in found])
        order = np.argsort(np.repeat(targets, sizes), kind="stable")
        model = SparseSimilarities.from_rows(
            np.concatenate([triggers for triggers, _, _ in found])[order],
            np.concatenate([similarities for _, similarities, _ in found])[order],
            sizes[np.argsort(targets)],
        )
        return self._restore(model, data.items.fingerprint())


def _sampled(chosen: sp.csr_array, users_per_item: int, seed: int) -> sp.csr_array:
    """`chosen` with at most so many users for each item, every subset equally likely."""
    import scipy.sparse as sp

    pairs = chosen.tocoo()
    order = np.lexsort((np.random.default_rng(seed).random(pairs.nnz), pairs.col))
    items = pairs.col[order]
    rank = np.arange(len(items)) - np.searchsorted(items, items)
    kept = np.sort(order[rank < users_per_item])
    return sp.csr_array((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), shape=chosen.shape)
