"""The closed loop: what search ranks reaches the homepage through the real stream, and arms begin alike."""

from pathlib import Path

import numpy as np
import pytest

from headwater.config import parse
from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.nn.settings import TrainingConfig
from headwater.ranking.din import DINConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.simulation.arms import ArmConfig, DaysConfig, NearlineArm, load_arm, require_same_world
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.loop import ArmResult, run_arm
from headwater.simulation.scenarios import HOMEPAGE, MINI_DETAIL, Requests, on_view
from headwater.simulation.warmup import WarmUp, warm_up

BAZAAR = BazaarConfig(
    world=WorldConfig(users=250, items=1_000, days=4, categories=16, departments=4, shops=16, brands=16)
)
DAYS = DaysConfig(warm_up=2, settle=0, measured=2)


def arm(name: str, nearline: NearlineArm | None = None, **settings: object) -> ArmConfig:
    return ArmConfig(name=name, bazaar=BAZAAR, days=DAYS, channels=(PopularConfig(),), nearline=nearline, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def start() -> WarmUp:
    return warm_up(BAZAAR, DAYS.warm_up)


@pytest.fixture(scope="module")
def control(start: WarmUp, tmp_path_factory: pytest.TempPathFactory) -> ArmResult:
    return run_arm(start, arm("control"), tmp_path_factory.mktemp("control"))


@pytest.fixture(scope="module")
def streamed(start: WarmUp, tmp_path_factory: pytest.TempPathFactory) -> ArmResult:
    weights = {"nearline/main_search": 1.0, "nearline/mini_detail": 1.0}
    return run_arm(start, arm("stream", NearlineArm(), weights=weights), tmp_path_factory.mktemp("stream"))


def test_an_arm_played_twice_is_the_same_and_does_not_change_where_it_began(
    start: WarmUp, control: ArmResult, tmp_path: Path
) -> None:
    again = run_arm(start, arm("again"), tmp_path)
    assert (again.measures.users == control.measures.users).all()


def test_rankers_are_trained_each_on_its_own_log(start: WarmUp) -> None:
    weights = np.stack([ranker.weights for ranker in start.rankers])
    assert len(np.unique(weights.round(6), axis=0)) == 6
    assert len(start.clicks) > 1_000


def test_what_other_scenarios_ranked_is_exposed_on_the_homepage_and_hits_more_than_best_sellers(
    streamed: ArmResult,
) -> None:
    rows = {row.name: row for row in streamed.measures.channels()}
    assert rows["nearline/main_search"].pvr > 0.05
    assert rows["nearline/main_search"].ctr > rows["popular"].ctr
    assert rows["nearline/main_search"].hirate > rows["popular"].hirate
    assert streamed.records > 0
    assert all(health.faults == 0 for health in streamed.health.values())


def test_candidates_of_yesterday_reach_less_than_those_of_a_minute_ago(
    start: WarmUp, streamed: ArmResult, tmp_path: Path
) -> None:
    weights = {"nearline/main_search": 1.0, "nearline/mini_detail": 1.0}
    daily = run_arm(start, arm("daily", NearlineArm(refresh="daily"), weights=weights), tmp_path)
    pvr = [
        {row.name: row.pvr for row in result.measures.channels()}["nearline/main_search"]
        for result in (daily, streamed)
    ]
    assert 0 < pvr[0] < pvr[1]


def test_rankers_of_the_ranking_stage_order_the_scenarios_that_name_them(
    start: WarmUp, control: ArmResult, tmp_path: Path
) -> None:
    training = TrainingConfig(epochs=1, batch_size=64, learning_rate=5e-3, threads=1)
    din = DINConfig(length=10, dimension=4, hidden=(8,), item_attributes=("category", "style"), training=training)
    read = dict.fromkeys(("homepage", "mini_detail"), din)
    result = run_arm(start, arm("din", rankers=read), tmp_path)
    funnels = result.funnel.counts, control.funnel.counts
    clicks = [[funnel[code, 3] for code in (HOMEPAGE, MINI_DETAIL)] for funnel in funnels]
    assert clicks[0] != clicks[1], "other rankers show other things"
    shown = [result.funnel.ratio(code, "exposures", "visits") for code in (HOMEPAGE, MINI_DETAIL)]
    assert shown == [10.0, 10.0]
    assert min(clicks[0]) > 0


def test_the_item_on_view_is_the_newest_click_of_who_has_one() -> None:
    at = np.array([0, 1, 2])
    requests = Requests(at, at.astype(np.int8), at + 100, at, np.array([-1, 7, 8], np.int32), at - 1)
    queries = Queries(
        at.astype(np.int32), at, np.array([0, 2, 3, 3]), np.array([1, 2, 3], np.int32), np.array([5, 6, 7]),
        np.ones(3, np.int8), at + 1_000, ("mini_detail",) * 3,
    )  # fmt: skip
    seen = on_view(queries, requests)
    assert seen.offsets.tolist() == [0, 2, 4, 5]
    assert seen.items.tolist() == [1, 2, 3, 7, 8]
    assert seen.times.tolist() == [5, 6, 7, 1_001, 1_002]
    assert on_view(queries, Requests(at, at, at, at, np.full(3, -1), at)) is queries


def test_both_arms_have_the_same_sessions(control: ArmResult, streamed: ArmResult) -> None:
    # A session that one arm holds so long that the next has begun swallows that one: a few, never many.
    sessions = [result.measures.users[:, -1].sum() for result in (control, streamed)]
    assert sessions[0] == pytest.approx(sessions[1], rel=0.03)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"weights": {"itemfc": 1.0}}, "weights names 'itemfc'"),
        ({"weights": {"nearline": 1.0}}, "weights names 'nearline'"),
        ({"days": {"measured": 6}}, "bazaar.world.days (4)"),
        ({"days": {"warm_up": 1}}, "days.warm_up"),
        ({"nearline": {"refresh": "hourly"}}, "nearline.refresh"),
        ({"stall_second": 1.0}, "did you mean 'stall_seconds'"),
        ({"rankers": {"front_page": DINConfig()}}, "rankers.front_page"),
    ],
)
def test_an_impossible_arm_names_the_key(given: dict, key: str) -> None:
    whole = {"name": "a", "bazaar": BAZAAR.model_dump(), "days": DAYS.model_dump(), "channels": [PopularConfig()]}
    with pytest.raises(ConfigError) as raised:
        parse(ArmConfig, whole | given, "arm.toml")
    assert key in str(raised.value)


