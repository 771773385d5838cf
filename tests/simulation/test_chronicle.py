"""What a chronicle tells of an arm: who retrieved what by the hour, and how a search changes the homepage."""

import numpy as np
import pytest

from headwater.retrieval.classic.popular import PopularConfig
from headwater.simulation.arms import ArmConfig, DaysConfig, NearlineArm
from headwater.simulation.chronicle import MINUTES, Chronicle, Entry, turn_of
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.loop import ArmResult, run_arm
from headwater.simulation.measures import COUNTS
from headwater.simulation.scenarios import HOMEPAGE, MAIN_SEARCH
from headwater.simulation.warmup import warm_up

BAZAAR = BazaarConfig(
    world=WorldConfig(users=120, items=800, days=3, categories=16, departments=4, shops=16, brands=16)
)
DAYS = DaysConfig(warm_up=2, settle=0, measured=1)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chronicle, ArmResult]:
    arm = ArmConfig(name="fresh", bazaar=BAZAAR, days=DAYS, channels=(PopularConfig(),), nearline=NearlineArm())
    start = warm_up(BAZAAR, DAYS.warm_up)
    chronicle = Chronicle.of(start.world, DAYS)
    return chronicle, run_arm(start, arm, tmp_path_factory.mktemp("arm"), chronicle=chronicle)


def test_hours_hold_every_exposure_and_credit_is_shared_among_the_channels(told: tuple[Chronicle, ArmResult]) -> None:
    chronicle, result = told
    assert len(chronicle.exposures) == 24
    assert chronicle.exposures.sum() == result.measures.users[:, COUNTS.index("exposures")].sum()
    credit = chronicle.credit()
    assert set(credit) == {"popular", "nearline"}
    hours = chronicle.exposures > 0
    assert np.allclose(sum(credit.values())[hours], 1)  # every candidate comes from a channel
    assert np.isnan(credit["popular"][~hours]).all()
    rows = {row.name: row for row in result.measures.channels()}
    share = np.nansum(credit["nearline"] * chronicle.exposures) / chronicle.exposures.sum()
    assert 0 < share <= rows["nearline"].pvr


def test_the_kept_days_visits_are_those_of_the_day_in_order(told: tuple[Chronicle, ArmResult]) -> None:
    chronicle, result = told
    entries = [entry for user in range(120) for entry in chronicle.entries(user)]
    assert len(entries) == result.measures.users[:, COUNTS.index("visits")].sum()
    clicks = sum(int(entry.clicks.sum()) for entry in entries if entry.scenario == HOMEPAGE)
    assert clicks == result.measures.users[:, COUNTS.index("clicks")].sum()
    for user in range(120):
        times = [entry.time for entry in chronicle.entries(user)]
        assert times == sorted(times)
    searches = [entry for entry in entries if entry.scenario == MAIN_SEARCH and entry.intent >= 0]
    # Who searches wants what was searched, but for a purchase on a page before that the chronicle saw end an intent.
    assert np.mean([entry.intent == entry.about for entry in searches]) > 0.95


def test_after_a_search_more_of_the_homepage_is_of_what_is_wanted_than_chance_has(
    told: tuple[Chronicle, ArmResult],
) -> None:
    hits, shown = told[0].wanted.sum(axis=0)
    assert len(told[0].wanted) == len(MINUTES) - 1
    assert shown > 100
    assert hits / shown > 3 / 16  # three times a category's share of sixteen


def entry(time: int, scenario: int, categories: list[int], intent: int = -1, about: int = -1) -> Entry:
    n = len(categories)
    none = np.zeros(n, np.int8)
    return Entry(time, scenario, about, intent, np.array(categories, np.int32), np.zeros(n, bool), none, none)


def test_a_turn_is_the_search_that_changed_the_homepage_most_and_of_alike_ones_the_fastest() -> None:
    before = entry(0, HOMEPAGE, [1, 2, 3])
    search = entry(100, MAIN_SEARCH, [5, 5], intent=5, about=5)
    after = entry(170, HOMEPAGE, [5, 5, 1], intent=5)
    turn = turn_of([before, search, after])
    assert turn is not None
    assert (turn.before, turn.search, turn.after, turn.gained) == (before, search, after, 2)
    slow = turn_of([before, search, entry(500, HOMEPAGE, [5, 5, 1], intent=5)])
    assert slow is not None
    assert slow.rank < turn.rank


@pytest.mark.parametrize(
    "entries",
    [
        [entry(0, HOMEPAGE, [1]), entry(9, MAIN_SEARCH, [5], intent=5, about=5)],
        [entry(9, MAIN_SEARCH, [5], intent=5, about=5), entry(99, HOMEPAGE, [5], intent=5)],
        [entry(0, HOMEPAGE, [1], intent=5), entry(9, MAIN_SEARCH, [5], intent=5, about=5), entry(99, HOMEPAGE, [5])],
        [entry(0, HOMEPAGE, [1]), entry(9, MAIN_SEARCH, [5], intent=5, about=5), entry(9_999, HOMEPAGE, [5])],
        [entry(0, HOMEPAGE, [5]), entry(9, MAIN_SEARCH, [5], intent=5, about=5), entry(99, HOMEPAGE, [1])],
    ],
    ids=["no homepage after", "no homepage before", "wanted before", "too late", "fewer than before"],
)
def test_there_is_no_turn_without_a_change_after_an_intent_that_a_search_began(entries: list[Entry]) -> None:
    assert turn_of(entries) is None
