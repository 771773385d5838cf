"""The users as they move: sessions, where they go next, what they want now, and what they clicked.

Here the hidden side is read. What the platform may know of a user comes out as `Requests` and `Queries` alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.queries import Queries
from headwater.data.schema import Behaviour
from headwater.simulation import behaviour_kernels as kernels
from headwater.simulation.catalogue import Shelves
from headwater.simulation.config import SCENARIOS, START, BehaviourConfig
from headwater.simulation.draws import CATEGORY, FIRST, GAP, NEXT, PRICE, uniforms
from headwater.simulation.latents import UserLatents
from headwater.simulation.scenarios import (
    HOMEPAGE,
    IN_SHOP,
    MAIN_SEARCH,
    MINI_DETAIL,
    NO_ITEM,
    PHOTO_SEARCH,
    POST_PURCHASE,
    Requests,
)
from headwater.simulation.world import DAY, World

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = 1 << 60
SESSIONS = 6
"""Of a user and day, at most."""
HISTORY = 50
"""Clicks of a user that the platform keeps."""

HOURS = (2, 1, 1, 1, 1, 2, 3, 5, 6, 6, 6, 6, 7, 6, 5, 5, 5, 6, 7, 9, 11, 12, 9, 5)
"""How many sessions begin in each hour of the day, in proportion: most in the evening."""

FIRSTS = ((HOMEPAGE, 0.62), (MAIN_SEARCH, 0.30), (PHOTO_SEARCH, 0.02), (IN_SHOP, 0.03), (POST_PURCHASE, 0.03))
"""Where a session begins."""
NEXTS = ((HOMEPAGE, 0.50), (MAIN_SEARCH, 0.46), (PHOTO_SEARCH, 0.04))
"""Where it goes on after a visit that led nowhere by itself."""
AFTER_CLICK = ((MINI_DETAIL, 0.55), (IN_SHOP, 0.08))
"""Where a click leads, else as after a visit without one."""
AFTER_PURCHASE = 0.8
"""Chance that a purchase leads to the page behind it."""


@dataclass
class Outcome:
    """What n visits' pages came to; shown items in rows, CSR.

    Attributes
    ----------
    offsets : (n + 1,) int64
    items : (m,) int32
        Shown, from the top of each page.
    clicks, carts, purchases : (m,) int8
    dwell : (m,) float32
        Seconds on a clicked item.
    first_click, bought : (n,) int32
        An item, or `NO_ITEM`.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    clicks: NDArray[np.int8]
    carts: NDArray[np.int8]
    purchases: NDArray[np.int8]
    dwell: NDArray[np.float32]
    first_click: NDArray[np.int32]
    bought: NDArray[np.int32]


def parameters_of(settings: BehaviourConfig) -> NDArray[np.float64]:
    """(15,) the settings in the order that `behaviour_kernels` reads them in."""
    return np.array(
        [
            settings.taste_weight, settings.intent_weight, settings.intent_match, settings.quality_weight,
            settings.price_weight, settings.examination, settings.cart_logit, settings.purchase_logit,
            settings.purchase_intent, settings.follow, settings.dwell_seconds, settings.intent_on_click,
            60 * settings.intent_minutes, settings.intent_spread, settings.intent_on_purchase,
        ]
    )  # fmt: skip


