"""Popular: the most interacted items, the same for everybody; serves those of whom nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.metrics.protocols import nth_outside
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates, ChannelSettings, Mask, Reason, Reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400.0


class PopularConfig(ChannelSettings):
    """Settings of `Popular`."""

    kind: Literal["popular"] = "popular"
    """Names the channel class in a recipe."""

    name: str = "popular"
    """Name in candidates and reasons; one channel of a name in a service."""

    half_life_days: float | None = Field(default=None, gt=0)
    """An interaction this much older than the newest one of the training data counts half; none: all count one.
    Needs real event times. News wants hours, films years; without a validation set leave it off."""


class Popular:
    """Items by their number of interactions, optionally the recent ones weighted more.

    Items without a training interaction are never returned. The score is the (weighted) count.

    Parameters
    ----------
    config : PopularConfig
    """

    kind: ClassVar[str] = "popular"
    config_class: ClassVar = PopularConfig

    def __init__(self, config: PopularConfig | None = None) -> None:
        self.config = config or PopularConfig()
        self._fingerprint = ""
        self._scores: NDArray[np.float32] = np.zeros(0, np.float32)
        self._order: NDArray[np.int32] = np.zeros(0, np.int32)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def scores(self) -> NDArray[np.float32]:
        """(items,) the (weighted) number of interactions of each item."""
        return self._scores

    def fit(self, data: Dataset, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Count interactions; `validate` is not needed, since nothing is iterated.

        Raises `ConfigError` where a half-life is set and the data set has positions instead of times.
        """
        half_life = self.config.half_life_days
        weights = None
        if half_life is not None:
            if data.time_unit != "seconds":
                raise ConfigError(f"half_life_days needs event times, and {data.name} has positions; leave it out")
            age = (data.event_times.max(initial=0) - data.event_times) / SECONDS_PER_DAY
            weights = np.exp2(-age / half_life)
        counts = np.bincount(data.event_items, weights=weights, minlength=len(data.items))
        self._restore(counts.astype(np.float32), data.items.fingerprint())
        return self

    def _restore(self, scores: NDArray[np.float32], fingerprint: str) -> None:
        self._scores = scores
        self._fingerprint = fingerprint
        # Best first, ties by item code: a stable sort of the negated scores.
        order = np.argsort(-scores, kind="stable").astype(np.int32)
        self._order = order[scores[order] > 0]

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k most popular items that `allowed` lets through. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        order = self._order
        if allowed is not None and allowed.catalogue is not None:
            catalogue = np.zeros(len(self._scores), bool)
            known = min(len(catalogue), len(allowed.catalogue))
            catalogue[:known] = allowed.catalogue[:known]
            order = order[catalogue[order]]
        place_of = np.full(len(self._scores), -1, np.int64)
        place_of[order] = np.arange(len(order))
        rows, places = self._listed_places(allowed, place_of)
        n = len(queries)
        if allowed is not None and allowed.is_allowlist:
            first = np.searchsorted(rows, rows)
            kept = np.arange(len(rows)) - first < k
            rows, places = rows[kept], places[kept]
        else:
            room = len(order) - np.bincount(rows, minlength=n)
            sizes = np.minimum(k, room)
            wanted = np.repeat(np.arange(n), sizes)
            rank = np.arange(len(wanted)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            rows, places = wanted, nth_outside(rows, places, wanted, rank)
        items = order[places]
        return Candidates.single(self.name, n, rows, items, self._scores[items])

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """One reason without a trigger: popularity is the whole of it."""
        mine = candidates.found_by(self.name)
        return [(Reason(self.name),) if is_mine else () for is_mine in mine]

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        save_artefact(
            path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors={"scores": self._scores}
        )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=PopularConfig)
        channel = cls(config)
        channel._restore(tensors["scores"], vocabulary.fingerprint(n_items))
        return channel

    @staticmethod
    def _listed_places(
        allowed: Mask | None, place_of: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query rows, places in the order) of the listed items that have one; sorted, distinct within a row."""
        none = np.zeros(0, np.int64)
        if allowed is None or not len(allowed.items) or not len(place_of):
            return none, none
        rows = np.repeat(np.arange(len(allowed)), np.diff(allowed.offsets))
        is_trained = allowed.items < len(place_of)  # a grown vocabulary has items that this artefact never saw
        rows, places = rows[is_trained], place_of[allowed.items[is_trained]]
        listed = np.unique((rows * len(place_of) + places)[places >= 0])
        return listed // len(place_of), listed % len(place_of)
