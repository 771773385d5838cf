"""The bazaar runs: who is due asks a scenario, gets a page, looks at it, and goes on.

What ranks is given `Requests`, `Queries` and the catalogue; only `Shoppers` knows what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from headwater.data.queries import Queries
from headwater.ranking.base import Ranker
from headwater.retrieval.base import Candidates
from headwater.simulation import ranking_kernels as kernels
from headwater.simulation.catalogue import Shelves
from headwater.simulation.config import SCENARIOS
from headwater.simulation.ranking import Context, ScenarioRanker
from headwater.simulation.scenarios import HOMEPAGE, NO_ITEM, Requests, on_view, shelves_of
from headwater.simulation.shoppers import Outcome, Shoppers
from headwater.simulation.world import DAY, World

if TYPE_CHECKING:
    from numpy.typing import NDArray

TICK = 60
"""Seconds that are played at once. A user's visits are at least so far apart, so no answer is late."""


@dataclass(frozen=True)
class Page:
    """Visits of one scenario in one tick, answered and looked at.

    Attributes
    ----------
    requests : Requests
        Of `scenario` alone.
    queries : Queries
        What was known of each user.
    ranked : Candidates
        All that was ranked, best first, with the channels that found it.
    outcome : Outcome
        What was shown, and what came of it: the first `page` of each list.
    features : (len(ranked), 12) float32, or None
        See `ScenarioRanker.describe`, in the order of `ranked`; where the play was asked to keep them.
    """

    scenario: int
    requests: Requests
    queries: Queries
    ranked: Candidates
    outcome: Outcome
    features: NDArray[np.float32] | None

    def shown(self) -> NDArray[np.int64]:
        """(m,) the places in `ranked` of the shown items, in the order of `outcome`."""
        lengths = np.diff(self.outcome.offsets)
        return np.repeat(self.ranked.offsets[:-1] - self.outcome.offsets[:-1], lengths) + np.arange(
            len(self.outcome.items)
        )

    def positions(self) -> NDArray[np.int32]:
        """(m,) where on its page each shown item stood, from 0."""
        lengths = np.diff(self.outcome.offsets)
        return (np.arange(len(self.outcome.items)) - np.repeat(self.outcome.offsets[:-1], lengths)).astype(np.int32)


class Source(Protocol):
    """What answers a scenario, if not shelves and its `ScenarioRanker`."""

    def ranked(self, requests: Requests, queries: Queries, k: int) -> Candidates:
        """At most k candidates of each request with a ranker's scores, which exploration is added to."""
        ...


Sink = Callable[[Page], None]
"""Takes every page as it was looked at."""


