"""A history as a sum of parts: what ItemCF, Pearson, SWING, SLIM, EASE and MF share, all but how they are fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates, ChannelSettings, Mask, Reason, Reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AdditiveConfig(ChannelSettings):
    """Settings of every additive channel: how far back a history counts, and how fast it fades."""

    half_life: float | None = Field(default=None, gt=0)
    """In events: a trigger this many events older than the newest one weighs half; none: all weigh one."""

    window: int | None = Field(default=None, ge=1)
    """Only this many of the newest events are triggers; none: all of them. It bounds the work of a request."""


@dataclass(frozen=True, slots=True)
class WeightedHistories:
    """Histories as compiled kernels take them.

    Attributes
    ----------
    offsets : (n + 1,) int64
        CSR over the query rows.
    items : (events,) int32
        Oldest first; a code that the model was not trained on counts nothing.
    weights : (longest,) float64
        Weight of an event by its age in events; older ones than are listed count nothing.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class AdditiveModel(Protocol):
    """What is fitted: from histories to scores, in which every event of the history has its part."""

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it and score zero."""
        ...

    def best(
        self, histories: WeightedHistories, k: int, allowed: Mask | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """Items and scores, (n, k), best first, of which the first `sizes[row]` of a row are filled."""
        ...

    def pair_scores(
        self, histories: WeightedHistories, offsets: NDArray[np.int64], items: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The score of each pair, pairs as CSR over the histories."""
        ...

    def parts(self, triggers: NDArray[np.int32], weights: NDArray[np.float64], item: int) -> NDArray[np.float64]:
        """(len(triggers),) what each event of one history adds to the score of one item."""
        ...

    def similarities(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(triggers, targets) sim(j, i), without any weight of a history."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `from_tensors` restores it from."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self: ...


M = TypeVar("M", bound=AdditiveModel)


class AdditiveChannel(Generic[M]):
    """A channel with score(u, i) = Σ_j part(j, i) over the history; inductive: no user needs to be known.

    For an item-to-item matrix part(j, i) = w_j sim(j, i), with w_j = 2^(-age_j / half_life), age in events. A
    subclass says in `fit` how its model is made, and nothing else.

    Parameters
    ----------
    config : AdditiveConfig
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[AdditiveConfig]]
    model_class: ClassVar[type[AdditiveModel]]

    def __init__(self, config: AdditiveConfig | None = None) -> None:
        self.config: Any = config or self.config_class.model_validate({})
        self._model: M | None = None
        self._fingerprint = ""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it and score zero."""
        return 0 if self._model is None else self._model.n_items

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the item vocabulary that it was trained on; empty before `fit`."""
        return self._fingerprint

    def fit(self, data: Dataset, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Learn from `data`."""
        raise NotImplementedError

    def _restore(self, model: M, fingerprint: str) -> Self:
        self._model, self._fingerprint = model, fingerprint
        return self

    # -- retrieval

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k best items that the history says anything about. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        has_none = allowed is not None and allowed.catalogue is not None and not len(allowed.catalogue)
        if self._model is None or has_none:
            return Candidates.empty(self.name, len(queries))
        room = min(k, self.n_items)
        items, scores, sizes = self._model.best(self._histories(queries), room, allowed)
        filled = np.arange(room) < sizes[:, None]
        rows = np.repeat(np.arange(len(queries)), sizes)
        return Candidates.single(self.name, len(queries), rows, items[filled], scores[filled])

    def score_pairs(
        self, queries: Queries, rows: NDArray[np.integer], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """(m,) the score of each (query row, item code) pair: what `retrieve` gives, 0 where it returns none.

        Cheapest with `rows` ascending, as candidates have them.
        """
        rows = np.asarray(rows)
        if self._model is None:
            return np.zeros(len(rows), np.float32)
        order = None if len(rows) < 2 or (rows[1:] >= rows[:-1]).all() else np.argsort(rows, kind="stable")
        pairs = np.asarray(items if order is None else items[order])
        sizes = np.bincount(rows, minlength=len(queries))
        scores = self._model.pair_scores(self._histories(queries), starts(sizes), packed(pairs, np.int32))
        if order is None:
            return scores
        unsorted = np.empty_like(scores)
        unsorted[order] = scores
        return unsorted

    def history_weights(self, queries: Queries) -> NDArray[np.float64]:
        """(n,) Σ_j w_j of each query's history, over the items that it knows: the divisor of a mean similarity."""
        ages = np.repeat(queries.offsets[1:], queries.lengths) - 1 - np.arange(queries.offsets[-1])
        weights = self._weights(queries)
        counts = (ages < len(weights)) & (queries.items < self.n_items)
        totals = np.bincount(queries.rows()[counts], weights=weights[ages[counts]], minlength=len(queries))
        return totals.astype(np.float64)  # bincount of nothing is integer

    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """See `headwater.retrieval.item_to_item.HasSimilarities`; 0 for everything before `fit`."""
        chosen = np.arange(self.n_items) if targets is None else np.asarray(targets)
        if self._model is None:
            return np.zeros((len(triggers), len(chosen)), np.float32)
        return self._model.similarities(np.asarray(triggers), chosen)

    def _weights(self, queries: Queries) -> NDArray[np.float64]:
        """Weight by age in events, as far back as the longest history or the window goes."""
        longest = int(queries.lengths.max(initial=0))
        if self.config.window is not None:
            longest = min(longest, self.config.window)
        if self.config.half_life is None:
            return np.ones(longest)
        return np.exp2(-np.arange(longest) / self.config.half_life)

    def _histories(self, queries: Queries) -> WeightedHistories:
        return WeightedHistories(
            packed(queries.offsets, np.int64), packed(queries.items, np.int32), self._weights(queries)
        )

    # -- why

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The triggers that speak for each candidate, strongest first.

        share = part / Σ of the positive parts, summing to 1. Where a model has negative parts they take from the
        score but are not named; a candidate that no trigger speaks for has one reason without a trigger.
        """
        reasons: Reasons = []
        histories = self._histories(queries)
        mine = candidates.found_by(self.name)
        for row, item, is_mine in zip(candidates.rows.tolist(), candidates.items.tolist(), mine.tolist(), strict=True):
            if not is_mine or self._model is None:
                reasons.append(())
                continue
            triggers = histories.items[histories.offsets[row] : histories.offsets[row + 1]]
            reasons.append(strongest_first(self.name, triggers, self._model.parts(triggers, histories.weights, item)))
        return reasons

    # -- files

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `from_tensors` restores it from; nothing before `fit`."""
        return {} if self._model is None else self._model.tensors()

    @classmethod
    def from_tensors(cls, config: Any, tensors: dict[str, NDArray[Any]], fingerprint: str) -> Self:
        """A fitted channel from `tensors()`."""
        model: Any = cls.model_class.from_tensors(tensors)
        return cls(config)._restore(model, fingerprint)

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=self.tensors())

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        return cls.from_tensors(config, tensors, vocabulary.fingerprint(n_items))


def strongest_first(name: str, triggers: NDArray[np.integer], parts: NDArray[np.floating]) -> tuple[Reason, ...]:
    """The parts of one score as shares, one reason for each distinct trigger whose part is positive.

    Where no part is, one reason without a trigger.
    """
    part_of: dict[int, float] = {}
    for trigger, part in zip(triggers.tolist(), parts.tolist(), strict=True):
        part_of[trigger] = part_of.get(trigger, 0.0) + part
    speaking = {trigger: part for trigger, part in part_of.items() if part > 0}
    if not speaking:
        return (Reason(name),)
    total = sum(speaking.values())
    ordered = sorted(speaking.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(Reason(name, share=part / total, trigger=trigger) for trigger, part in ordered)


def starts(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(n + 1,) CSR offsets of rows of these sizes."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def packed(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The array as compiled kernels take it; a copy only where it is read-only, strided or of another type."""
    return np.require(array, dtype, ["C", "W"])
