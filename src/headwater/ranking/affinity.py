"""AffinityRanker: candidates of any channel on one scale, by what the history says of them and how popular they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.ranking.config import RankerSettings
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates
from headwater.retrieval.classic.itemcf import ItemCF, ItemCFConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AffinityConfig(RankerSettings):
    """Settings of `AffinityRanker`."""

    kind: Literal["affinity"] = "affinity"
    """Names the ranker class in a recipe."""

    name: str = "affinity"
    """Name in logs and releases."""

    similarity: ItemCFConfig = ItemCFConfig(half_life=2.0)
    """How similar two items are, and how fast older triggers fade."""

    popularity_weight: float = Field(default=0.002, ge=0)
    """Weight of the popularity prior, which lies in 0..1, beside the mean similarity, whose best values are
    about 0.1. Small on purpose: it orders what the history is silent about."""


class AffinityRanker:
    """score(u, i) = Σ_j w_j sim(j, i) / Σ_j w_j  +  weight · log(1 + n_i) / log(1 + max n).

    The first term is the mean ItemCF similarity of the item to the history, recent events weighing more; the
    second, of n_i training interactions, decides for users without a history, who get the popular order.

    Parameters
    ----------
    config : AffinityConfig
    similarity : ItemCF, optional
        A fitted one to share, instead of fitting one of `config.similarity`.
    """

    kind: ClassVar[str] = "affinity"
    config_class: ClassVar[type[AffinityConfig]] = AffinityConfig

    def __init__(self, config: AffinityConfig | None = None, similarity: ItemCF | None = None) -> None:
        config = config or AffinityConfig()
        if similarity is not None:
            config = config.model_copy(update={"similarity": similarity.config})
        self.config = config
        self._shared = similarity
        self._similarity = similarity or ItemCF(config.similarity)
        self._prior: NDArray[np.float32] = np.zeros(0, np.float32)

    @property
    def name(self) -> str:
        return self.config.name

    def fit(self, data: Dataset, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Count interactions, and fit the similarity unless a fitted one was given. `validate` is not needed."""
        if self._shared is None:
            self._similarity = ItemCF(self.config.similarity).fit(data)
        else:
            data.items.require_lineage(self._shared.fingerprint, f"similarity {self._shared.name!r}")
        counts = np.log1p(data.item_counts)
        self._prior = (counts / max(counts.max(initial=0.0), 1.0)).astype(np.float32)
        return self

    def score(self, queries: Queries, candidates: Candidates) -> NDArray[np.float32]:
        """(len(candidates),) higher is better; comparable within one query."""
        affinity = self._similarity.score_pairs(queries, candidates.rows, candidates.items).astype(np.float64)
        weights = self._similarity.history_weights(queries)[candidates.rows]
        affinity = np.divide(affinity, weights, out=affinity, where=weights > 0)
        is_known = candidates.items < len(self._prior)
        prior = np.zeros(len(candidates))
        prior[is_known] = self._prior[candidates.items[is_known]]
        return (affinity + self.config.popularity_weight * prior).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        save_artefact(
            path,
            kind=self.kind,
            config=self.config,
            vocabulary=self._similarity.fingerprint,
            tensors={**self._similarity.tensors(), "prior": self._prior},
        )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=AffinityConfig)
        ranker = cls(config)
        ranker._similarity = ItemCF.from_tensors(config.similarity, tensors, vocabulary.fingerprint(n_items))
        ranker._prior = tensors["prior"]
        return ranker
