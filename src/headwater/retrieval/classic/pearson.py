"""Pearson: item-to-item correlation, of who chose two items or of how they rated them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig
from headwater.retrieval.classic.incidence import Incidence
from headwater.retrieval.classic.similarities import SparseSimilarities

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PearsonConfig(AdditiveConfig):
    """Settings of `Pearson`."""

    kind: Literal["pearson"] = "pearson"
    """Names the channel class in a recipe."""

    name: str = "pearson"
    """Name in candidates and reasons; one channel of a name in a service."""

    values: Literal["interactions", "ratings", "adjusted-ratings"] = "interactions"
    """What is correlated. `interactions`: chosen or not, over all users (the phi coefficient). `ratings`: deviations
    from the item's mean rating, over the users who rated both. `adjusted-ratings`: deviations from the user's
    mean (adjusted cosine). Ratings say who likes what, not who chooses what, and rank the next item badly."""

    neighbours: int = Field(default=100, ge=1)
    """Triggers kept for each item, the most similar ones (20..400)."""

    shrinkage: float = Field(default=0.0, ge=0)
    """In users: a correlation over n of them is multiplied by n / (n + shrinkage), since few users correlate by
    chance (0..100)."""


class Pearson(AdditiveChannel[SparseSimilarities]):
    """Item-based filtering by correlation (Sarwar et al., WWW 2001, section 3.1), inductive.

    score(u, i) = Σ_j w_j sim(j, i) over the history, with w_j = 2^(-age_j / half_life), age in events, and

        sim(j, i) = Σ_u d_uj d_ui / √(Σ_u d_uj² Σ_u d_ui²) · n_ij / (n_ij + λ)

    n_ij users of both, λ `shrinkage` (Bell and Koren, 2007), d the deviations that `values` names. Only positive
    correlations are kept, for the `neighbours` best j of each i; items with a score of zero are not returned.

    Parameters
    ----------
    config : PearsonConfig
    """

    kind: ClassVar[str] = "pearson"
    config_class: ClassVar = PearsonConfig
    model_class: ClassVar = SparseSimilarities
    config: PearsonConfig

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Find each item's nearest triggers. The result does not depend on `threads` (all cores by default).

        Time grows with Σ n_u² over users, memory with items x `neighbours`. `validate` is not needed, since
        nothing is iterated.

        Raises
        ------
        ConfigError
            `values` asks for ratings and the data set has none.
        """
        from headwater.retrieval.classic import pearson_kernels as kernels

        has_ratings = self.config.values != "interactions"
        chosen, deviations = self._deviations(data) if has_ratings else (Incidence.of(data.matrix()), None)
        # Where each entry of the item-major side stands in the user-major one.
        places = np.argsort(chosen.user_items, kind="stable")
        if deviations is None:
            deviations = np.zeros(len(places))

        def nearest(
            start: int,
            stop: int,
            triggers: NDArray[np.int32],
            similarities: NDArray[np.float32],
            sizes: NDArray[np.int64],
        ) -> None:
            kernels.most_correlated(
                start,
                stop,
                chosen.item_offsets,
                chosen.item_users,
                places,
                chosen.user_offsets,
                chosen.user_items,
                deviations,
                has_ratings,
                self.config.shrinkage,
                triggers,
                similarities,
                sizes,
            )

        model = SparseSimilarities.by_target(len(data.items), self.config.neighbours, nearest, threads=threads)
        return self._restore(model, data.items.fingerprint())

    def _deviations(self, data: Dataset) -> tuple[Incidence, NDArray[np.float64]]:
        """Who rated what, and each rating less its mean; of several ratings of one pair the newest counts."""
        import scipy.sparse as sp

        if data.event_ratings is None:
            raise ConfigError(f"pearson: values = {self.config.values!r} needs ratings, and {data.name} has none")
        is_rated = np.flatnonzero(~np.isnan(data.event_ratings))[::-1]
        pair = data.event_users[is_rated].astype(np.int64) * len(data.items) + data.event_items[is_rated]
        pair, newest = np.unique(pair, return_index=True)
        users, items = pair // max(len(data.items), 1), pair % max(len(data.items), 1)
        ratings = data.event_ratings[is_rated][newest].astype(np.float64)
        owners, n_owners = (items, len(data.items)) if self.config.values == "ratings" else (users, len(data.users))
        means = np.bincount(owners, ratings, n_owners) / np.maximum(np.bincount(owners, minlength=n_owners), 1)
        rated = sp.csr_array((np.ones(len(pair), np.float32), (users, items)), (len(data.users), len(data.items)))
        return Incidence.of(rated), ratings - means[owners]
