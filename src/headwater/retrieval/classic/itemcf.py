"""ItemCF: items that the same people chose as those of the history, by shrunk cosine of co-occurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig
from headwater.retrieval.classic.incidence import Incidence
from headwater.retrieval.classic.similarities import SparseSimilarities

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ItemCFConfig(AdditiveConfig):
    """Settings of `ItemCF`: how similar two items are, and how a history's items are weighed."""

    kind: Literal["itemcf"] = "itemcf"
    """Names the channel class in a recipe."""

    name: str = "itemcf"
    """Name in candidates and reasons; one channel of a name in a service."""

    neighbours: int = Field(default=100, ge=1)
    """Triggers kept for each item, the most similar ones (20..400). Keeping them per recommended item, not per
    trigger, lets rare items in: a popular item is near to every trigger, and would fill every trigger's list."""

    shrinkage: float = Field(default=0.0, ge=0)
    """Added to the denominator, against similarities that rest on few users (0..30 with `user_exponent` 0, where
    its unit is users; a few hundredths where long histories count little)."""

    target_exponent: float = Field(default=0.5, ge=0, le=1)
    """How much the recommended item's popularity divides the co-occurrence; the trigger's has the rest. 0.5 is
    the cosine; above it rarer items come up (Aiolli, 2013, calls it the asymmetric cosine)."""

    user_exponent: float = Field(default=0.0, ge=0, le=2)
    """A user with n items counts n^-exponent in the co-occurrence: 0 all alike, 1 histories of unit length
    (Deshpande and Karypis, 2004). A long history says less about any of its pairs."""

    power: float = Field(default=1.0, gt=0)
    """Each similarity is raised to it (0.5..3). Above 1 few strong triggers outweigh many weak ones."""


class ItemCF(AdditiveChannel[SparseSimilarities]):
    """Item-to-item collaborative filtering, inductive: any history is scored, no user needs to be known.

    score(u, i) = Σ_j w_j sim(j, i) over the history, with w_j = 2^(-age_j / half_life), age in events, and

        sim(j, i) = (Σ_{u ∋ i, j} n_u^-γ / (c_j^(1-β) c_i^β + λ))^q,    c_i = Σ_{u ∋ i} n_u^-γ

    n_u items of user u, γ `user_exponent`, β `target_exponent`, λ `shrinkage`, q `power`; γ = λ = 0, β = 1/2 and
    q = 1 give the cosine of Sarwar et al. (2001). sim is kept for the `neighbours` best j of each i.

    Items with a score of zero are not returned, so a history without a known item has no candidates.

    Parameters
    ----------
    config : ItemCFConfig
    """

    kind: ClassVar[str] = "itemcf"
    config_class: ClassVar = ItemCFConfig
    model_class: ClassVar = SparseSimilarities
    config: ItemCFConfig

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Find each item's nearest triggers. The result does not depend on `threads` (all cores by default).

        Time grows with Σ n_u² over users, memory with items x `neighbours` (8 bytes each, twice while fitting),
        never with items². `validate` is not needed, since nothing is iterated.
        """
        from headwater.retrieval.classic import itemcf_kernels as kernels

        chosen = Incidence.of(data.matrix())
        user_weights = chosen.user_weights(self.config.user_exponent)
        counts = np.bincount(chosen.user_items, np.repeat(user_weights, chosen.user_lengths), minlength=len(data.items))
        target_norms = counts**self.config.target_exponent
        trigger_norms = counts ** (1.0 - self.config.target_exponent)

        def nearest(
            start: int,
            stop: int,
            triggers: NDArray[np.int32],
            similarities: NDArray[np.float32],
            sizes: NDArray[np.int64],
        ) -> None:
            kernels.nearest_triggers(
                start,
                stop,
                chosen.item_offsets,
                chosen.item_users,
                chosen.user_offsets,
                chosen.user_items,
                user_weights,
                trigger_norms,
                target_norms,
                self.config.shrinkage,
                self.config.power,
                triggers,
                similarities,
                sizes,
            )

        model = SparseSimilarities.by_target(len(data.items), self.config.neighbours, nearest, threads=threads)
        return self._restore(model, data.items.fingerprint())
