"""One request through six stages: hydrate, filter, source, score, select, side effect.

What may not be returned is decided before the sources are asked, since every channel obeys one mask; so
hydrate and filter stand first here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from headwater.data.queries import Queries
from headwater.data.schema import Behaviour
from headwater.data.vocabulary import UNKNOWN, key_of
from headwater.errors import SchemaError, UnknownItem
from headwater.nearline.ranklog import RankLog
from headwater.nearline.records import RankedItem, Visit
from headwater.profile.history import Profile
from headwater.release import Release
from headwater.retrieval.base import Candidates, Channel, Mask
from headwater.retrieval.merge import WeightedQuotas
from headwater.service.matching import Matching, nearline_channels
from headwater.service.messages import Answer, AnsweredItem, CandidatesRequest, Why
from headwater.service.why import say_why
from headwater.store.base import Store

REASONS_SHOWN = 3
"""Reasons of one channel for one item in an answer, strongest first."""


@dataclass(frozen=True, slots=True)
class Hydrated:
    """A request with what is known of its user: one query row, and the code of the item on view (or -1)."""

    request: CandidatesRequest
    request_id: str
    now: int
    queries: Queries
    on_view: int


class Pipeline:
    """Answers requests from one release and the online state in a store.

    Parameters
    ----------
    release : Release
    store : Store
        Holds profiles and nearline candidates.
    log : RankLog or None
        Where each visit's ranked list is written, for the stream to read; None leaves no trace.
    """

    def __init__(self, release: Release, store: Store, log: RankLog | None) -> None:
        self.release = release
        self.profile = Profile(store)
        self.log = log
        weights = release.manifest.merge.weights
        channels: list[Channel] = [*release.channels, *nearline_channels(store, release.items, weights)]
        quotas = WeightedQuotas({channel.name: weights.get(channel.name, 0.0) for channel in channels})
        self.matching = Matching(channels, quotas, release.ranker)
        self.category_keys = [key_of(name) for name in release.category_names]
        self._unknown_events = 0

    def answer(self, request: CandidatesRequest, *, now: float | None = None) -> Answer:
        """Run the six stages. Raises `UnknownItem` where the item on view is not in the release."""
        hydrated = self.hydrate(request, time.time() if now is None else now)
        ranked = self.rank(hydrated)
        items = self.select(hydrated, ranked)
        self.side_effect(hydrated, ranked)
        return Answer(
            request_id=hydrated.request_id,
            release=self.release.id,
            scenario=request.scenario,
            history=int(hydrated.queries.lengths[0]) - (hydrated.on_view != UNKNOWN),
            ranked=len(ranked),
            items=items,
        )

    def rank(self, hydrated: Hydrated) -> Candidates:
        """The stages between what is known and what is shown: filter, source, score."""
        return self.score(hydrated, self.source(hydrated, self.filter(hydrated)))

    @property
    def channels(self) -> Sequence[Channel]:
        """The release's, and those of nearline."""
        return self.matching.channels

    @property
    def unknown_triggers(self) -> int:
        """Events of histories that led nowhere so far, for the release or a channel of it does not know the item."""
        return self._unknown_events + sum(getattr(channel, "unknown_triggers", 0) for channel in self.channels)

    def warm_up(self) -> None:
        """Rank once for nobody, so that compiled code and files are in memory before the first user asks."""
        if len(self.release.items):
            first = self.release.items.decode([0])[0]
            hydrated = self.hydrate(CandidatesRequest(user=0, item=first), 0.0)
            self.select(hydrated, self.rank(hydrated))

    def parse_id(self, user: str) -> int | str:
        """A user id typed on a command line, in the kind that this release's ids are of.

        Raises `SchemaError` where they are integers and this is none.
        """
        if self.release.users.kind == "string":
            return user
        try:
            return int(user)
        except ValueError as error:
            raise SchemaError(f"user ids of release {self.release.id} are integers; {user!r} is none") from error

    def recent(self, user: int | str, n: int) -> tuple[int, list[tuple[str, str]]]:
        """How many interactions of the user are kept, and (title, category) of the last n, newest first."""
        history = self.profile.history([key_of(user)])[0]
        codes = self.release.items.codes_of_keys(history.items)
        titles, names = self.release.titles, self.release.category_names
        shown = [code for code in codes[::-1].tolist() if code != UNKNOWN][:n]
        return len(codes), [(titles[code], names[self.release.categories[code]]) for code in shown]

    # -- the stages

    def hydrate(self, request: CandidatesRequest, now: float) -> Hydrated:
        """Add the user's online history; the item on view counts as clicked this moment."""
        items = self.release.items
        user_key = key_of(request.user)
        history = self.profile.history([user_key])[0]
        codes = items.codes_of_keys(history.items)
        known = codes != UNKNOWN
        self._unknown_events += int(len(codes) - known.sum())
        codes, times, behaviours = codes[known], history.times[known], history.behaviours[known]
        on_view = UNKNOWN
        if request.item is not None:
            on_view = items.code(request.item)
            if on_view == UNKNOWN:
                raise UnknownItem(f"item {request.item!r} is not in release {self.release.id}")
            codes = np.append(codes, np.int32(on_view))
            times = np.append(times, np.int64(now))
            behaviours = np.append(behaviours, np.int8(Behaviour.CLICK))
        queries = Queries(
            users=np.array([self.release.users.code(request.user)], np.int32),
            user_keys=np.array([user_key], np.int64),
            offsets=np.array([0, len(codes)], np.int64),
            items=codes,
            times=times,
            behaviours=behaviours,
            request_times=np.array([int(now)], np.int64),
            scenarios=(request.scenario,),
        )
        return Hydrated(request, _request_id(now), int(now), queries, on_view)

    def filter(self, hydrated: Hydrated) -> Mask:
        """What may not be returned: everything in the history, the item on view, and the caller's exclusions."""
        excluded = self.release.items.encode(cast("list[int]", hydrated.request.exclude))
        refused = np.unique(np.concatenate([hydrated.queries.items, excluded[excluded != UNKNOWN]]))
        return Mask(np.array([0, len(refused)], np.int64), refused)

    def source(self, hydrated: Hydrated, allowed: Mask) -> Candidates:
        """Ask every channel and merge by weighted quotas into the release's pool size."""
        return self.matching.source(
            hydrated.queries, max(self.release.manifest.merge.pool, hydrated.request.k), allowed
        )

    def score(self, hydrated: Hydrated, candidates: Candidates) -> Candidates:
        """The candidates in the ranker's order, with its scores; equal scores by item code."""
        return self.matching.score(hydrated.queries, candidates)

    def select(self, hydrated: Hydrated, ranked: Candidates) -> list[AnsweredItem]:
        """The first k, each with its channels and its reasons."""
        page = ranked.select(np.arange(min(hydrated.request.k, len(ranked))))
        why: list[list[Why]] = [[] for _ in range(len(page))]
        for channel in self.channels:
            for at, reasons in enumerate(channel.explain(hydrated.queries, page)):
                if channel.name in page.channels_at(at):
                    shown = reasons[:REASONS_SHOWN]
                    why[at].extend(say_why(self.release, reason, hydrated.on_view) for reason in shown)
        codes: list[int] = page.items.tolist()
        ids = self.release.items.decode(page.items)
        names = self.release.category_names
        categories: list[int] = self.release.categories[page.items].tolist()
        return [
            AnsweredItem(
                item=ids[at],
                title=self.release.titles[code],
                category=names[categories[at]],
                score=round(float(page.scores[at]), 6),
                channels=list(page.channels_at(at)),
                why=why[at],
            )
            for at, code in enumerate(codes)
        ]

    def side_effect(self, hydrated: Hydrated, ranked: Candidates) -> None:
        """Write the visit's rank log: all that was ranked, exposed or not."""
        if self.log is None or not len(ranked):
            return
        request = hydrated.request
        keys: list[int] = self.release.items.keys[ranked.items].tolist()
        categories: list[int] = self.release.categories[ranked.items].tolist()
        self.log.append(
            Visit(
                request_id=hydrated.request_id,
                scenario=request.scenario,
                user=int(hydrated.queries.user_keys[0]),
                timestamp=hydrated.now,
                release=self.release.id,
                arm="",
                items=[
                    RankedItem(
                        item=keys[at],
                        score=float(ranked.scores[at]),
                        category=self.category_keys[categories[at]],
                        channels=list(ranked.channels_at(at)),
                        exposed=at < request.k,
                        position=at if at < request.k else None,
                    )
                    for at in range(len(ranked))
                ],
            )
        )


def _request_id(now: float) -> str:
    """Ids that sort by time: two visits within one second keep their order in the nearline queue."""
    return f"{int(now * 1_000_000):014x}{secrets.token_hex(5)}"
