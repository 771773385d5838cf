"""SLIM: a sparse linear item-to-item model, each item's column fitted by elastic net."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig
from headwater.retrieval.classic.similarities import SparseSimilarities

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SLIMConfig(AdditiveConfig):
    """Settings of `SLIM`."""

    kind: Literal["slim"] = "slim"
    """Names the channel class in a recipe."""

    name: str = "slim"
    """Name in candidates and reasons; one channel of a name in a service."""

    l1: float = Field(default=20.0, ge=0)
    """Price of a weight, in users: a trigger must share more than so many users with the target, beyond what other
    triggers explain (5..100 on ML-1M; 1 or less on sparse data). More makes the model sparser and the fit faster."""

    l2: float = Field(default=200.0, gt=0)
    """Price of a squared weight, in users (50..1,000 on ML-1M). More shares a weight out among similar triggers."""

    tolerance: float = Field(default=1e-3, gt=0)
    """A column is done when no weight moves by more; weights are at most about 1, and the strong ones about .1."""

    sweeps: int = Field(default=200, ge=1)
    """A column is left after so many passes at the latest."""


class SLIM(AdditiveChannel[SparseSimilarities]):
    """Sparse linear methods for top-N recommendation (Ning and Karypis, ICDM 2011, eq. 3), inductive.

    min_W ½ ‖X − XW‖² + β/2 ‖W‖² + λ ‖W‖₁  with W ≥ 0 and diag(W) = 0; λ `l1`, β `l2`.

    score(u, i) = Σ_j w_j W_ji over the history, w_j = 2^(-age_j / half_life). Items with a score of zero are not
    returned. Columns are independent; each is fitted by coordinate descent over the Gram matrix of X (Friedman,
    Hastie and Tibshirani, 2010), so that the number of users does not matter once that is counted.

    Parameters
    ----------
    config : SLIMConfig
    """

    kind: ClassVar[str] = "slim"
    config_class: ClassVar = SLIMConfig
    model_class: ClassVar = SparseSimilarities
    config: SLIMConfig

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Fit every item's column. The result does not depend on `threads` (all cores by default).

        Memory grows with the pairs of items that co-occur (8 bytes each), which on a large catalogue are few of
        all. `validate` is not needed: each column's problem is convex and solved.
        """
        from headwater.retrieval.classic import slim_kernels as kernels

        matrix = data.matrix()
        gram = (matrix.T @ matrix).tocsr()
        gram.sort_indices()
        offsets, items = gram.indptr.astype(np.int64), gram.indices.astype(np.int32)
        values = gram.data.astype(np.float32)
        users_of_item = np.asarray(gram.diagonal(), np.float64)

        def columns(
            start: int,
            stop: int,
            triggers: NDArray[np.int32],
            weights: NDArray[np.float32],
            sizes: NDArray[np.int64],
        ) -> None:
            kernels.sparse_columns(
                start,
                stop,
                offsets,
                items,
                values,
                users_of_item,
                self.config.l1,
                self.config.l2,
                self.config.tolerance,
                self.config.sweeps,
                triggers,
                weights,
                sizes,
            )

        widest = int(np.diff(offsets).max(initial=0))
        model = SparseSimilarities.by_target(len(data.items), widest, columns, threads=threads)
        return self._restore(model, data.items.fingerprint())
