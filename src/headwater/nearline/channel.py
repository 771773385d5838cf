"""The nearline channel: what the stream left in the store for a user, as candidates."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from headwater.data.queries import Queries
from headwater.data.vocabulary import UNKNOWN, Vocabulary
from headwater.errors import ArtefactError, TornValue
from headwater.nearline.candidates import NearlineCandidates, combine, decode
from headwater.nearline.scenarios import seen_scenarios
from headwater.nearline.stored import CANDIDATES, candidates_key
from headwater.retrieval.base import Candidates, Mask, Reason, Reasons
from headwater.store.base import Store

logger = logging.getLogger(__name__)

_REMEMBERED = 1_024
_REFRESH_SECONDS = 1.0


class NearlineChannel:
    """`Channel` over the candidates that a `Stream` keeps in a store, with finalScore of eq. 6 as the score.

    It asks for the queries' users by key in one read; the histories play no part, so an item that was just
    acted on, which the stream may not know yet, is the caller's mask to refuse. A user without stored candidates
    has none. A torn value, or one of another version, is logged, counted in `unreadable`, and gives none
    either: the other channels still answer.

    The candidates of all scenarios come in one read and are put together by `candidates.combine`, which counts
    the time index again over all of them.

    Parameters
    ----------
    store : Store
    items : Vocabulary
        Candidates outside of it are dropped.
    name : str
    scenarios : sequence of str, optional
        Those to take candidates of; without, all that have been seen: the store is asked for them once a second.
    weights : dict of scenario to float, optional
        What a scenario's scores are multiplied by; 1 for one that is not named.
    """

    def __init__(
        self,
        store: Store,
        items: Vocabulary,
        name: str = "nearline",
        *,
        scenarios: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self._store = store
        self._scenarios = None if scenarios is None else list(scenarios)
        self._seen: list[str] = []
        self._seen_at = 0.0
        self._weights = weights
        self._items = items
        self._name = name
        self._turn = threading.Lock()
        self._retrieved: OrderedDict[int, NearlineCandidates] = OrderedDict()
        self.unreadable = 0
        """Stored values that could not be read."""

    @property
    def name(self) -> str:
        """The channel's name in candidates and reasons."""
        return self._name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """See `Channel.retrieve`. Raises `ValueError` where k is not positive, `StoreError` where the store is away."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        user_keys = queries.user_keys.tolist()
        stored = self._read(user_keys)
        self._remember(user_keys, stored)
        rows = np.repeat(np.arange(len(stored)), [len(found) for found in stored])
        items = self._items.codes_of_keys(np.concatenate([np.zeros(0, np.int64), *(found.items for found in stored)]))
        scores = np.concatenate([np.zeros(0), *(found.scores for found in stored)]).astype(np.float32)
        kept = items != UNKNOWN
        rows, items, scores = rows[kept], items[kept], scores[kept]
        if allowed is not None:
            kept = allowed.allows(rows, items)
            rows, items, scores = rows[kept], items[kept], scores[kept]
        order = np.lexsort((items, -scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        first = np.searchsorted(rows, np.arange(len(stored)))
        kept = np.arange(len(rows)) - first[rows] < k
        return Candidates.single(self._name, len(queries), rows[kept], items[kept], scores[kept])

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The scenario, visit and rank that each candidate came from, as they were when it was retrieved."""
        reasons: Reasons = [()] * len(candidates)
        own = np.flatnonzero(candidates.found_by(self._name))
        found_of = self._recall([int(queries.user_keys[row]) for row in np.unique(candidates.rows[own])])
        for at in own.tolist():
            found = found_of[int(queries.user_keys[candidates.rows[at]])]
            reasons[at] = (self._reason(found, int(self._items.keys[candidates.items[at]])),)
        return reasons

    def _reason(self, found: NearlineCandidates, item_key: int) -> Reason:
        places = np.flatnonzero(found.items == item_key)
        if not len(places):
            return Reason(self._name)
        visit = int(found.visits[places[0]])
        return Reason(
            self._name,
            scenario=found.scenarios[visit],
            visit=found.request_ids[visit],
            rank=int(found.ranks[places[0]]),
        )

    # -- what was retrieved is remembered for `explain`: by then the stream may have replaced it

    def _remember(self, user_keys: list[int], stored: list[NearlineCandidates]) -> None:
        with self._turn:
            for user_key, found in zip(user_keys, stored, strict=True):
                self._retrieved[user_key] = found
                self._retrieved.move_to_end(user_key)
            while len(self._retrieved) > _REMEMBERED:
                self._retrieved.popitem(last=False)

    def _recall(self, user_keys: list[int]) -> dict[int, NearlineCandidates]:
        with self._turn:
            found = {user_key: self._retrieved[user_key] for user_key in user_keys if user_key in self._retrieved}
        missing = [user_key for user_key in user_keys if user_key not in found]
        return found | dict(zip(missing, self._read(missing), strict=True))

    # -- the store

    def _read(self, user_keys: list[int]) -> list[NearlineCandidates]:
        names = self._wanted()
        keys = [candidates_key(user_key, name) for user_key in user_keys for name in names]
        try:
            raws = self._store.get_many(CANDIDATES, keys)
        except TornValue:
            raws = [self._value(key) for key in keys]
        parts = [self._decoded(raw) for raw in raws]
        n = len(names)
        return [combine(parts[row * n : (row + 1) * n], self._weights) for row in range(len(user_keys))]

    def _wanted(self) -> list[str]:
        if self._scenarios is not None:
            return self._scenarios
        now = time.monotonic()
        if not self._seen or now - self._seen_at > _REFRESH_SECONDS:
            self._seen, self._seen_at = seen_scenarios(self._store), now
        return self._seen

    def _value(self, key: bytes) -> bytes | None:
        try:
            return self._store.get_many(CANDIDATES, [key])[0]
        except TornValue as error:
            self._count_unreadable(error)
            return None

    def _decoded(self, raw: bytes | None) -> NearlineCandidates:
        if raw is None:
            return NearlineCandidates.none()
        try:
            return decode(raw)
        except ArtefactError as error:
            self._count_unreadable(error)
            return NearlineCandidates.none()

    def _count_unreadable(self, error: Exception) -> None:
        self.unreadable += 1
        logger.error("no nearline candidates for one user: %s", error)
