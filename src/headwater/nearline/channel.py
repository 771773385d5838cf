"""The nearline channel: what the stream left in the store for a user, as candidates."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from headwater.data.queries import Queries
from headwater.data.vocabulary import UNKNOWN, Vocabulary
from headwater.errors import ArtefactError, ConfigError, StoreError, TornValue
from headwater.nearline.candidates import NearlineCandidates, combine, decode, decode_all
from headwater.nearline.scenarios import seen_scenarios
from headwater.nearline.stored import CANDIDATES, candidates_key
from headwater.retrieval.base import Candidates, Mask, Reason, Reasons
from headwater.store.base import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_REMEMBERED = 1_024
_SPARE = 50
_AWAY_SECONDS = 1.0
_WARNING_SECONDS = 60.0


class NearlineChannel:
    """`Channel` over the candidates that a `Stream` keeps in a store, with finalScore of eq. 6 as the score.

    It asks for the queries' users by key in one read; the histories play no part, so an item that was just
    acted on, which the stream may not know yet, is the caller's mask to refuse. A user without stored candidates
    has none.

    The candidates of all scenarios come in one read and are put together by `candidates.combine`, which counts
    the time index again over all of them. The scenarios are those that `scenarios.seen_scenarios` lists: a bounded
    number, however many names came in.

    Nothing that is wrong with the store stops the other channels: a torn value, or one of another version, gives no
    candidates and is counted in `unreadable`; a store that is away gives none to anybody, is counted in `failures`, and
    is asked again after a second. A warning says so once a minute at most.

    Parameters
    ----------
    store : Store
    items : Vocabulary
        Candidates outside of it are dropped.
    name : str
    scenarios : sequence of str, optional
        Those to take candidates of; without, all that the store lists, looked up once a second.
    weights : dict of scenario to float, optional
        Above 0; what a scenario's scores are multiplied by; 1 for one that is not named.
    clock : callable
        Seconds that never jump back: when to ask a store that was away, and warn again.

    Raises
    ------
    ConfigError
        A weight is not above 0.
    """

    def __init__(
        self,
        store: Store,
        items: Vocabulary,
        name: str = "nearline",
        *,
        scenarios: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for scenario, weight in (weights or {}).items():
            if not 0 < weight < float("inf"):
                raise ConfigError(
                    f"the nearline weight of scenario {scenario!r} must be above 0, not {weight}; to leave a scenario "
                    "out, name the others in `scenarios`"
                )
        self._store = store
        self._scenarios = None if scenarios is None else list(dict.fromkeys(scenarios))
        self._ask_at = self._warn_at = float("-inf")
        self._weights = weights
        self._items = items
        self._name = name
        self._clock = clock
        self._turn = threading.Lock()
        self._retrieved: OrderedDict[int, NearlineCandidates] = OrderedDict()
        self.unreadable = 0
        """Stored values that could not be read."""
        self.failures = 0
        """Reads of the store that failed as a whole."""

    @classmethod
    def separate(cls, store: Store, items: Vocabulary, scenarios: Sequence[str]) -> list[Self]:
        """A channel for each scenario, named ``nearline/<scenario>``, as the paper has it (table 1).

        Each has its own list, scores and time index, so that a merge gives each its own quota; each reads by itself.
        """
        return [cls(store, items, f"nearline/{name}", scenarios=[name]) for name in dict.fromkeys(scenarios)]

    @property
    def name(self) -> str:
        """The channel's name in candidates and reasons."""
        return self._name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """See `Channel.retrieve`. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        user_keys = queries.user_keys.tolist()
        stored = self._read(user_keys)
        self._remember(user_keys, stored)
        scores = [found.scores.astype(np.float32) for found in stored]
        # Of five scenarios' candidates a fourth is looked at, unless that turns out to be too few for somebody.
        lengths = [_head(of_user, k + _SPARE) for of_user in scores]
        best, n_best = self._best(stored, scores, lengths, k, allowed)
        if any(n < k and length < len(found) for n, length, found in zip(n_best, lengths, stored, strict=True)):
            best, _ = self._best(stored, scores, [len(found) for found in stored], k, allowed)
        return best

    def _best(
        self,
        stored: Sequence[NearlineCandidates],
        scores: Sequence[NDArray[np.float32]],
        lengths: Sequence[int],
        k: int,
        allowed: Mask | None,
    ) -> tuple[Candidates, list[int]]:
        """The k best of the first `lengths` of each user's, and how many those are."""
        pairs = list(zip(stored, scores, lengths, strict=True))
        rows = np.repeat(np.arange(len(stored)), lengths)
        keys = np.concatenate([np.zeros(0, np.int64), *(found.items[:length] for found, _, length in pairs)])
        values = np.concatenate([np.zeros(0, np.float32), *(of_user[:length] for _, of_user, length in pairs)])
        items = self._items.codes_of_keys(keys)
        kept = items != UNKNOWN
        rows, items, values = rows[kept], items[kept], values[kept]
        if allowed is not None:
            kept = allowed.allows(rows, items)
            rows, items, values = rows[kept], items[kept], values[kept]
        order = np.lexsort((items, -values, rows))
        rows, items, values = rows[order], items[order], values[order]
        first = np.searchsorted(rows, np.arange(len(stored)))
        kept = np.arange(len(rows)) - first[rows] < k
        best = Candidates.single(self._name, len(stored), rows[kept], items[kept], values[kept])
        return best, np.bincount(rows[kept], minlength=len(stored)).tolist()

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The scenario, the visit with its age, and the rank that each candidate came from when it was retrieved."""
        reasons: Reasons = [()] * len(candidates)
        own = np.flatnonzero(candidates.found_by(self._name))
        found_of = self._recall([int(queries.user_keys[row]) for row in np.unique(candidates.rows[own])])
        for at in own.tolist():
            row = int(candidates.rows[at])
            found = found_of[int(queries.user_keys[row])]
            item_key, now = int(self._items.keys[candidates.items[at]]), int(queries.request_times[row])
            reasons[at] = (self._reason(found, item_key, now),)
        return reasons

    def _reason(self, found: NearlineCandidates, item_key: int, now: int) -> Reason:
        places = np.flatnonzero(found.items == item_key)
        if not len(places):
            return Reason(self._name)
        visit = int(found.visits[places[0]])
        return Reason(
            self._name,
            scenario=found.scenarios[visit],
            visit=found.request_ids[visit],
            rank=int(found.ranks[places[0]]),
            age_seconds=max(now - int(found.timestamps[visit]), 0),  # clocks of two machines may differ
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
        none = [NearlineCandidates.none()] * len(user_keys)
        if self._clock() < self._ask_at:
            return none
        try:
            names = self._wanted()
            keys = [candidates_key(user_key, name) for user_key in user_keys for name in names]
            raws = self._values(keys) if keys else []
        except StoreError as error:
            self.failures += 1
            self._ask_at = self._clock() + _AWAY_SECONDS
            self._warn("answers come without nearline candidates (%d times so far): %s", self.failures, error)
            return none
        n = len(names)
        return [self._combined(raws[row * n : (row + 1) * n]) for row in range(len(user_keys))]

    def _combined(self, raws: Sequence[bytes | None]) -> NearlineCandidates:
        found = [raw for raw in raws if raw is not None]
        try:
            return combine([decode_all(found)], self._weights)
        except ArtefactError:
            return combine([self._decoded(raw) for raw in found], self._weights)

    def _wanted(self) -> list[str]:
        if self._scenarios is not None:
            return self._scenarios
        # Looked up each time: a list that is a second old would hide the first visit of a scenario for that long.
        return seen_scenarios(self._store)

    def _values(self, keys: list[bytes]) -> list[bytes | None]:
        try:
            return self._store.get_many(CANDIDATES, keys)
        except TornValue:
            return [self._value(key) for key in keys]

    def _value(self, key: bytes) -> bytes | None:
        try:
            return self._store.get_many(CANDIDATES, [key])[0]
        except TornValue as error:
            self._count_unreadable(error)
            return None

    def _decoded(self, raw: bytes) -> NearlineCandidates:
        try:
            return decode(raw)
        except ArtefactError as error:
            self._count_unreadable(error)
            return NearlineCandidates.none()

    def _count_unreadable(self, error: Exception) -> None:
        self.unreadable += 1
        self._warn("no nearline candidates of one user and scenario (%d so far): %s", self.unreadable, error)

    def _warn(self, what: str, *details: object) -> None:
        now = self._clock()
        if now >= self._warn_at:  # a store of another version would fill the log with one line for each request
            self._warn_at = now + _WARNING_SECONDS
            logger.warning(what, *details)


def _head(scores: NDArray[np.float32], n: int) -> int:
    """How many of descending scores are at least as good as the n-th."""
    return len(scores) if n >= len(scores) else int(np.searchsorted(-scores, -float(scores[n - 1]), side="right"))
