"""Users act by what is true of them, in the order of time, and by draws that do not depend on who else is there."""

import numpy as np
import pytest

from headwater.simulation.config import SCENARIOS, BazaarConfig, ScenarioConfig, ScenariosConfig
from headwater.simulation.draws import uniforms
from headwater.simulation.play import Page, Play
from headwater.simulation.ranking import ScenarioRanker
from headwater.simulation.scenarios import (
    HOMEPAGE,
    IN_SHOP,
    MAIN_SEARCH,
    MINI_DETAIL,
    NO_ITEM,
    PHOTO_SEARCH,
    POST_PURCHASE,
)
from headwater.simulation.world import DAY, World, make_world


def played(world: World, days: int = 1, **options: object) -> list[Page]:
    pages: list[Page] = []
    play = Play(world, **options)  # type: ignore[arg-type]
    for _ in range(days):
        play.play_day(pages.append)
    return pages


@pytest.fixture(scope="module")
def pages(small: World) -> list[Page]:
    return played(small, 2)


def of(pages: list[Page], scenario: int) -> list[Page]:
    return [page for page in pages if page.scenario == scenario]


def same(first: list[Page], second: list[Page]) -> bool:
    def whole(pages: list[Page]) -> bytes:
        return b"".join(page.ranked.items.tobytes() + page.outcome.clicks.tobytes() for page in pages)

    return whole(first) == whole(second)


def test_two_plays_of_one_world_are_equal_and_another_seed_plays_differently(small: World, pages: list[Page]) -> None:
    assert same(pages, played(small, 2))
    world = small.config.world.model_copy(update={"seed": 2})
    assert not same(pages, played(make_world(small.config.model_copy(update={"world": world})), 2))


def test_every_scenario_is_visited_and_ranks_and_shows_at_most_what_its_settings_say(
    small: World, pages: list[Page]
) -> None:
    assert {page.scenario for page in pages} == set(range(len(SCENARIOS)))
    for page in pages:
        settings = small.config.scenarios.all()[page.scenario]
        ranked, shown = np.diff(page.ranked.offsets), np.diff(page.outcome.offsets)
        assert ranked.max() <= settings.ranked
        assert (shown == np.minimum(ranked, settings.page)).all()


def test_no_list_repeats_an_item_or_holds_one_that_is_not_on_sale_or_on_view(small: World, pages: list[Page]) -> None:
    catalogue = small.catalogue
    for page in pages:
        pairs = page.ranked.rows.astype(np.int64) * len(catalogue) + page.ranked.items
        assert len(np.unique(pairs)) == len(pairs)
        times = page.requests.times[page.ranked.rows]
        assert (catalogue.arrives[page.ranked.items] <= times).all()
        assert (catalogue.retires[page.ranked.items] > times).all()
        assert (page.ranked.items != page.requests.context[page.ranked.rows]).all()


def test_lists_are_in_descending_order_of_score(pages: list[Page]) -> None:
    for page in pages:
        inner = np.diff(page.ranked.rows) == 0
        assert (np.diff(page.ranked.scores)[inner] <= 0).all()


def test_sorting_only_what_is_shown_shows_the_same(small: World, pages: list[Page]) -> None:
    short = played(small, 2, ranks_all=False)
    for one, other in zip(pages, short, strict=True):
        assert (one.outcome.items == other.outcome.items).all()


def test_each_scenarios_candidates_are_of_its_own_source(small: World, pages: list[Page]) -> None:
    catalogue = small.catalogue
    for page in of(pages, MAIN_SEARCH):
        assert (catalogue.categories[page.ranked.items] == page.requests.queries[page.ranked.rows]).all()
    for scenario, codes in ((IN_SHOP, catalogue.shops), (PHOTO_SEARCH, catalogue.categories)):
        for page in of(pages, scenario):
            assert (codes[page.ranked.items] == codes[page.requests.context][page.ranked.rows]).all()
    for page in of(pages, POST_PURCHASE):
        goes_with = catalogue.complements[catalogue.categories[page.requests.context]][page.ranked.rows]
        assert (catalogue.categories[page.ranked.items][:, None] == goes_with).any(axis=1).all()
    for page in of(pages, MINI_DETAIL):
        same_department = catalogue.departments[page.requests.context][page.ranked.rows]
        assert (catalogue.departments[page.ranked.items] == same_department).all()
    assert all((page.requests.context == NO_ITEM).all() for page in of(pages, HOMEPAGE))


