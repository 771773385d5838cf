"""EASE: the linear item-to-item model with a closed form, hard to beat on dense data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig
from headwater.retrieval.classic.incidence import Incidence
from headwater.retrieval.classic.similarities import DenseSimilarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ITEMS_IN_DOUBLE = 20_000
"""Above, the Gram matrix is inverted in float32: at 20,000 items it takes 3 GiB in float64, and the result 1.5."""

MOST_ITEMS = 40_000
"""Above, the matrix alone takes more than 6 GiB, and the service would hold it."""

COLUMNS_AT_ONCE = 1_024


class EASEConfig(AdditiveConfig):
    """Settings of `EASE`."""

    kind: Literal["ease"] = "ease"
    """Names the channel class in a recipe."""

    name: str = "ease"
    """Name in candidates and reasons; one channel of a name in a service."""

    regularisation: float = Field(default=500.0, gt=0)
    """λ, added to each item's number of users (100..2,000 on ML-1M; in smaller units where `user_exponent` > 0).
    More pulls towards co-occurrence, less fits rare items to few users."""

    user_exponent: float = Field(default=0.0, ge=0, le=2)
    """A user with n items counts n^-exponent in the squared error: 0 all alike, as in the paper."""


class EASE(AdditiveChannel[DenseSimilarities]):
    """Every item's column is regressed on all others (Steck, "Embarrassingly shallow autoencoders", WWW 2019).

    min_B Σ_u n_u^-γ ‖x_u − x_u B‖² + λ ‖B‖²  with diag(B) = 0, solved by eq. 8:

        P = (XᵀWX + λI)⁻¹,    B_ij = −P_ij / P_jj for i ≠ j

    with W = diag(n_u^-γ), γ `user_exponent`, λ `regularisation`. score(u, i) = Σ_j w_j B_ji over the history,
    w_j = 2^(-age_j / half_life). Entries may be negative: an item that is chosen instead of another speaks
    against it. Items that nobody had in training are never returned.

    Parameters
    ----------
    config : EASEConfig
    """

    kind: ClassVar[str] = "ease"
    config_class: ClassVar = EASEConfig
    model_class: ClassVar = DenseSimilarities
    config: EASEConfig

    def fit(self, data: Dataset, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Invert the Gram matrix: time grows with items³ (1 s for 3,706), memory with items².

        `validate` is not needed, since nothing is iterated.

        Raises
        ------
        ConfigError
            There are more than `MOST_ITEMS` items; the message names the memory that they would take.
        """
        n_items = len(data.items)
        if n_items > MOST_ITEMS:
            raise ConfigError(
                f"EASE holds a dense matrix of items × items, {2 * 4 * n_items**2 / 2**30:,.0f} GiB while fitting "
                f"{n_items:,} items of {data.name}; its limit is {MOST_ITEMS:,} items. Leave out rare items "
                "(Dataset.with_frequent_items), or use slim or itemcf, which are sparse"
            )
        self._restore(DenseSimilarities(self._weights_matrix(data)), data.items.fingerprint())
        return self

    def _weights_matrix(self, data: Dataset) -> NDArray[np.float32]:
        """(items, items) B, float32; row j is what trigger j adds to each target."""
        from scipy.linalg import get_lapack_funcs

        matrix = data.matrix()
        n_items = len(data.items)
        if not n_items:
            return np.zeros((0, 0), np.float32)
        precision = np.float64 if n_items <= MOST_ITEMS_IN_DOUBLE else np.float32
        weights = Incidence.of(matrix).user_weights(self.config.user_exponent / 2).astype(precision)
        weighted = matrix.astype(precision)
        weighted.data *= np.repeat(weights, np.diff(matrix.indptr))
        by_item, transposed = weighted.tocsc(), weighted.T.tocsr()
        # Fortran order, filled a few columns at a time and overwritten from here on: one matrix, not three.
        gram = np.empty((n_items, n_items), precision, order="F")
        for start in range(0, n_items, COLUMNS_AT_ONCE):
            columns = slice(start, start + COLUMNS_AT_ONCE)
            gram[:, columns] = (transposed @ by_item[:, columns]).toarray()
        gram.flat[:: n_items + 1] += self.config.regularisation
        factor, invert = get_lapack_funcs(("potrf", "potri"), (gram,))
        # In Fortran order `lower` fills the lower triangle; the other one keeps what it was, and is mirrored below.
        cholesky, failed = factor(gram, lower=1, overwrite_a=1)
        inverse, failed_too = invert(cholesky, lower=1, overwrite_c=1)
        if failed or failed_too:
            raise ConfigError(
                f"ease: regularisation {self.config.regularisation:g} is too small for {data.name}: its Gram "
                "matrix is singular in this precision; raise it"
            )
        solution = np.empty((n_items, n_items), np.float32)
        diagonal = np.diag(inverse).copy()
        for item in range(n_items):
            solution[item, :item] = inverse[item, :item]
            solution[item, item:] = inverse[item:, item]
        solution /= -diagonal.astype(np.float32)
        solution.flat[:: n_items + 1] = 0.0
        solution[:, data.item_counts == 0] = 0.0  # exactly, also where a row is -0.0
        return solution
