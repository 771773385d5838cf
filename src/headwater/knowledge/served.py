"""A plugged ranker as it serves: arrays that score, and a center that is asked what is known. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from headwater.config import Settings
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError, ConfigError, VersionGone
from headwater.knowledge.client import CenterSource, KnowledgeClient, source_of
from headwater.knowledge.config import PlugConfig
from headwater.ranking.can import CANConfig
from headwater.ranking.din import DINConfig
from headwater.ranking.scoring import SERVED, Scorer
from headwater.retrieval.artefact import open_artefact
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class PluggedConfig(Settings):
    """What an artefact of `Plugged` says of itself."""

    kind: str = "plugged"
    """Names it."""

    base: DINConfig | CANConfig
    """Of the ranker."""

    plug: PlugConfig
    """Of the plugs."""

    knowledge: str
    """Identity of the source that it was trained with."""

    parts: dict[str, int]
    """What the source says, by part, with its width."""


class ServedPlugged:
    """Scores candidates as `Plugged` does, from what that has saved; the center that it asks is given by `connect`.

    Parameters
    ----------
    config : PluggedConfig
    scorer : Scorer
    items : Vocabulary
    """

    kind: ClassVar[str] = "plugged"

    def __init__(self, config: PluggedConfig, scorer: Scorer, items: Vocabulary) -> None:
        self.config, self.scorer, self._items = config, scorer, items
        self._client: KnowledgeClient | None = None
        self._source: CenterSource | None = None

    @property
    def name(self) -> str:
        return self.config.base.name

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `Plugged.save` wrote. Raises as `load_artefact` does, and where it holds no arrays that serve."""
        artefact = open_artefact(path, vocabulary, kind=cls.kind, config=PluggedConfig)
        if SERVED not in artefact.files:
            raise ArtefactError(f"{path} holds no arrays that serve: concatenation is not served; train it with a plug")
        items = vocabulary.fingerprint(artefact.n_items)
        base = artefact.config.base
        scorer = Scorer.load(path / SERVED, artefact.files[SERVED], base, items, artefact.n_items)
        return cls(artefact.config, scorer, vocabulary)

    def connect(self, client: KnowledgeClient) -> None:
        """Ask `client` from now on, of the version that the ranker was trained with.

        Raises `LineageError` where the center has no such version, or it was built on other items.
        """
        self._source = source_of(client, self.config.knowledge, self.name)
        self._source.require_items(self._items)
        self._client = client

    def score(self, queries: Queries, candidates: Candidates) -> NDArray[np.float32]:
        """(len(candidates),) logits, higher is better; of arrays alone, in one thread.

        Raises `ConfigError` before `connect`, and `LineageError` where the version went while it was asked.
        """
        if self._client is None or self._source is None:
            raise ConfigError(f"{self.name} reads knowledge, and was given no center; call connect")
        asked = self._source, self._items.keys, self.config.plug.parts, self.scorer, queries, candidates
        try:
            return plugged_scores(*asked)
        except VersionGone:
            # The same content may stand under another number.
            self.connect(self._client)
            return plugged_scores(self._source, *asked[1:])


def plugged_scores(
    source: CenterSource,
    item_keys: NDArray[np.int64],
    parts: tuple[str, ...] | None,
    scorer: Scorer,
    queries: Queries,
    candidates: Candidates,
) -> NDArray[np.float32]:
    """Scores of candidates, each with what a center knows of it and its request's user."""
    known = source.of_pairs(queries.user_keys[candidates.rows], item_keys[candidates.items])
    return scorer.score(queries, candidates, known[:, columns_of(source.parts, parts)])


def columns_of(parts: Mapping[str, int], wanted: tuple[str, ...] | None) -> NDArray[np.int64]:
    """Where the wanted parts stand in all of what is known; all without."""
    names = np.repeat(np.array(list(parts), dtype=object), list(parts.values()))
    return np.flatnonzero([wanted is None or name in wanted for name in names])
