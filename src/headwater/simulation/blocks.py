"""What is shown in a block of videos or ads: chosen from what can be seen, as the candidates of scenarios are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.impressions import DAY
from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates
from headwater.simulation import ranking_kernels as kernels
from headwater.simulation.catalogue import Catalogue, Shelves
from headwater.simulation.domains import DOMAINS, BlockConfig
from headwater.simulation.draws import BLOCK, REACH, uniforms
from headwater.simulation.ranking import Context, ScenarioRanker
from headwater.simulation.scenarios import NO_ITEM, NO_SHELF, SHELVES, Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Blocks:
    """One sub-domain's blocks beside the pages of a play.

    Candidates are items of the category that the page is about, of the categories that the user clicked last, and of
    any; they are ordered by an untrained ranker's score, by what is bid, and by noise.

    Parameters
    ----------
    domain : int
        Its code, see `DOMAINS`.
    settings : BlockConfig
    catalogue : Catalogue
    seed : int
        Of the world.
    """

    def __init__(self, domain: int, settings: BlockConfig, catalogue: Catalogue, seed: int) -> None:
        self.domain, self.settings = domain, settings
        self._catalogue, self._seed = catalogue, seed
        random = np.random.default_rng([seed, 20, domain])
        self._phases = random.random(len(catalogue))
        self._bids = (settings.bids * random.standard_normal(len(catalogue))).astype(np.float32)
        self._ranker = ScenarioRanker(DOMAINS[domain], catalogue)
        self._marks = np.zeros(len(catalogue), np.int32)
        self.begin_day(0)

    def begin_day(self, day: int) -> None:
        """Let campaigns begin and end: an item is in one for its share of a cycle that is its own."""
        self.in_campaign = (self._phases + day * self.settings.shown / self.settings.campaign) % 1 < self.settings.shown
        self._shelves = Shelves.of(self._catalogue, self.in_campaign)

    def beside(self, requests: Requests, queries: Queries) -> tuple[Requests, Queries] | None:
        """Those of a page's visits that have a block, at the time and under the moments of the block; None for none."""
        users, none = requests.users.astype(np.int64), np.zeros(len(requests), np.int64)
        is_reached = uniforms(self._seed, REACH, users, none, self.domain) < self.settings.reach
        has_block = uniforms(self._seed, BLOCK, users, requests.moments, self.domain) < self.settings.visits
        at = np.flatnonzero(is_reached & has_block)
        if not len(at):
            return None
        taken = requests.take(at)
        # Draws are named by moments: those of a block are its own.
        moments = taken.moments + (self.domain << 40)
        # A block is of its page's day, as the files of logs are.
        delays = np.minimum(self.settings.delay, DAY - 1 - taken.times % DAY)
        found = replace(taken, times=taken.times + delays, moments=moments)
        asked = queries.take(at)
        return found, replace(asked, request_times=asked.request_times + delays)

    def ranked(self, requests: Requests, queries: Queries) -> Candidates:
        """What competes for each block; the first `slots` of each are in order, best first, and are shown."""
        catalogue, n, k = self._catalogue, len(requests), self.settings.candidates
        has_item = requests.context != NO_ITEM
        about = np.where(has_item, catalogue.categories[requests.context], requests.queries)
        shelves = np.full((n, SHELVES), NO_SHELF, np.int32)
        shelves[:, 0] = np.where(about < 0, NO_SHELF, self._shelves.of_category(about))
        latest = _latest(queries, 3)
        clicked = catalogue.categories[latest]
        shelves[:, 1:4] = np.where(latest == NO_ITEM, NO_SHELF, self._shelves.of_category(clicked))
        shelves[:, 4] = self._shelves.everything
        quotas = np.full((n, SHELVES), -(-k // SHELVES), np.int32)
        quotas[:, 4] = k
        out, ends = np.empty(n * k, np.int32), np.empty(n, np.int64)
        size = kernels.gather(
            self._seed, self._shelves.offsets, self._shelves.items, shelves, quotas, requests.users, requests.moments,
            requests.times, np.full(n, k, np.int64), requests.context, catalogue.arrives, catalogue.retires,
            self._marks, out, ends,
        )  # fmt: skip
        rows, items = np.repeat(np.arange(n), np.diff(ends, prepend=0)), out[:size]
        found = Candidates.single(DOMAINS[self.domain], n, rows, items, np.zeros(size, np.float32))
        looks = np.where(has_item, catalogue.looks[requests.context], -1).astype(np.int32)
        scores = self._ranker.score(queries, found, Context(about.astype(np.int32), looks)) + self._bids[items]
        kernels.explore(
            self._seed, self.settings.exploration, requests.users, requests.moments, found.offsets, items, scores
        )
        places = np.empty(size, np.int64)
        kernels.order(found.offsets, items, scores, self.settings.slots, places)
        return Candidates(n, found.rows, items[places], scores[places], found.channels[places], found.names)


def _latest(queries: Queries, many: int) -> NDArray[np.int32]:
    """(n, many) the items that each user clicked last, newest first; `NO_ITEM` where there were fewer."""
    back = np.arange(many)
    at = np.where(back < queries.lengths[:, None], queries.offsets[1:, None] - 1 - back, len(queries.items))
    return np.append(queries.items, np.int32(NO_ITEM))[at]