def test_a_users_visits_ascend_in_time_and_histories_hold_what_was_clicked_before(pages: list[Page]) -> None:
    clicks: dict[int, list[int]] = {}
    last: dict[int, int] = {}
    for page in sorted(pages, key=lambda page: int(page.requests.times.min()) // 60):
        for row, user in enumerate(page.requests.users.tolist()):
            time = int(page.requests.times[row])
            assert time >= last.get(user, -1)
            last[user] = time
            begin, end = page.queries.offsets[row], page.queries.offsets[row + 1]
            assert page.queries.items[begin:end].tolist() == clicks.get(user, [])[-50:]
            assert (page.queries.times[begin:end] <= page.queries.request_times[row]).all()
            begin, end = page.outcome.offsets[row], page.outcome.offsets[row + 1]
            shown = page.outcome.items[begin:end]
            clicks.setdefault(user, []).extend(shown[page.outcome.clicks[begin:end] == 1].tolist())


def test_the_day_of_a_play_holds_its_visits(pages: list[Page]) -> None:
    times = np.concatenate([page.requests.times for page in pages])
    assert times.min() >= 0
    assert times.max() < 2 * DAY


def test_what_stands_further_up_is_clicked_more_although_order_is_arbitrary(small: World) -> None:
    # With no weight on anything and much noise the order says nothing of the items.
    rankers = [ScenarioRanker(name, small.catalogue, np.zeros(12)) for name in SCENARIOS]
    found = np.zeros((2, 2))
    for page in of(played(small, 3, rankers=rankers), MAIN_SEARCH):
        top = (page.positions() >= 10).astype(int)
        found[:, 0] += np.bincount(top, minlength=2)
        found[:, 1] += np.bincount(top, page.outcome.clicks, minlength=2)
    rates = found[:, 1] / found[:, 0]
    assert rates[0] > 1.5 * rates[1]


def test_carts_and_purchases_follow_clicks_and_clicked_items_are_dwelt_on(pages: list[Page]) -> None:
    for page in pages:
        outcome = page.outcome
        assert (outcome.carts <= outcome.clicks).all()
        assert (outcome.purchases <= outcome.clicks).all()
        assert ((outcome.dwell > 0) == (outcome.clicks == 1)).all()


def test_users_with_an_intent_click_and_buy_what_they_search_more_than_what_the_homepage_shows(
    pages: list[Page],
) -> None:
    clicks = {
        scenario: np.concatenate([page.outcome.clicks for page in of(pages, scenario)]).mean()
        for scenario in (HOMEPAGE, MAIN_SEARCH, PHOTO_SEARCH)
    }
    assert clicks[HOMEPAGE] < clicks[MAIN_SEARCH] < clicks[PHOTO_SEARCH]


def test_most_of_a_shop_is_seen_and_little_of_what_a_search_ranked(pages: list[Page]) -> None:
    def seen(scenario: int) -> float:
        chosen = of(pages, scenario)
        return sum(len(page.outcome.items) for page in chosen) / sum(len(page.ranked) for page in chosen)

    assert seen(IN_SHOP) > 0.5 > seen(MAIN_SEARCH)


def test_sessions_of_a_day_begin_alike_whatever_the_scenarios_show(small: World, pages: list[Page]) -> None:
    poor = ScenariosConfig(homepage=ScenarioConfig(ranked=1, page=1, click_logit=-9))
    world = make_world(BazaarConfig(world=small.config.world, scenarios=poor))

    def first_visits(pages: list[Page]) -> dict[int, int]:
        found: dict[int, int] = {}
        for page in pages:
            for user, time in zip(page.requests.users.tolist(), page.requests.times.tolist(), strict=True):
                found[user] = min(time, found.get(user, time))
        return found

    assert first_visits(played(world)) == first_visits([page for page in pages if page.requests.times.max() < DAY])


def test_playing_beyond_the_worlds_days_is_refused(small: World) -> None:
    play = Play(small)
    for _ in range(3):
        play.play_day(lambda page: None)
    with pytest.raises(ValueError, match="3 days"):
        play.play_day(lambda page: None)


def test_a_draw_belongs_to_its_name_and_not_to_its_batch() -> None:
    users, moments = np.arange(1_000), np.arange(1_000) * 7
    whole = uniforms(1, 2, users, moments, 0)
    assert (uniforms(1, 2, users[500:], moments[500:], 0) == whole[500:]).all()
    assert (uniforms(1, 3, users, moments, 0) != whole).all()
    assert whole.mean() == pytest.approx(0.5, abs=0.04)
    assert np.histogram(whole, 4, (0, 1))[0] == pytest.approx(250, abs=60)
    assert abs(np.corrcoef(whole, uniforms(1, 2, users, moments, 1))[0, 1]) < 0.1
