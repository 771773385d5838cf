"""Greedy retrieval along an index as a service does it (section 5.1 of the paper), from arrays alone: no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError
from headwater.index.neighbours import NeighbourTable, write_table
from headwater.retrieval.artefact import below, map_tensors, write_tensors
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.features import PathFeatures
from headwater.retrieval.paths.nets import TriggerScorer, user_vector
from headwater.retrieval.paths.requests import Requests
from headwater.retrieval.paths.search import Found, PathSearch
from headwater.retrieval.paths.weights import PathWeights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SERVED = "served.safetensors"
"""What a request reads of the weights and features."""

INDEX = "neighbours"


class GreedyPaths:
    """A trained model along an index of its similarities.

    Parameters
    ----------
    config : PathsConfig
    features : PathFeatures
    weights : PathWeights
        Similarities may be absent.
    table : NeighbourTable
    """

    def __init__(
        self, config: PathsConfig, features: PathFeatures, weights: PathWeights, table: NeighbourTable
    ) -> None:
        self.config, self.features, self.weights, self.table = config, features, weights, table
        self._search = PathSearch(table, weights.direct_items, triggers=config.followed_triggers)
        self._trigger_net = TriggerScorer.of(weights)
        sizes = [len(levels) for levels in weights.trigger_behaviours.values()]
        self._starts = np.cumsum([0, *sizes])[:-1].astype(np.int32)

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Found:
        """The k best items that the paths of each query reach (eq. 14); see `PathSearch.retrieve`."""
        requests = self._requests(queries)
        scores = np.empty(len(requests.triggers), np.float32)
        vectors = 0 if self.weights.direct_items is None else self.weights.direct_items.shape[1]
        users = np.empty((len(queries), vectors), np.float32)
        for row in range(len(queries)):
            # One by one: products of another shape may round otherwise, and a batch is to answer as its queries do.
            own = slice(requests.offsets[row], requests.offsets[row + 1])
            scores[own], users[row] = self._hops(requests, row)
        found = self._search.retrieve(
            self.config.name, users, requests.offsets, requests.triggers, scores, k, allowed=allowed
        )
        return found._replace(unknown=found.unknown + requests.n_unknown)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """Every followed path that leads to a candidate, strongest first; share times score is the path's weight."""
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.config.name))
        requests = self._requests(queries)
        for row in np.unique(candidates.rows[mine]).tolist():
            at = mine[candidates.rows[mine] == row]
            triggers = requests.triggers[requests.offsets[row] : requests.offsets[row + 1]]
            scores, user = self._hops(requests, row)
            parts = self._search.parts(user, triggers, scores, candidates.items[at])
            for place, found in zip(at.tolist(), parts.reasons(self.config.name), strict=True):
                reasons[place] = found
        return reasons

    def _requests(self, queries: Queries) -> Requests:
        requests = Requests.of(queries, self.features, self.config.length, self.weights.trigger_behaviours)
        return requests._replace(behaviours=requests.behaviours + self._starts)

    def _hops(self, requests: Requests, row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """t of the row's triggers, and p."""
        own = slice(requests.offsets[row], requests.offsets[row + 1])
        triggers, weights = requests.triggers[own], self.weights
        known = (
            int(requests.n_events[row]),
            int(requests.user_rows[row]),
            triggers,
            self.features.catalogue.attributes,
        )
        scores = np.zeros(0, np.float32)
        if len(triggers):
            scores = self._trigger_net(weights.trigger_users.first_layer(*known), triggers, requests.behaviours[own])
        if weights.direct_users is None:
            return scores, np.zeros(0, np.float32)
        hidden = weights.direct_users.first_layer(*known)
        return scores, user_vector(hidden, weights.direct_layers, weights.leak)

    # -- files

    def files(self) -> dict[str, Callable[[Path], str]]:
        """What writes the files that `load` reads, for `save_artefact`."""

        def write_served(path: Path) -> str:
            features = {f"features.{name}": values for name, values in self.features.tensors().items()}
            return write_tensors(path, {**self.weights.served(), **features})

        def write_index(path: Path) -> str:
            write_table(path, self.table.header, [self.table.records])
            return self.table.header.run

        return {SERVED: write_served, INDEX: write_index}

    @classmethod
    def load(cls, path: Path, config: PathsConfig, n_items: int, files: dict[str, str], vocabulary: Vocabulary) -> Self:
        """Map what `files` wrote into the folder `path`; `files` is what the artefact says of them.

        Raises
        ------
        ArtefactError
            A file is missing, truncated or altered, or the index is of another training.
        LineageError
            The index is of another vocabulary.
        """
        table = NeighbourTable.open(path / INDEX, vocabulary)
        if table.header.run != files.get(INDEX) or len(table) != n_items:
            raise ArtefactError(f"{path / INDEX} is the index of another training; put its own back, or train it again")
        tensors = map_tensors(path / SERVED, files[SERVED])
        features = PathFeatures.restore(n_items, config.inputs, config.user_attributes, below(tensors, "features."))
        return cls(config, features, PathWeights.of_served(tensors, features, config.leak), table)
