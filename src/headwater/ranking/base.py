"""The Ranker seam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class Ranker(Protocol):
    """Puts the candidates of all channels on one scale."""

    @property
    def name(self) -> str: ...

    def score(self, queries: Queries, candidates: Candidates) -> NDArray[np.float32]:
        """(len(candidates),) higher is better; comparable within one query."""
        ...