class Play:
    """A world, its users, and what serves them.

    Parameters
    ----------
    world : World
    rankers : sequence of six ScenarioRanker, optional
        In the order of `SCENARIOS`; untrained ones without.
    homepage : Source, optional
        Where the homepage's candidates come from; shelves of the last clicks' categories and of what sells without.
    ranks_all : bool
        Whether a page's whole list is put in order; without, what was not shown is in none, which saves half the time
        where nobody reads rank logs.
    keeps_features : bool
        Whether pages hold what rankers saw, for training.
    """

    def __init__(
        self,
        world: World,
        rankers: Sequence[Ranker] | None = None,
        homepage: Source | None = None,
        *,
        ranks_all: bool = True,
        keeps_features: bool = False,
    ) -> None:
        self._world = world
        self._rankers: list[Ranker] = list(rankers or (ScenarioRanker(name, world.catalogue) for name in SCENARIOS))
        self._homepage = homepage
        self._ranks_all = ranks_all
        self._keeps_features = keeps_features
        self._shelves = Shelves.of(world.catalogue)
        self._limits = np.array([scenario.ranked for scenario in world.config.scenarios.all()], np.int64)
        self._pages = np.array([scenario.page for scenario in world.config.scenarios.all()], np.int64)
        self._noise = np.array([scenario.exploration for scenario in world.config.scenarios.all()])
        self._marks = np.zeros(len(world.catalogue), np.int32)
        self._seed = world.config.world.seed
        self.shoppers = Shoppers(world, least_gap=TICK)
        self.day = 0

    def fork(self, rankers: Sequence[Ranker], homepage: Source | None, *, ranks_all: bool = True) -> Play:
        """Another play that goes on from here with the same users, who then live apart from those of this one."""
        other = Play(self._world, rankers, homepage, ranks_all=ranks_all)
        other.shoppers, other.day = self.shoppers.copy(), self.day
        return other

    def state(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs to go on from here in the same world."""
        return {"day": np.array([self.day]), **self.shoppers.state()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from where `state` was taken."""
        self.shoppers.restore(state)
        self.day = int(state["day"][0])

    def play_day(self, sink: Sink, after_tick: Callable[[int], None] | None = None) -> None:
        """Play the next day from midnight to midnight.

        Parameters
        ----------
        sink : callable
            Given every page, scenario by scenario within a tick.
        after_tick : callable, optional
            Given the seconds after the start at which a tick ended, before the next one begins: a stream takes its log
            in here.

        Raises
        ------
        ValueError
            All days of the world have been played.
        """
        days = self._world.config.world.days
        if self.day >= days:
            raise ValueError(f"the world has {days} days, and all have been played; make one with more `days`")
        self.shoppers.begin_day(self.day)
        begin = self.day * DAY
        for until in range(begin + TICK, begin + DAY + 1, TICK):
            users = self.shoppers.due(until)
            if len(users):
                self._play(users, sink)
                if after_tick is not None:
                    after_tick(until)
        self.day += 1

    def _play(self, users: NDArray[np.int64], sink: Sink) -> None:
        everybody = self.shoppers.requests(users)
        for scenario in range(len(SCENARIOS)):
            requests = everybody.take(np.flatnonzero(everybody.scenarios == scenario))
            if len(requests):
                sink(self._serve(scenario, requests))

    def _serve(self, scenario: int, requests: Requests) -> Page:
        queries = self.shoppers.histories(requests)
        features = None
        if scenario == HOMEPAGE and self._homepage is not None:
            found = self._homepage.ranked(requests, queries, int(self._limits[scenario]))
            scores = found.scores
        else:
            found = self._from_shelves(scenario, requests)
            ranker = self._rankers[scenario]
            if isinstance(ranker, ScenarioRanker):
                features = ranker.describe(queries, found, self._context(requests))
                scores = features @ ranker.weights.astype(np.float32)
            else:
                scores = ranker.score(on_view(queries, requests), found)
        offsets = found.offsets
        kernels.explore(
            self._seed,
            self._noise[scenario],
            requests.users,
            requests.moments,
            offsets,
            found.items,
            scores,
        )
        places = np.empty(len(found), np.int64)
        depth = len(self._world.catalogue) if self._ranks_all else int(self._pages[scenario])
        kernels.order(offsets, found.items, scores, depth, places)
        ranked = Candidates(
            len(requests), found.rows, found.items[places], scores[places], found.channels[places], found.names
        )
        ends = np.minimum(np.diff(offsets), self._pages[scenario])
        shown_offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
        at = np.repeat(offsets[:-1] - shown_offsets[:-1], ends) + np.arange(int(shown_offsets[-1]))
        outcome = self.shoppers.look(requests, shown_offsets, ranked.items[at])
        kept = features[places] if self._keeps_features and features is not None else None
        return Page(scenario, requests, queries, ranked, outcome, kept)

    def _from_shelves(self, scenario: int, requests: Requests) -> Candidates:
        catalogue = self._world.catalogue
        shelves, quotas = shelves_of(
            requests, catalogue, self._shelves, self.shoppers.latest(requests.users), self._limits
        )
        n, limit = len(requests), int(self._limits[scenario])
        out, ends = np.empty(n * limit, np.int32), np.empty(n, np.int64)
        size = kernels.gather(
            self._seed,
            self._shelves.offsets,
            self._shelves.items,
            shelves,
            quotas,
            requests.users,
            requests.moments,
            requests.times,
            np.full(n, limit, np.int64),
            requests.context,
            catalogue.arrives,
            catalogue.retires,
            self._marks,
            out,
            ends,
        )
        rows = np.repeat(np.arange(n), np.diff(ends, prepend=0))
        return Candidates.single(SCENARIOS[scenario], n, rows, out[:size], np.zeros(size, np.float32))

    def _context(self, requests: Requests) -> Context:
        catalogue = self._world.catalogue
        has_item = requests.context != NO_ITEM
        return Context(
            np.where(has_item, catalogue.categories[requests.context], requests.queries).astype(np.int32),
            np.where(has_item, catalogue.looks[requests.context], -1).astype(np.int32),
        )
