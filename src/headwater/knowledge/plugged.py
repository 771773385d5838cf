"""A ranker with knowledge plugged in: it learns days, goes on, inherits and predicts as the ranker does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import torch
import xxhash
from torch import Tensor

from headwater.data.impressions import Impressions
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError, LineageError
from headwater.knowledge.client import CenterSource
from headwater.knowledge.config import PlugConfig
from headwater.knowledge.plug import concatenate, plug
from headwater.knowledge.served import PluggedConfig, columns_of, plugged_scores
from headwater.ranking.export import exported
from headwater.ranking.features import RankingFeatures
from headwater.ranking.model import model_class
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.din import DINNetwork
from headwater.ranking.scoring import SERVED, Scorer
from headwater.ranking.training import Learning
from headwater.retrieval.artefact import below, load_artefact, save_artefact
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATISTICS_ROWS = 1 << 16
"""Impressions that say what mean and deviation knowledge has: the first ones."""


class KnowledgeSource(Protocol):
    """Where K of an impression's user and item comes from: a trained extraction, or a version of a center."""

    @property
    def identity(self) -> str:
        """Another one says other things of the same pair."""
        ...

    @property
    def parts(self) -> dict[str, int]:
        """Name and width of each part of K, in order."""
        ...

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """(n, width) K of every impression, whose labels are not read."""
        ...


class Plugged(NetworkRanker[Any]):
    """A ranker whose towers each have a plug, of knowledge that it reads of every impression.

    Train it from the ranker's own checkpoint (`fit(..., inherit=folder)`): it then begins at the ranker's predictions,
    with the ranker's moments. Told by a version of a center, it scores candidates too, from arrays.

    Parameters
    ----------
    ranker : NetworkRanker
        Says what the network is; its own weights are not read.
    source : KnowledgeSource
    config : PlugConfig, optional
    """

    kind: ClassVar[str] = "plugged"

    def __init__(self, ranker: NetworkRanker[Any], source: KnowledgeSource, config: PlugConfig | None = None) -> None:
        super().__init__(ranker.config)
        self.source, self.plug_config = source, config or PlugConfig()
        self._base = ranker
        self._kept: tuple[Impressions, NDArray[np.float32]] | None = None
        self._examples: NDArray[np.float32] | None = None
        self._item_keys: NDArray[np.int64] | None = None
        unknown = set(self.plug_config.parts or ()) - source.parts.keys()
        if unknown:
            raise ConfigError(f"no knowledge is called {sorted(unknown)[0]!r}; there is {', '.join(source.parts)}")

    @property
    def width(self) -> int:
        """Of the knowledge that it reads."""
        return len(columns_of(self.source.parts, self.plug_config.parts))

    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """See `NetworkRanker`."""
        network = self._base.new_network(features)
        knowledge: int | Tensor = self.width
        if self.plug_config.is_standardised and self._examples is not None:
            knowledge = torch.from_numpy(self._examples)
        for task in features.tasks:
            layer = f"tasks.{task}.{self.plug_config.layer}"
            if self.plug_config.is_concatenated:
                concatenate(network, layer=f"{layer}.linear", knowledge=knowledge)
            else:
                plug(network, layer=layer, knowledge=knowledge, hidden=self.plug_config.hidden)
        return network

    def learning(self, impressions: Impressions) -> Learning:
        """See `NetworkRanker`."""
        if self._kept is None or self._kept[0] is not impressions:
            self._kept = (impressions, self._known(impressions))
        known = self._kept[1]
        if self._examples is None:
            self._examples = known[:STATISTICS_ROWS]
        if self._item_keys is None:
            self._item_keys = impressions.items.keys
        settings = self.plug_config.model_dump_json()
        return Learning(
            knowledge=lambda rows: known[rows],
            identity=f"+{self.source.identity}:{xxhash.xxh3_64_hexdigest(settings.encode())}",
        )

    def _known(self, impressions: Impressions) -> NDArray[np.float32]:
        found = self.source.knowledge(impressions)[:, columns_of(self.source.parts, self.plug_config.parts)]
        known = np.ascontiguousarray(found, np.float32)
        if not np.isfinite(known).all():
            row = int((~np.isfinite(known)).any(1).argmax())
            raise ConfigError(f"{self.source.identity}: what it says of impression {row} is not finite; check it")
        return known

    def score(self, queries: Queries, candidates: Candidates) -> NDArray[np.float32]:
        """(len(candidates),) logits, as a service gives them; see `ServedPlugged`.

        Raises `ConfigError` where the source is no version of a center: an extraction reads impressions alone.
        """
        if not isinstance(self.source, CenterSource) or self._item_keys is None:
            raise ConfigError(
                f"{self.name} is told by {self.source.identity}, which knows impressions and no candidates; train it "
                "with a version of a center (CenterSource)"
            )
        parts = self.plug_config.parts
        return plugged_scores(self.source, self._item_keys, parts, self.scorer, queries, candidates)

    @property
    def scorer(self) -> Scorer:
        """See `NetworkRanker`. Raises `ConfigError` of concatenation, which is there to be compared."""
        if self._scorer is None:
            if self.plug_config.is_concatenated:
                raise ConfigError(f"{self.name} reads knowledge beside its input, which is not served; plug it in")
            task = self.config.serves
            added: Any = self.network.plugs[self.features.tasks.index(task)]  # type: ignore[index]
            plugs = {f"tasks.{task}.{self.plug_config.layer}": added.weights()}
            self._scorer = Scorer(self.config, self.features, exported(self.network, self.features, self.config, plugs))
        return self._scorer

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`, which names the knowledge that it was trained with."""
        features = self.features
        tensors = {f"network.{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        tensors |= {f"features.{name}": values for name, values in features.tensors().items()}
        config = PluggedConfig(
            base=self.config, plug=self.plug_config, knowledge=self.source.identity, parts=self.source.parts
        )
        files = {} if self.plug_config.is_concatenated else {SERVED: self.scorer.write}
        save_artefact(path, kind=self.kind, config=config, vocabulary=features.items, tensors=tensors, files=files)

    @classmethod
    def load(  # type: ignore[override]
        cls, path: Path, vocabulary: Vocabulary, source: KnowledgeSource, *, allow_other: bool = False
    ) -> Self:
        """Read what `save` wrote, to be told by `source`.

        Raises
        ------
        LineageError
            The source is not the one that it was trained with, unless `allow_other`; or as `load_artefact` does.
        ConfigError
            The source's parts are others, or of other widths.
        """
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=PluggedConfig)
        if source.parts != config.parts:
            raise ConfigError(f"{path} reads knowledge of {config.parts}, and {source.identity} has {source.parts}")
        if source.identity != config.knowledge and not allow_other:
            raise LineageError(
                f"{path} was trained with knowledge of {config.knowledge}, and this is {source.identity}; "
                "give it that version, or say allow_other=True"
            )
        found = cls(model_class(config.base.kind)(config.base), source, config.plug)
        found._features = RankingFeatures.restore(
            config.base, vocabulary.fingerprint(n_items), n_items, below(tensors, "features.")
        )
        network = found.new_network(found._features)
        weights = below(tensors, "network.")
        network.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in weights.items()})
        found._network, found._item_keys = network.eval(), vocabulary.keys
        return found
