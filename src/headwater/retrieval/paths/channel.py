"""Paths as a channel: training, retrieval of every item or along an index, and the paths that a candidate owes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from rich.console import Console

from headwater.config import parse
from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.index.neighbours import NeighbourTable
from headwater.retrieval.artefact import load_artefact, open_artefact, save_artefact
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.features import PathFeatures
from headwater.retrieval.paths.serving import GreedyPaths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.nn.training import TrainingReport
    from headwater.retrieval.paths.model import PathModel
    from headwater.retrieval.paths.network import PathNetwork
    from headwater.retrieval.paths.weights import PathWeights

# What needs torch is imported where it is used: a service that follows an index does without.


class Paths:
    """User → trigger → item (Li et al., "Path-based Deep Network for Candidate Item Matching", SIGIR 2021).

    score(u, i) = softplus(p_u · q_i) + Σ_j softplus(t_uj + s_ji) (eq. 14). With `search = "exact"` over the whole
    history and for all items; with `"greedy"` over the best triggers and for the items of their rows of an index,
    which is built after training and lies in the artefact. Inductive: no user needs to be known; a history without
    a known item is served by the direct path alone.

    Parameters
    ----------
    config : PathsConfig

    Attributes
    ----------
    report : TrainingReport or None
        How training went.
    unknown_triggers : int
        Events of histories, over all that was retrieved so far, whose item the model does not know: they are dropped.
    """

    kind: ClassVar[str] = "paths"
    config_class: ClassVar = PathsConfig

    def __init__(self, config: PathsConfig | None = None) -> None:
        self.config = config or PathsConfig()
        self.report: TrainingReport | None = None
        self.unknown_triggers = 0
        self._fingerprint = ""
        self._model: PathModel | None = None
        self._greedy: GreedyPaths | None = None
        self._read_model: Callable[[], PathModel] | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the item vocabulary that it was trained on; empty before `fit`."""
        return self._fingerprint

    @property
    def model(self) -> PathModel:
        """The trained model, which a greedy channel reads from its artefact when it is first asked for.

        Raises `ConfigError` before `fit` or `load`.
        """
        if self._model is None:
            if self._read_model is None:
                raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
            self._model = self._read_model()
        return self._model

    @property
    def network(self) -> PathNetwork:
        """The trained network; raises as `model` does."""
        return self.model.network

    @property
    def features(self) -> PathFeatures:
        """What is read of items and users; raises as `model` does."""
        return self.model.features if self._greedy is None else self._greedy.features

    @property
    def index(self) -> NeighbourTable:
        """The neighbours that greedy retrieval follows. Raises `ConfigError` where there are none."""
        if self._greedy is None:
            raise ConfigError(f"{self.name} has no index: it is not trained yet, or its search is 'exact'")
        return self._greedy.table

    # -- training

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Count co-occurrence and train on all histories of `data`; `report` then says how it went.

        A greedy channel builds its index at the end; while it trains, all items are scored.

        Parameters
        ----------
        validate : callable, optional
            Returns the figure that early stopping maximises; without it training runs all epochs.
        checkpoint : Path, optional
            Folder for checkpoints.
        resume : bool
            Go on from the checkpoint there, to the same result; begin anew where there is none.

        Raises
        ------
        ConfigError
            No user has two interactions; an input is asked that `data` does not have; see also `train`.
        """
        from headwater.retrieval.paths.training import train_model

        def validated(model: PathModel) -> float:
            assert validate is not None
            self._adopt(model, data.items.fingerprint())
            return validate(self)

        model, self.report = train_model(
            self.config,
            data,
            kind=self.kind,
            validate=None if validate is None else validated,
            checkpoint=checkpoint,
            resume=resume,
        )
        self._adopt(model, data.items.fingerprint())
        if self.config.search == "greedy":
            from headwater.retrieval.paths.indexing import index_of

            self._follow(index_of(model, data, console=Console()))
        self.unknown_triggers = 0
        return self

    def _adopt(self, model: PathModel, fingerprint: str) -> None:
        self._model, self._greedy, self._fingerprint = model, None, fingerprint

    def _follow(self, table: NeighbourTable) -> None:
        self._greedy = GreedyPaths(self.config, self.model.features, self.model.export(), table)

    def exactly(self) -> Paths:
        """The same model, which scores every item: the reference of greedy retrieval."""
        other = Paths(parse(PathsConfig, {**self.config.model_dump(), "kind": "paths", "search": "exact"}, self.name))
        other._adopt(self.model, self._fingerprint)
        return other

    def greedily(self, data: Dataset, **settings: Any) -> Self:
        """The same model along an index that is built now, whatever the search of this channel is.

        Parameters
        ----------
        data : Dataset
            Where candidate pairs come from: what the model was trained on, or has come since.
        **settings
            `neighbours`, `candidates_per_item` and `followed_triggers` in place of the channel's own.

        Raises
        ------
        ConfigError
            `data` has other items than the model, hops are vectors, or a setting is of another range.
        """
        from headwater.retrieval.paths.indexing import index_of

        other = self.under(settings)
        other._follow(index_of(other.model, data, console=Console()))
        return other

    def refreshed(self, data: Dataset) -> tuple[Self, int]:
        """The same model along this channel's index brought up to date, and how many of its rows were scored.

        Those are the items whose candidate pairs are others in `data` than they were; all other rows are copied.
        Raises `ConfigError` where there is no index, or `data` has other items than the model.
        """
        from headwater.retrieval.paths.indexing import index_after

        other = self.under({})
        table, n_scored = index_after(other.model, self.index, data, console=Console())
        other._follow(table)
        return other, n_scored

    def along(self, table: NeighbourTable, **settings: Any) -> Self:
        """The same model along an index that was made of it elsewhere, such as in shards; settings as of `greedily`."""
        other = self.under({**settings, "neighbours": table.k})
        other._follow(table)
        return other

    def under(self, settings: Mapping[str, Any]) -> Self:
        """The same model under other settings of greedy retrieval, without an index yet."""
        chosen = {**self.config.model_dump(), "search": "greedy", **settings}
        other = type(self)(parse(self.config_class, chosen, self.name))
        other._adopt(self.model.under(other.config), self._fingerprint)
        return other

    # -- retrieval

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k items of highest score. Raises `ValueError` where k is not positive.

        Without a Direct Net, a history without a known item has no candidates. Greedily, fewer than k are found
        where the paths reach fewer.
        """
        if self._greedy is not None:
            found = self._greedy.retrieve(queries, k, allowed=allowed)
            self.unknown_triggers += int(found.unknown.sum())
            return found.candidates
        self.unknown_triggers += int(((queries.items < 0) | (queries.items >= self.n_items)).sum())
        return self.model.retrieve(queries, k, allowed=allowed)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """Every path that leads to a candidate, strongest first; share times score is the path's weight.

        A trigger that stands in the history several times has the sum of its paths. The direct path has no
        trigger; where there is no history, it is all.
        """
        if self._greedy is not None:
            return self._greedy.explain(queries, candidates)
        return self.model.explain(queries, candidates)

    def score_pairs(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(m,) s_ji of each (trigger, target) pair, eq. 9: what an item-to-item index is built of.

        Raises `ConfigError` where hops are vectors: they have no similarity without a user.
        """
        return self.model.score_pairs(triggers, targets)

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it."""
        return self.features.catalogue.n_items

    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """softplus(s_ji), SimNet alone; see `headwater.retrieval.item_to_item.HasSimilarities`.

        Raises `ConfigError` where hops are vectors: they have no similarity without a user.
        """
        return self.model.similarities(triggers, targets)

    def latest_interests(self, queries: Queries) -> NDArray[np.float32]:
        """(n,) t_uj, eq. 8, of each query's latest known event; nan where there is none.

        Raises `ConfigError` where hops are vectors.
        """
        return self.model.latest_interests(queries)

    # -- files

    def export(self) -> PathWeights:
        """Plain arrays for retrieval without torch; see `PathWeights`."""
        return self.model.export()

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`, the index in it where there is one; see `save_artefact`."""
        save_artefact(
            path,
            kind=self.kind,
            config=self.config,
            vocabulary=self._fingerprint,
            tensors=self.model.tensors(),
            files={} if self._greedy is None else self._greedy.files(),
        )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote: a greedy channel's index and arrays are mapped, and torch is not loaded.

        Raises
        ------
        ArtefactError
            A file is missing, truncated, altered or of another training; see `load_artefact`.
        LineageError
            It was built on another item vocabulary, or its index was.
        """
        config, n_items, files = open_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)
        channel._fingerprint = vocabulary.fingerprint(n_items)

        def read() -> PathModel:
            from headwater.retrieval.paths.model import PathModel

            return PathModel.restore(*load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class))

        channel._read_model = read
        if config.search == "greedy":
            channel._greedy = GreedyPaths.load(path, config, n_items, files, vocabulary)
        else:
            channel._model = read()
        return channel