def test_arms_of_other_worlds_or_days_or_of_one_name_are_refused() -> None:
    other = arm("b").model_copy(update={"bazaar": BazaarConfig()})
    longer = arm("b").model_copy(update={"days": DaysConfig()})
    for treatment, key in ((other, "bazaar"), (longer, "days"), (arm("a"), "name")):
        with pytest.raises(ConfigError, match=f"^{key}:"):
            require_same_world(arm("a"), treatment)


def test_the_arms_that_come_along_are_of_the_frozen_world_and_can_be_compared() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "bazaar"
    arms = load_arm(folder / "control.toml"), load_arm(folder / "treatment.toml")
    require_same_world(*arms)
    assert arms[0].bazaar == BazaarConfig()
    require_same_world(*(arm.fast() for arm in arms))


def test_a_channel_without_a_kind_or_of_an_unknown_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "arm.toml"
    for text, key in (
        ('name = "a"', "[[channels]]"),
        ('name = "a"\n[[channels]]\nkind = "popula"', "channels[0].kind"),
        ('name = "a"\n[[channels]]\nkind = "popular"\n[rankers]\nhomepage = "din"', "[rankers.homepage]"),
        ('name = "a"\n[[channels]]\nkind = "popular"\n[rankers.homepage]\nkind = "affinity"', "rankers.homepage.kind"),
        ('name = "a"\n[[channels]]\nkind = "popular"\n[rankers.homepage]\nkind = "din"\nlenght = 3', "length"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError) as raised:
            load_arm(path)
        assert key in str(raised.value)