class Shoppers:
    """All users of a world, from the first day on.

    Parameters
    ----------
    world : World
    least_gap : int
        Seconds between two visits of a user, at least.
    """

    def __init__(self, world: World, *, least_gap: int = 60) -> None:
        n, d = world.config.world.users, world.config.world.dimensions
        self._world, self._least_gap = world, least_gap
        self._shelves = Shelves.of(world.catalogue)
        self._seed = world.config.world.seed
        self._latents: UserLatents = world.user_latents
        self._starts = np.full((n, SESSIONS + 1), NEVER, np.int64)
        self._session = np.zeros(n, np.int64)
        self._moment = np.zeros(n, np.int64)
        self._scenario = np.zeros(n, np.int8)
        self._context = np.full(n, NO_ITEM, np.int32)
        self._last_bought = np.full(n, NO_ITEM, np.int32)
        self.next_visit = np.full(n, NEVER, np.int64)
        self.intent_category = np.full(n, -1, np.int32)
        self.intent_until = np.zeros(n, np.int64)
        self._intent_vectors = np.zeros((n, d), np.float32)
        self._clicked = np.zeros((n, HISTORY), np.int32)
        self._clicked_times = np.zeros((n, HISTORY), np.int64)
        self._n_clicked = np.zeros(n, np.int64)
        catalogue = world.catalogue
        sizes = np.maximum(np.bincount(catalogue.categories, minlength=catalogue.n_categories), 1)
        sums = np.bincount(catalogue.categories, catalogue.log_prices, minlength=catalogue.n_categories)
        self._category_prices = sums / sizes
        look_sales = np.bincount(catalogue.looks, catalogue.sales, minlength=len(world.taste_shares))
        self._sales_until = np.cumsum(look_sales) / look_sales.sum()
        self._click_logits = np.array([scenario.click_logit for scenario in world.config.scenarios.all()])
        self._parameters = parameters_of(world.config.behaviour)

    def copy(self) -> Shoppers:
        """Users who stand where these do, and go their own ways from here."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(other, name, value.copy())
        return other

    def state(self) -> dict[str, NDArray]:
        """Where they stand, as arrays by name: see `restore`."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return own | {"tastes": self._latents.tastes, "looks": self._latents.looks}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Stand where the users stood whose `state` this is; they were of the same world."""
        for name in self.state().keys() - {"tastes", "looks"}:
            setattr(self, name, state[name].copy())
        self._latents = replace(self._latents, tastes=state["tastes"].copy(), looks=state["looks"].copy())

    # -- days

    def begin_day(self, day: int) -> None:
        """Let tastes drift, and lay out the day's sessions: the same ones whatever happened before."""
        settings = self._world.config.world
        if day:
            self._latents = self._latents.drifted(
                self._world.item_latents,
                self._world.taste_shares,
                drift=settings.drift,
                new_taste=settings.new_taste,
                seed=[self._seed, 4, day],
            )
        random = np.random.default_rng([self._seed, 5, day])
        n = np.minimum(random.poisson(self._latents.rates), SESSIONS)
        shares = np.array(HOURS, np.float64)
        hours = random.choice(len(HOURS), (settings.users, SESSIONS), p=shares / shares.sum())
        moments = day * DAY + hours * 3_600 + random.integers(0, 3_600, hours.shape)
        moments[np.arange(SESSIONS) >= n[:, None]] = NEVER
        self._starts[:, :SESSIONS] = np.sort(moments, axis=1)
        self._session = np.full(settings.users, day * 10, np.int64)
        at_home = np.flatnonzero(self.next_visit >= NEVER)
        self._go_home(at_home, np.full(len(at_home), day * DAY - 1, np.int64))

    def due(self, until: int) -> NDArray[np.int64]:
        """Users whose next visit comes before `until`, seconds after the start."""
        return np.flatnonzero(self.next_visit < until)

    # -- what the platform is asked

    def requests(self, users: NDArray[np.int64]) -> Requests:
        """The visits that these users make now; whoever searches may begin to want something."""
        times, moments = self.next_visit[users], self._moment[users]
        scenarios, context = self._scenario[users].copy(), self._context[users].copy()
        # A session may begin with the last purchase or in the shop of the last click, if there is any.
        first = np.flatnonzero((context == NO_ITEM) & ((scenarios == IN_SHOP) | (scenarios == POST_PURCHASE)))
        last = (self._n_clicked[users[first]] - 1) % HISTORY
        clicked = np.where(self._n_clicked[users[first]] > 0, self._clicked[users[first], last], NO_ITEM)
        context[first] = np.where(scenarios[first] == POST_PURCHASE, self._last_bought[users[first]], clicked)
        scenarios[first[context[first] == NO_ITEM]] = HOMEPAGE
        searching = (scenarios == MAIN_SEARCH) | (scenarios == PHOTO_SEARCH)
        queries = np.full(len(users), -1, np.int32)
        looks = self._wanted_looks(users, moments, times, scenarios, searching)
        n_styles = self._world.catalogue.n_styles
        by_text = scenarios == MAIN_SEARCH
        queries[by_text] = looks[by_text] // n_styles
        by_photo = np.flatnonzero(scenarios == PHOTO_SEARCH)
        context[by_photo] = self._photographed(looks[by_photo], users[by_photo], moments[by_photo])
        return Requests(users.astype(np.int32), scenarios, times, moments, context, queries)

    def histories(self, requests: Requests) -> Queries:
        """What the platform knows of each visit's user: the clicks, in time order."""
        users = requests.users.astype(np.int64)
        kept = np.minimum(self._n_clicked[users], HISTORY)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        owners = np.repeat(np.arange(len(users)), kept)
        nth = np.arange(int(offsets[-1])) - offsets[owners]
        slots = (self._n_clicked[users] - kept)[owners] + nth
        slots %= HISTORY
        return Queries(
            users=requests.users,
            user_keys=self._world.users.keys[users],
            offsets=offsets,
            items=self._clicked[users[owners], slots],
            times=self._clicked_times[users[owners], slots] + START,
            behaviours=np.full(len(owners), Behaviour.CLICK, np.int8),
            request_times=requests.times + START,
            scenarios=tuple(SCENARIOS[code] for code in requests.scenarios.tolist()),
        )

    def latest(self, users: NDArray[np.int32]) -> NDArray[np.int32]:
        """(n, 3) the items that were clicked last, newest first; `NO_ITEM` where there were fewer."""
        back = np.arange(3)
        n = self._n_clicked[users]
        slots = (n[:, None] - 1 - back) % HISTORY
        return np.where(back < n[:, None], self._clicked[users[:, None], slots], NO_ITEM).astype(np.int32)

    # -- what they do with it

    def look(self, requests: Requests, offsets: NDArray[np.int64], shown: NDArray[np.int32]) -> Outcome:
        """Go through the pages, click and buy, and decide where to go next."""
        outcome = self.react(requests, offsets, shown, self._parameters, self._click_logits)
        users = requests.users
        self._last_bought[users] = np.where(outcome.bought >= 0, outcome.bought, self._last_bought[users])
        rows = np.repeat(np.arange(len(requests)), np.diff(offsets))
        self._go_on(requests, outcome, np.bincount(rows, outcome.dwell, minlength=len(requests)).astype(np.float64))
        return outcome

    def react(
        self,
        requests: Requests,
        offsets: NDArray[np.int64],
        shown: NDArray[np.int32],
        parameters: NDArray[np.float64],
        click_logits: NDArray[np.float64],
        extra: NDArray[np.float32] | None = None,
    ) -> Outcome:
        """Click, buy, remember and want, and go nowhere for it: what a page does to its users.

        Parameters
        ----------
        parameters : (15,) float64
            See `parameters_of`.
        click_logits : (6,) float64
            By scenario.
        extra : (m,) float32, optional
            Added to the logit of the click on each shown item.
        """
        n, m = len(requests), len(shown)
        outcome = Outcome(
            offsets, shown, np.zeros(m, np.int8), np.zeros(m, np.int8), np.zeros(m, np.int8), np.zeros(m, np.float32),
            np.full(n, NO_ITEM, np.int32), np.full(n, NO_ITEM, np.int32),
        )  # fmt: skip
        catalogue, hidden = self._world.catalogue, self._world.item_latents
        kernels.look(
            self._seed, parameters, catalogue.n_styles,
            requests.users, requests.scenarios, requests.times, requests.moments, offsets, shown,
            np.zeros(m, np.float32) if extra is None else extra, click_logits,
            catalogue.categories, catalogue.looks, catalogue.log_prices, hidden.vectors, hidden.quality,
            hidden.look_vectors, self._category_prices, catalogue.complements,
            self._latents.tastes, self._latents.price_levels, self._latents.sensitivities,
            self.intent_category, self.intent_until, self._intent_vectors,
            self._clicked, self._clicked_times, self._n_clicked,
            outcome.clicks, outcome.carts, outcome.purchases, outcome.dwell, outcome.first_click, outcome.bought,
        )  # fmt: skip
        return outcome

    def _go_on(self, requests: Requests, outcome: Outcome, dwell: NDArray[np.float64]) -> None:
        settings, seed = self._world.config.behaviour, self._seed
        users, moments = requests.users.astype(np.int64), requests.moments
        step = moments % 100
        draw = uniforms(seed, NEXT, users, moments, 0)
        clicked, bought = outcome.first_click >= 0, outcome.bought >= 0
        stay = settings.stay * settings.patience**step + settings.stay_with_click * clicked
        stay += settings.stay_with_intent * (self.intent_until[users] > requests.times)
        stays = (uniforms(seed, NEXT, users, moments, 1) < stay) & (step < 99)
        scenario = _choose(NEXTS, uniforms(seed, NEXT, users, moments, 2))
        context = np.full(len(users), NO_ITEM, np.int32)
        to_click = clicked & (draw < sum(chance for _, chance in AFTER_CLICK))
        scenario[to_click] = _choose(AFTER_CLICK, draw[to_click])
        context[to_click] = outcome.first_click[to_click]
        to_post = bought & (draw < AFTER_PURCHASE)
        scenario[to_post] = POST_PURCHASE
        context[to_post] = outcome.bought[to_post]
        stays |= (to_click | to_post) & (step < 99)
        gap = self._least_gap - 30 * np.log(uniforms(seed, GAP, users, moments, 0)) + np.minimum(dwell, 600)
        self.next_visit[users] = requests.times + gap.astype(np.int64)
        self._moment[users] = moments + 1
        self._scenario[users], self._context[users] = scenario, context
        self._go_home(users[~stays], self.next_visit[users[~stays]])

    def _go_home(self, users: NDArray[np.int64], now: NDArray[np.int64]) -> None:
        """End the session: the next visit is the beginning of the next session of the day, if there is one."""
        nth = (self._starts[users] <= now[:, None]).sum(axis=1)
        self.next_visit[users] = self._starts[users, nth]
        self._moment[users] = (self._session[users] + nth) * 100
        self._scenario[users] = _choose(FIRSTS, uniforms(self._seed, FIRST, users, self._moment[users], 0))
        self._context[users] = NO_ITEM

    # -- what they want

    def _wanted_looks(
        self,
        users: NDArray[np.int64],
        moments: NDArray[np.int64],
        times: NDArray[np.int64],
        scenarios: NDArray[np.int8],
        searching: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """(n,) the look that a search is about: of the intent, of one that begins now, or of a taste."""
        seed, settings = self._seed, self._world.config.behaviour
        world = self._world
        in_taste = uniforms(seed, CATEGORY, users, moments, 0) < settings.intent_in_taste
        nth = (uniforms(seed, CATEGORY, users, moments, 1) * self._latents.looks.shape[1]).astype(np.int64)
        of_taste = self._latents.looks[users, nth].astype(np.int64)
        draw = uniforms(seed, CATEGORY, users, moments, 2)
        by_sales = np.minimum(np.searchsorted(self._sales_until, draw), len(self._sales_until) - 1)
        looks = np.where(in_taste, of_taste, by_sales)
        is_active = self.intent_until[users] > times
        likely = np.where(scenarios == PHOTO_SEARCH, 1.0, settings.intent_in_search)
        begins = searching & ~is_active & (uniforms(seed, CATEGORY, users, moments, 3) < likely)
        kernels.search(
            begins, searching & is_active, users, times, moments, seed, world.catalogue.n_styles,
            world.item_latents.look_vectors, self._parameters[kernels.LIFE_MEDIAN],
            self._parameters[kernels.LIFE_SPREAD], self.intent_category, self.intent_until, self._intent_vectors, looks,
        )  # fmt: skip
        return looks

    def _photographed(
        self, looks: NDArray[np.int64], users: NDArray[np.int64], moments: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """An item of each look, or of its category where no item looks so."""
        shelf = self._shelves.of_look(looks)
        is_empty = self._shelves.offsets[shelf + 1] == self._shelves.offsets[shelf]
        shelf = np.where(is_empty, self._shelves.of_category(looks // self._world.catalogue.n_styles), shelf)
        first, size = self._shelves.offsets[shelf], np.diff(self._shelves.offsets)[shelf]
        draw = uniforms(self._seed, PRICE, users, moments, 0)
        return self._shelves.items[first + (draw * size).astype(np.int64)]


def _choose(chances: tuple[tuple[int, float], ...], draws: NDArray[np.float64]) -> NDArray[np.int8]:
    """The code whose share of (0, 1) each draw falls into."""
    until = np.cumsum([chance for _, chance in chances])
    at = np.minimum(np.searchsorted(until, draws), len(chances) - 1)
    return np.array([code for code, _ in chances], np.int8)[at]
