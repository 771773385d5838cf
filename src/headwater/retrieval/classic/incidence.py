"""Who chose what, both ways: what the fits of the counting channels run over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Incidence:
    """Users × items as CSR by user and by item; distinct pairs, ascending in each row.

    Attributes
    ----------
    user_offsets, user_items : (users + 1,) int64, (pairs,) int32
    item_offsets, item_users : (items + 1,) int64, (pairs,) int32
    """

    user_offsets: NDArray[np.int64]
    user_items: NDArray[np.int32]
    item_offsets: NDArray[np.int64]
    item_users: NDArray[np.int32]

    @classmethod
    def of(cls, matrix: sp.csr_array) -> Incidence:
        """Of a users × items matrix with sorted rows, such as `Dataset.matrix` gives."""
        items = matrix.tocsc()
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            items.indptr.astype(np.int64),
            items.indices.astype(np.int32),
        )

    @property
    def n_items(self) -> int:
        return len(self.item_offsets) - 1

    @property
    def user_lengths(self) -> NDArray[np.int64]:
        """(users,) distinct items of each user."""
        return np.diff(self.user_offsets)

    def user_weights(self, exponent: float) -> NDArray[np.float64]:
        """(users,) n_u^-exponent; 1 for a user without an item, whom nothing sums over."""
        return np.maximum(self.user_lengths, 1) ** -exponent
