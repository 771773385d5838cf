"""What an arm came to: by user, for tests; by channel, as the nearline paper's tables have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.simulation.homepage import Retrieved
from headwater.simulation.play import Page
from headwater.simulation.scenarios import HOMEPAGE
from headwater.simulation.world import DAY

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = ("users", "exposures", "clicks", "purchases", "pages", "categories", "transactions", "visits", "sessions")
"""By user. Exposures to purchases, pages and the different categories on them are the homepage's; transactions
(purchases), visits and sessions are those of all scenarios."""

METRICS = {
    "CTR": ("clicks", "exposures"),
    "CTCVR": ("purchases", "exposures"),
    "diversity": ("categories", "pages"),
    "transactions": ("transactions", "users"),
    "session length": ("visits", "sessions"),
}
"""Each a sum of one count over a sum of another."""

ALL = "all channels"
REFERENCE_K = 100
"""Candidates that Hirate is normalised to."""


@dataclass(frozen=True)
class ChannelRow:
    """One row of the paper's table 1.

    Attributes
    ----------
    name : str
    pvr : float
        Share of exposed items that the channel had retrieved; several channels may claim one item.
    hirate : float
        See `Measures.hirate`; nan where no behaviour came within 24 measured hours.
    ctr, ctcvr : float
        Of the exposures that it had retrieved.
    retrieved : float
        Mean candidates of a request.
    exposures, purchases : int
    """

    name: str
    pvr: float
    hirate: float
    ctr: float
    ctcvr: float
    retrieved: float
    exposures: int
    purchases: int


class Measures:
    """Sink of `Play`, and watcher of the homepage's channels.

    Parameters
    ----------
    n_users : int
    categories : (items,) int32
    begin, end : int
        Seconds after the start between which it counts.
    """

    def __init__(self, n_users: int, categories: NDArray[np.int32], begin: int, end: int) -> None:
        self._categories, self._begin, self._end = categories, begin, end
        self.users = np.zeros((n_users, len(COUNTS)), np.int64)
        self.users[:, 0] = 1
        self._by_channel: dict[str, NDArray[np.int64]] = {}
        self._sampled = np.full(n_users, -1, np.int64)
        self._samples: list[tuple[int, int, str, NDArray[np.int32]]] = []
        self._clicked: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]] = []

    def __call__(self, page: Page) -> None:
        if int(page.requests.times.min()) < self._begin:
            return
        users, outcome = page.requests.users, page.outcome
        rows = np.repeat(np.arange(len(users)), np.diff(outcome.offsets))
        self._add(users, "visits", 1)
        self._add(users, "sessions", page.requests.moments % 100 == 0)
        self._add(users[rows], "transactions", outcome.purchases)
        clicks = np.flatnonzero(outcome.clicks)
        self._clicked.append((users[rows[clicks]], page.requests.times[rows[clicks]], outcome.items[clicks]))
        if page.scenario != HOMEPAGE:
            return
        for name, values in (("exposures", 1), ("clicks", outcome.clicks), ("purchases", outcome.purchases)):
            self._add(users[rows], name, values)
        self._add(users, "pages", 1)
        pairs = np.unique(rows.astype(np.int64) << 32 | self._categories[outcome.items])
        self._add(users[pairs >> 32], "categories", 1)
        shown = page.shown()
        for bit, name in enumerate(page.ranked.names):
            is_found = (page.ranked.channels[shown] >> np.uint32(bit) & np.uint32(1)).astype(bool)
            counts = (is_found.sum(), outcome.clicks[is_found].sum(), outcome.purchases[is_found].sum())
            self._by_channel.setdefault(name, np.zeros(3, np.int64))[:] += np.array(counts, np.int64)

    def watch(self, retrieved: Retrieved) -> None:
        """Keep what each channel found for the first homepage visit of each user and day."""
        requests = retrieved.requests
        days = requests.times // DAY
        first = (requests.times >= self._begin) & (self._sampled[requests.users] < days)
        self._sampled[requests.users[first]] = days[first]
        for row in np.flatnonzero(first).tolist():
            user, time = int(requests.users[row]), int(requests.times[row])
            if time + DAY > self._end:  # its 24 hours are not all measured
                continue
            self._samples.append((user, time, ALL, retrieved.merged.of(row).copy()))
            for part in retrieved.parts:
                self._samples.append((user, time, part.names[0], part.of(row).copy()))

    def channels(self) -> list[ChannelRow]:
        """A row for all channels together, then one for each."""
        total = self.users.sum(axis=0)
        exposures, clicks, purchases = (int(total[COUNTS.index(name)]) for name in ("exposures", "clicks", "purchases"))
        rows = [self._row(ALL, exposures, clicks, purchases, exposures)]
        for name, (shown, clicked, bought) in self._by_channel.items():
            rows.append(self._row(name, int(shown), int(clicked), int(bought), exposures))
        return rows

    def hirate(self, name: str) -> tuple[float, float]:
        """(Hirate, mean retrieved) of a channel.

        Of the clicks that a user makes in any scenario within 24 hours of a request, the share whose item the channel
        had retrieved for it, times `REFERENCE_K` over the mean number of items retrieved.
        """
        behaviours, hits, sizes = 0, 0, []
        clicks = self._clicks_by_user
        for user, time, channel, items in self._samples:
            if channel != name:
                continue
            sizes.append(len(items))
            times, clicked = clicks.get(user, (np.zeros(0, np.int64), np.zeros(0, np.int32)))
            later = clicked[(times > time) & (times <= time + DAY)]
            behaviours += len(later)
            hits += int(np.isin(later, items).sum())
        retrieved = float(np.mean(sizes)) if sizes else 0.0
        if not behaviours or not retrieved:
            return float("nan"), retrieved
        return hits / behaviours * REFERENCE_K / retrieved, retrieved

    @property
    def _clicks_by_user(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int32]]]:
        if not self._clicked:
            return {}
        users, times, items = (np.concatenate(columns) for columns in zip(*self._clicked, strict=True))
        order = np.argsort(users, kind="stable")
        users, times, items = users[order], times[order], items[order]
        known, starts = np.unique(users, return_index=True)
        stops = np.append(starts[1:], len(users))
        return {
            int(user): (times[start:stop], items[start:stop])
            for user, start, stop in zip(known, starts, stops, strict=True)
        }

    def _row(self, name: str, shown: int, clicks: int, purchases: int, exposures: int) -> ChannelRow:
        hirate, retrieved = self.hirate(name)
        pvr = shown / exposures if exposures else 0.0
        ctr, ctcvr = (clicks / shown, purchases / shown) if shown else (0.0, 0.0)
        return ChannelRow(name, pvr, hirate, ctr, ctcvr, retrieved, shown, purchases)

    def _add(self, users: NDArray[np.int32], name: str, values: NDArray | int) -> None:
        np.add.at(self.users[:, COUNTS.index(name)], users, values)
