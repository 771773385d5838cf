"""What an arm's measured days looked like as they passed: by the hour, by the minute of an intent, and users' visits.

A `Chronicle` is given every page and may look at the truth, for it serves no one: it is what reports are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.simulation.play import Page
from headwater.simulation.scenarios import HOMEPAGE, MAIN_SEARCH, PHOTO_SEARCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.simulation.arms import DaysConfig
    from headwater.simulation.shoppers import Shoppers
    from headwater.simulation.world import World

HOUR = 3_600
DAY = 24 * HOUR
MINUTES = (1, 2, 5, 15, 60, 240)
"""Since an intent began in search: borders of the groups that the homepage's visits fall into."""


@dataclass(frozen=True)
class Entry:
    """One visit of a user.

    Attributes
    ----------
    time : int
        Seconds after the start.
    scenario : int
        See `SCENARIOS`.
    about : int
        The category that was asked for, or that the item on view is of; -1 on the homepage.
    intent : int
        The category that the user wanted while looking, or began to want on the page; -1 for none.
    categories : (m,) int32
        Of what was shown, from the top.
    is_nearline : (m,) bool
        Whether a nearline channel had retrieved it.
    clicks, purchases : (m,) int8
    """

    time: int
    scenario: int
    about: int
    intent: int
    categories: NDArray[np.int32]
    is_nearline: NDArray[np.bool_]
    clicks: NDArray[np.int8]
    purchases: NDArray[np.int8]

    @property
    def shows_wanted(self) -> NDArray[np.bool_]:
        """(m,) whether each shown item is of the wanted category."""
        return (self.categories == self.intent) & (self.intent >= 0)


@dataclass(frozen=True)
class Turn:
    """A search that began an intent, and the homepage before and after it.

    Attributes
    ----------
    before, search, after : Entry
    gained : int
        Items of the wanted category that the homepage shows more of than before.
    """

    before: Entry
    search: Entry
    after: Entry

    @property
    def gained(self) -> int:
        wanted = self.search.intent
        return int((self.after.categories == wanted).sum()) - int((self.before.categories == wanted).sum())

    @property
    def rank(self) -> tuple[int, int]:
        """Greater for one that changed more, and of those that changed alike for the faster one."""
        return self.gained, self.search.time - self.after.time


