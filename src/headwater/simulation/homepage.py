"""The homepage's candidates as in production: channels, one mask, one merge. A channel that fails does not stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates, Channel, Mask
from headwater.retrieval.merge import WeightedQuotas, merge
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


@dataclass(frozen=True)
class Retrieved:
    """What the channels found for one batch of requests, before the merge and after it."""

    requests: Requests
    parts: list[Candidates]
    merged: Candidates


@dataclass
class ChannelHomepage:
    """`Source` of the homepage over real channels.

    A channel that raises gives no candidates for that batch; the third time it is cut off. One that does not answer
    within `stall_seconds` is cut off at once, for its thread is lost. Both are counted in `health` and logged, and the
    other channels go on.

    Attributes
    ----------
    channels : sequence of Channel
    weights : mapping of str to float
        As in `WeightedQuotas`; 1 for a channel that is not named.
    catalogue : Catalogue
        Says what is on sale.
    stall_seconds : float
    watch : callable, optional
        Given what was retrieved, every time.
    """

    channels: Sequence[Channel]
    weights: dict[str, float]
    catalogue: Catalogue
    stall_seconds: float = 10.0
    watch: Callable[[Retrieved], None] | None = None
    health: dict[str, Health] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.health = {channel.name: Health() for channel in self.channels}
        self._quotas = WeightedQuotas({name: self.weights.get(name, 1.0) for name in self.health})

    def candidates(self, requests: Requests, queries: Queries, k: int) -> Candidates:
        """The merged candidates of each request, none that the user clicked or that is not on sale, at most k."""
        allowed = Mask.seen(queries, catalogue=self._on_sale(requests))
        parts = [self._ask(channel, queries, k, allowed) for channel in self.channels]
        merged = merge(parts, k, strategy=self._quotas)
        if self.watch is not None:
            self.watch(Retrieved(requests, parts, merged))
        return merged

    def _on_sale(self, requests: Requests) -> NDArray[np.bool_]:
        # A tick has one mask: what arrives or retires within it is not shown.
        first, last = int(requests.times.min()), int(requests.times.max())
        return self.catalogue.on_sale(first) & self.catalogue.on_sale(last)

    def _ask(self, channel: Channel, queries: Queries, k: int, allowed: Mask) -> Candidates:
        health = self.health[channel.name]
        if health.cut_off:
            return Candidates.empty(channel.name, len(queries))
        health.asked += 1
        answers: list[Candidates | Exception] = []

        def ask() -> None:
            try:
                answers.append(channel.retrieve(queries, k, allowed=allowed))
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=ask, name=f"channel {channel.name}", daemon=True)
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
        logger.warning("channel %s: %s", channel.name, health.cut_off or f"failed with {answer!r}")
        return Candidates.empty(channel.name, len(queries))
