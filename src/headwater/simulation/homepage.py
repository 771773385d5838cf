"""The homepage as in production: the service's own stages over real channels. One that fails does not stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.queries import Queries
from headwater.ranking.base import Ranker
from headwater.retrieval.base import Candidates, Channel, Mask, Reasons
from headwater.retrieval.merge import WeightedQuotas
from headwater.service.matching import Matching
from headwater.simulation.catalogue import Catalogue
from headwater.simulation.scenarios import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FAULTS = 3
"""Answers that a channel may fail before it is cut off."""


@dataclass
class Health:
    """How a channel did.

    Attributes
    ----------
    asked, faults : int
        Batches of requests, and how many of them it failed.
    cut_off : str
        Why it is not asked any more; empty while it is.
    """

    asked: int = 0
    faults: int = 0
    cut_off: str = ""


@dataclass
class Guarded:
    """A channel that never fails: where it raises or stalls it has nothing to give, and in the end it is cut off.

    One that raises is cut off the third time; one that does not answer within `stall_seconds` at once, for its thread
    is lost. Both are counted in `health` and logged.

    Attributes
    ----------
    channel : Channel
    stall_seconds : float
    health : Health
    given : Candidates
        Its last answer.
    """

    channel: Channel
    stall_seconds: float
    health: Health = field(default_factory=Health)
    given: Candidates = field(init=False)

    def __post_init__(self) -> None:
        self.given = Candidates.empty(self.name, 0)

    @property
    def name(self) -> str:
        return self.channel.name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """See `Channel.retrieve`; nothing for anybody where the channel fails."""
        answer = None if self.health.cut_off else self._ask(queries, k, allowed)
        self.given = Candidates.empty(self.name, len(queries)) if answer is None else answer
        return self.given

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """See `Channel.explain`."""
        return self.channel.explain(queries, candidates)

    def _ask(self, queries: Queries, k: int, allowed: Mask | None) -> Candidates | None:
        health = self.health
        health.asked += 1
        answers: list[Candidates | Exception] = []

        def ask() -> None:
            try:
                answers.append(self.channel.retrieve(queries, k, allowed=allowed))
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=ask, name=f"channel {self.name}", daemon=True)
        thread.start()
        thread.join(self.stall_seconds)
        answer = answers[0] if answers else None
        if isinstance(answer, Candidates):
            return answer
        health.faults += 1
        if answer is None:
            health.cut_off = f"gave no answer within {self.stall_seconds:g} s"
        elif health.faults >= FAULTS:
            health.cut_off = f"failed {health.faults} times, at last with {type(answer).__name__}: {answer}"
        logger.warning("channel %s: %s", self.name, health.cut_off or f"failed with {answer!r}")
        return None


@dataclass(frozen=True)
class Retrieved:
    """What the channels found for one batch of requests, before the merge and after it."""

    requests: Requests
    parts: list[Candidates]
    merged: Candidates


class ChannelHomepage:
    """`Source` of the homepage: the stages of the service, for all requests of a minute at once.

    Parameters
    ----------
    channels : sequence of Channel
        At most 32.
    ranker : Ranker
    weights : mapping of str to float
        As in `WeightedQuotas`; 1 for a channel that is not named.
    catalogue : Catalogue
        Says what is on sale.
    stall_seconds : float
        See `Guarded`.
    watch : callable, optional
        Given what was retrieved, every time.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        ranker: Ranker,
        weights: Mapping[str, float],
        catalogue: Catalogue,
        *,
        stall_seconds: float = 10.0,
        watch: Callable[[Retrieved], None] | None = None,
    ) -> None:
        self._channels = [Guarded(channel, stall_seconds) for channel in channels]
        quotas = WeightedQuotas({channel.name: weights.get(channel.name, 1.0) for channel in channels})
        self._matching = Matching(self._channels, quotas, ranker)
        self._catalogue, self._watch = catalogue, watch

    @property
    def health(self) -> dict[str, Health]:
        """Of each channel."""
        return {channel.name: channel.health for channel in self._channels}

    def ranked(self, requests: Requests, queries: Queries, k: int) -> Candidates:
        """At most k candidates of each request in the ranker's order, none that was clicked or is not on sale."""
        allowed = Mask.seen(queries, catalogue=self._on_sale(requests))
        merged = self._matching.source(queries, k, allowed)
        if self._watch is not None:
            self._watch(Retrieved(requests, [channel.given for channel in self._channels], merged))
        return self._matching.score(queries, merged)

    def _on_sale(self, requests: Requests) -> NDArray[np.bool_]:
        # A tick has one mask: what arrives or retires within it is not shown.
        first, last = int(requests.times.min()), int(requests.times.max())
        return self._catalogue.on_sale(first) & self._catalogue.on_sale(last)
