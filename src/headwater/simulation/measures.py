"""What an arm came to: by user, for tests; by channel, as the nearline paper's tables have it."""

from __future__ import annotations

from collections.abc import Mapping
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
    "clicks a user": ("clicks", "users"),
    "diversity": ("categories", "pages"),
    "transactions": ("transactions", "users"),
    "session length": ("visits", "sessions"),
}
"""Each a sum of one count over a sum of another."""

ALL = "all channels"
REFERENCE_K = 100
"""Candidates that Hirate is normalised to."""

GROUPS = 250
"""User u belongs to group u mod `GROUPS`: sums of groups are what intervals of a channel's figures are drawn from."""

SUMS = ("exposures", "clicks", "purchases", "requests", "retrieved", "behaviours", "hits")
"""By channel and group. The first three are of the exposures that the channel had retrieved; the others are of the
requests that Hirate samples, see `Measures.channel_sums`."""


@dataclass(frozen=True)
class ChannelRow:
    """One row of the paper's table 1.

    Attributes
    ----------
    name : str
    pvr : float
        Share of exposed items that the channel had retrieved; several channels may claim one item.
    hirate : float
        See `figures`; nan where no behaviour came within 24 measured hours.
    ctr, ctcvr : float
        Of the exposures that it had retrieved.
    retrieved : float
        Mean candidates of a request; nan where no request was sampled, as with one measured day.
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

    def texts(self) -> list[str]:
        """In the order of `COLUMNS`, as tables print them; a dash for what is not defined."""
        hirate = "-" if np.isnan(self.hirate) else f"{self.hirate:.2%}"
        retrieved = "-" if np.isnan(self.retrieved) else f"{self.retrieved:.0f}"
        rates = [f"{self.pvr:.2%}", hirate, f"{self.ctr:.4f}", f"{self.ctcvr:.5f}"]
        return [self.name, *rates, retrieved, f"{self.purchases:,}"]


COLUMNS = ("channel", "PVR", "Hirate", "CTR", "CTCVR", "retrieved", "purchases")
"""Headings of `ChannelRow.texts`."""


def figures(mine: NDArray[np.number], everything: NDArray[np.number]) -> dict[str, NDArray[np.float64]]:
    """PVR, Hirate, CTR, CTCVR and mean retrieved of a channel from its sums; nan where there is nothing to divide by.

    Hirate: of the clicks that a user makes in any scenario within 24 hours of a request, the share whose item the
    channel had retrieved for it, times `REFERENCE_K` over the mean number of items retrieved.

    Parameters
    ----------
    mine, everything : (..., len(SUMS))
        Sums of the channel, and of all channels together.
    """
    exposures, clicks, purchases, requests, retrieved, behaviours, hits = np.moveaxis(mine.astype(np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = retrieved / requests
        return {
            "pvr": exposures / everything[..., SUMS.index("exposures")],
            "hirate": hits / behaviours * REFERENCE_K / mean,
            "ctr": clicks / exposures,
            "ctcvr": purchases / exposures,
            "retrieved": mean,
        }


def rows_of(sums: Mapping[str, NDArray[np.int64]]) -> list[ChannelRow]:
    """A row for each channel of `Measures.channel_sums`; figures of a channel that showed nothing are 0."""
    totals = {name: by_group.sum(axis=0) for name, by_group in sums.items()}
    rows = []
    for name, mine in totals.items():
        found = {key: float(value) for key, value in figures(mine, totals[ALL]).items()}
        for key in ("pvr", "ctr", "ctcvr"):
            found[key] = 0.0 if np.isnan(found[key]) else found[key]
        exposures, purchases = (int(mine[SUMS.index(count)]) for count in ("exposures", "purchases"))
        rows.append(ChannelRow(name=name, exposures=exposures, purchases=purchases, **found))
    return rows


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
        self._shown: dict[str, NDArray[np.int64]] = {ALL: np.zeros((GROUPS, 3), np.int64)}
        self._sampled = np.full(n_users, -1, np.int64)
        self._samples: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]]] = {}
        self._clicked: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []

    def __call__(self, page: Page) -> None:
        if int(page.requests.times.min()) < self._begin:
            return
        users, outcome = page.requests.users, page.outcome
        rows = np.repeat(np.arange(len(users)), np.diff(outcome.offsets))
        self._add(users, "visits", 1)
        self._add(users, "sessions", page.requests.moments % 100 == 0)
        self._add(users[rows], "transactions", outcome.purchases)
        clicks = np.flatnonzero(outcome.clicks)
        self._clicked.append((_moment(users[rows[clicks]], page.requests.times[rows[clicks]]), outcome.items[clicks]))
        if page.scenario != HOMEPAGE:
            return
        counts = np.stack([np.ones(len(rows), np.int64), outcome.clicks, outcome.purchases], axis=1)
        for at, name in enumerate(("exposures", "clicks", "purchases")):
            self._add(users[rows], name, counts[:, at])
        self._add(users, "pages", 1)
        pairs = np.unique(rows.astype(np.int64) << 32 | self._categories[outcome.items])
        self._add(users[pairs >> 32], "categories", 1)
        groups, shown = users[rows] % GROUPS, page.shown()
        np.add.at(self._shown[ALL], groups, counts)
        for name in page.ranked.names:
            is_found = page.ranked.found_by(name)[shown]
            mine = self._shown.setdefault(name, np.zeros((GROUPS, 3), np.int64))
            np.add.at(mine, groups[is_found], counts[is_found])

    def watch(self, retrieved: Retrieved) -> None:
        """Keep what each channel found for the first homepage visit of each user and day."""
        requests = retrieved.requests
        days = requests.times // DAY
        first = (requests.times >= self._begin) & (self._sampled[requests.users] < days)
        self._sampled[requests.users[first]] = days[first]
        kept = np.flatnonzero(first & (requests.times + DAY <= self._end))  # else its 24 hours are not all measured
        if not len(kept):
            return
        moments = _moment(requests.users[kept], requests.times[kept])
        for name, part in ((ALL, retrieved.merged), *((part.names[0], part) for part in retrieved.parts)):
            offsets = part.offsets
            sizes = np.diff(offsets)[kept]
            at = np.repeat(offsets[kept] - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
            self._samples.setdefault(name, []).append((moments, sizes, part.items[at]))

    def channels(self) -> list[ChannelRow]:
        """A row for all channels together, then one for each."""
        return rows_of(self.channel_sums())

    def channel_sums(self) -> dict[str, NDArray[np.int64]]:
        """Channel -> (GROUPS, len(SUMS)) int64; all channels together come first, as `ALL`.

        Hirate samples the first homepage request of each user and day whose 24 hours are all measured: `requests` of
        them, `retrieved` candidates, `behaviours` (clicks in any scenario within the 24 hours), and how many `hits` of
        these were of an item that the channel had retrieved.
        """
        columns = zip(*self._clicked, strict=True)
        moments, items = map(np.concatenate, columns) if self._clicked else (np.zeros(0, np.int64),) * 2
        order = np.argsort(moments, kind="stable")
        moments, items = moments[order], items[order]
        found = {}
        for name in dict.fromkeys((*self._shown, *self._samples)):
            sums = np.zeros((GROUPS, len(SUMS)), np.int64)
            sums[:, :3] = self._shown.get(name, 0)
            self._add_hits(sums, name, moments, items)
            found[name] = sums
        return found

    def _add_hits(
        self, sums: NDArray[np.int64], name: str, clicked: NDArray[np.int64], clicked_items: NDArray[np.integer]
    ) -> None:
        if name not in self._samples:
            return
        samples, sizes, items = (np.concatenate(column) for column in zip(*self._samples[name], strict=True))
        groups = (samples >> _SECONDS) % GROUPS
        begins, ends = (np.searchsorted(clicked, samples + later, "right") for later in (0, DAY))
        behaviours = ends - begins
        # Every pair of a sampled request and a later click, looked up among the pairs of request and candidate.
        rows = np.repeat(np.arange(len(samples)), behaviours)
        at = np.repeat(begins - (np.cumsum(behaviours) - behaviours), behaviours) + np.arange(len(rows))
        wanted = rows << 32 | clicked_items[at].astype(np.int64)
        given = np.repeat(np.arange(len(samples)), sizes) << 32 | items
        is_hit = np.isin(wanted, given)
        for count, values, of in (
            ("requests", np.ones(len(samples), np.int64), groups),
            ("retrieved", sizes, groups),
            ("behaviours", behaviours, groups),
            ("hits", is_hit, groups[rows]),
        ):
            np.add.at(sums[:, SUMS.index(count)], of, values)

    def _add(self, users: NDArray[np.int32], name: str, values: NDArray | int) -> None:
        np.add.at(self.users[:, COUNTS.index(name)], users, values)


_SECONDS = 32
"""Bits of a time: user and time make one number that sorts by user, then time. A user's last 24 hours end there."""


def _moment(users: NDArray[np.int32], times: NDArray[np.int64]) -> NDArray[np.int64]:
    return users.astype(np.int64) << _SECONDS | times