def turn_of(entries: Sequence[Entry]) -> Turn | None:
    """The search of a day that changed the homepage most, compared within half an hour; None where none changed it."""
    turns = []
    for at, search in enumerate(entries):
        if search.scenario != MAIN_SEARCH or search.intent < 0 or search.intent != search.about:
            continue
        if at and entries[at - 1].intent == search.intent:
            continue  # it began before
        before = [one for one in entries[:at] if one.scenario == HOMEPAGE]
        after = [one for one in entries[at + 1 :] if one.scenario == HOMEPAGE and one.time - search.time < HOUR // 2]
        if before and after:
            turns.append(Turn(before[-1], search, after[0]))
    best = max(turns, key=lambda turn: turn.rank, default=None)
    return best if best is not None and best.gained > 0 else None


class Chronicle:
    """Watches an arm.

    Parameters
    ----------
    n_users : int
    categories : (items,) int32
    begin, end : int
        Seconds after the start between which it counts.
    day : int
        First second of the day whose visits are kept.
    """

    def __init__(self, n_users: int, categories: NDArray[np.int32], begin: int, end: int, day: int) -> None:
        self._categories, self._begin, self._day = categories, begin, day
        self._credit: dict[str, NDArray[np.float64]] = {}
        self.exposures = np.zeros((end - begin) // HOUR, np.int64)
        self._until = np.zeros(n_users, np.int64)
        self._wanted = np.full(n_users, -1, np.int32)
        self._began = np.zeros(n_users, np.int64)
        self._in_search = np.zeros(n_users, bool)
        self.wanted = np.zeros((len(MINUTES) - 1, 2), np.int64)
        self._visits: dict[int, list[Entry]] = {}

    @classmethod
    def of(cls, world: World, days: DaysConfig) -> Chronicle:
        """Of an arm's measured days, and visits of the last of them."""
        begin, end = ((days.warm_up + days.settle) * DAY, days.in_all * DAY)
        return cls(world.config.world.users, world.catalogue.categories, begin, end, end - DAY)

    def __call__(self, page: Page, shoppers: Shoppers) -> None:
        times = page.requests.times
        wanted, since = self._follow_intents(page, shoppers)
        if int(times.min()) < self._begin:
            return
        if page.scenario == HOMEPAGE:
            self._count_hours(page)
            self._count_wanted(page, wanted, since)
        if self._day <= int(times.min()) < self._day + DAY:
            self._keep(page, wanted)

    def credit(self) -> dict[str, NDArray[np.float64]]:
        """Channel -> (hours,) share of the homepage's exposures; one that n channels had retrieved counts 1/n for each.

        An hour without exposures is nan.
        """
        with np.errstate(invalid="ignore"):
            exposures = np.where(self.exposures, self.exposures, np.nan)
            return {name: counts / exposures for name, counts in self._credit.items()}

    def entries(self, user: int) -> list[Entry]:
        """The kept day's visits of a user, in order."""
        return sorted(self._visits.get(user, []), key=lambda entry: entry.time)

    def told_best(self) -> int | None:
        """The user whose homepage a search changed most; None where nobody's did. See `turn_of`."""
        turns = {user: turn for user in sorted(self._visits) if (turn := turn_of(self.entries(user))) is not None}
        return max(turns, key=lambda user: turns[user].rank, default=None)

    def _follow_intents(self, page: Page, shoppers: Shoppers) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(visits,) what each user wanted while looking, and for how many seconds since a search began it, else -1.

        A purchase may have ended it by now, and begun another.
        """
        users, times = page.requests.users, page.requests.times
        until, category = shoppers.intent_until[users], shoppers.intent_category[users]
        was_active = self._until[users] > times
        wanted = np.where(was_active, self._wanted[users], np.where(until > times, category, -1))
        since = np.where(was_active & self._in_search[users], times - self._began[users], -1)
        is_new = (until > times) & (until != self._until[users])
        self._until[users], self._wanted[users] = until, category
        self._began[users[is_new]] = times[is_new]
        self._in_search[users[is_new]] = page.scenario in (MAIN_SEARCH, PHOTO_SEARCH)
        return wanted.astype(np.int32), since

    def _count_hours(self, page: Page) -> None:
        outcome, shown = page.outcome, page.shown()
        hours = np.repeat((page.requests.times - self._begin) // HOUR, np.diff(outcome.offsets))
        self.exposures += np.bincount(hours, minlength=len(self.exposures))
        found = np.stack([page.ranked.found_by(name)[shown] for name in page.ranked.names], axis=1)
        parts = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
        for at, name in enumerate(page.ranked.names):
            own = self._credit.setdefault(name, np.zeros(len(self.exposures)))
            own += np.bincount(hours, parts[:, at], minlength=len(own))

    def _count_wanted(self, page: Page, wanted: NDArray[np.int32], since: NDArray[np.int64]) -> None:
        outcome = page.outcome
        group = np.searchsorted(np.array(MINUTES) * 60, since, "right") - 1
        group = np.where(group < len(self.wanted), group, -1)
        lengths = np.diff(outcome.offsets)
        is_wanted = self._categories[outcome.items] == np.repeat(wanted, lengths)
        rows = np.repeat(group, lengths)
        is_counted = rows >= 0
        counts = np.stack([is_wanted, np.ones(len(rows), bool)], axis=1)[is_counted]
        np.add.at(self.wanted, rows[is_counted], counts.astype(np.int64))

    def _keep(self, page: Page, wanted: NDArray[np.int32]) -> None:
        requests, outcome, shown = page.requests, page.outcome, page.shown()
        names = [name for name in page.ranked.names if name.startswith("nearline")]
        is_nearline = np.zeros(len(shown), bool)
        for name in names:
            is_nearline |= page.ranked.found_by(name)[shown]
        has_item = requests.context >= 0
        about = np.where(has_item, self._categories[requests.context], requests.queries)
        for row, user in enumerate(requests.users.tolist()):
            part = slice(int(outcome.offsets[row]), int(outcome.offsets[row + 1]))
            entry = Entry(
                int(requests.times[row]),
                page.scenario,
                int(about[row]),
                int(wanted[row]),
                self._categories[outcome.items[part]],
                is_nearline[part],
                outcome.clicks[part].copy(),
                outcome.purchases[part].copy(),
            )
            self._visits.setdefault(user, []).append(entry)
