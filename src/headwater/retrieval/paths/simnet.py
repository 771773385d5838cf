"""SimNet's index in the place of item-based collaborative filtering's (section 6.2.1 of the Paths paper)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.requests import Requests
from headwater.retrieval.paths.search import PathSearch


class SimNetConfig(PathsConfig):
    """Settings of `SimNet`: those of the whole model, which is trained; its index alone serves."""

    kind: Literal["simnet"] = "simnet"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Names the channel class in a recipe."""

    name: str = "simnet"
    """Name in candidates and reasons; one channel of a name in a service."""

    search: Literal["greedy"] = "greedy"  # pyright: ignore[reportIncompatibleVariableOverride]
    """There is no other: what serves is the index."""


class SimNet(Paths):
    """Item-to-item retrieval along the index of a trained `Paths`: score(u, i) = Σ_j softplus(s_ji).

    Every trigger counts alike, the newest `followed_triggers` of them: neither TrigNet nor the direct path is asked. A
    history without a known item has no candidates.

    Parameters
    ----------
    config : SimNetConfig
    """

    kind: ClassVar[str] = "simnet"
    config_class: ClassVar = SimNetConfig

    def __init__(self, config: SimNetConfig | None = None) -> None:
        super().__init__(config or SimNetConfig())

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k best items of the rows of the triggers. Raises `ValueError` where k is not positive."""
        offsets, triggers = self._triggers(queries)
        found = self._search().retrieve(
            self.name,
            np.zeros((len(queries), 0), np.float32),
            offsets,
            triggers,
            np.zeros(len(triggers), np.float32),
            k,
            allowed=allowed,
        )
        return found.candidates

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The triggers whose rows hold a candidate, strongest first; share = softplus(s_ji) / Σ."""
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        offsets, triggers = self._triggers(queries)
        search, nobody = self._search(), np.zeros(0, np.float32)
        for row in np.unique(candidates.rows[mine]).tolist():
            at = mine[candidates.rows[mine] == row]
            own = triggers[offsets[row] : offsets[row + 1]]
            parts = search.parts(nobody, own, np.zeros(len(own), np.float32), candidates.items[at])
            for place, paths in zip(at.tolist(), parts.reasons(self.name), strict=True):
                reasons[place] = paths
        return reasons

    def _search(self) -> PathSearch:
        return PathSearch(self.index, triggers=self.config.followed_triggers)

    def _triggers(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """CSR of the known items of each history, the latest `length` of them."""
        requests = Requests.of(queries, self.features, self.config.length, {})
        self.unknown_triggers += int(requests.n_unknown.sum())
        return requests.offsets, requests.triggers
