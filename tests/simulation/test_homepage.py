"""The homepage goes on without a channel that throws or stalls."""

import threading

import numpy as np
import pytest

from headwater.data import Dataset
from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.classic import Popular
from headwater.simulation.homepage import FAULTS, ChannelHomepage
from headwater.simulation.play import Page, Play
from headwater.simulation.ranking import ScenarioRanker
from headwater.simulation.scenarios import HOMEPAGE
from headwater.simulation.world import World


class Broken:
    """Raises, or never answers."""

    def __init__(self, name: str, waits_for: threading.Event | None = None) -> None:
        self.name, self._waits_for = name, waits_for

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        if self._waits_for is None:
            raise RuntimeError("no index")
        self._waits_for.wait()
        return Candidates.empty(self.name, len(queries))

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        return [()] * len(candidates)


def ranker(world: World) -> ScenarioRanker:
    return ScenarioRanker("homepage", world.catalogue)


@pytest.fixture
def popular(small: World) -> Popular:
    catalogue = small.catalogue
    items = np.arange(len(catalogue), dtype=np.int32)
    return Popular().fit(
        Dataset.from_events(
            "once each",
            small.users,
            catalogue.items,
            event_users=items % len(small.users),
            event_items=items,
            event_times=np.zeros(len(items), np.int64),
        )
    )


def test_a_channel_that_throws_is_cut_off_and_one_that_stalls_at_once_and_the_others_go_on(
    small: World, popular: Popular
) -> None:
    end = threading.Event()
    homepage = ChannelHomepage(
        [Broken("throws"), Broken("stalls", end), popular], ranker(small), {}, small.catalogue, stall_seconds=0.2
    )
    pages: list[Page] = []
    Play(small, homepage=homepage).play_day(pages.append)
    end.set()
    throws, stalls, fine = (homepage.health[name] for name in ("throws", "stalls", "popular"))
    assert (throws.asked, throws.faults) == (FAULTS, FAULTS)
    assert "RuntimeError: no index" in throws.cut_off
    assert (stalls.asked, stalls.faults) == (1, 1)
    assert "0.2 s" in stalls.cut_off
    assert (fine.faults, fine.cut_off) == (0, "")
    of_homepage = [page for page in pages if page.scenario == HOMEPAGE]
    assert fine.asked == len(of_homepage)
    assert all(len(page.outcome.items) == 10 * len(page.requests) for page in of_homepage)


def test_a_homepage_whose_only_channel_is_broken_shows_nothing_and_the_play_goes_on(small: World) -> None:
    pages: list[Page] = []
    Play(small, homepage=ChannelHomepage([Broken("throws")], ranker(small), {}, small.catalogue)).play_day(pages.append)
    assert sum(len(page.outcome.items) for page in pages if page.scenario == HOMEPAGE) == 0
    assert sum(len(page.outcome.items) for page in pages if page.scenario != HOMEPAGE) > 0


def test_the_homepage_shows_nothing_that_its_user_clicked_or_that_is_not_on_sale(
    small: World, popular: Popular
) -> None:
    pages: list[Page] = []
    Play(small, homepage=ChannelHomepage([popular], ranker(small), {}, small.catalogue)).play_day(pages.append)
    for page in pages:
        if page.scenario != HOMEPAGE:
            continue
        for row in range(len(page.requests)):
            history = page.queries.items[page.queries.offsets[row] : page.queries.offsets[row + 1]]
            assert not set(page.ranked.of(row).tolist()) & set(history.tolist())
        times = page.requests.times[page.ranked.rows]
        assert (small.catalogue.arrives[page.ranked.items] <= times).all()
        assert (small.catalogue.retires[page.ranked.items] > times).all()
