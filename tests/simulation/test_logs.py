"""Super-domain logs: three sub-domains of one world, day by day, to the same bytes however often they are begun."""

from pathlib import Path

import polars as pl
import pytest

from headwater.config import parse
from headwater.data.impression_log import LogColumns, read_impressions
from headwater.errors import ArtefactError, ConfigError
from headwater.simulation.blocks import Blocks
from headwater.simulation.config import START, BazaarConfig, WorldConfig
from headwater.simulation.domains import AD, ADS, DOMAINS, LogsConfig
from headwater.simulation.logs import SHEET, STATE, DayCounts, read_counts, write_logs
from headwater.simulation.world import World

SMALL = LogsConfig(
    bazaar=BazaarConfig(
        world=WorldConfig(users=60, items=1_200, days=3, categories=24, departments=4, shops=20, brands=20)
    )
)
HALF = LogsConfig(bazaar=BazaarConfig(world=WorldConfig(users=1_500, days=8)))
"""The frozen settings with fewer users."""


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != STATE]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert [was_there for _, was_there in write_logs(SMALL, 3, folder)] == [False] * 3
    return folder


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> list[DayCounts]:
    return [counts for counts, _ in write_logs(HALF, 2, tmp_path_factory.mktemp("rates"))]


# -- settings


def test_the_frozen_settings_have_the_hash_that_the_docs_print() -> None:
    assert LogsConfig().hash == "dbf88d9eefa2"
    assert LogsConfig(ad=ADS.model_copy(update={"kinship": 0.7})).hash != LogsConfig().hash


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"ad": {"slots": 100}}, "slots (100) exceed candidates (60)"),
        ({"ad": {"reach": 1.5}}, "ad.reach"),
        ({"video": {"shown": 0}}, "video.shown"),
        ({"ad": {"click_logits": 1.0}}, "did you mean 'click_logit'"),
        ({"bazaar": {"world": {"categories": 0}}}, "bazaar.world.categories"),
    ],
)
def test_impossible_settings_name_the_key(given: dict, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(LogsConfig, given, "logs.toml")
    assert key in str(raised.value)


def test_a_table_that_sets_one_key_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "logs.toml"
    path.write_text("[ad]\nreach = 0.25\n", encoding="utf-8")
    found = LogsConfig.load(path)
    assert found.ad == ADS.model_copy(update={"reach": 0.25})
    assert found.video == LogsConfig().video


def test_more_days_than_the_world_has_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"days \(4\) exceed bazaar.world.days \(3\)"):
        next(write_logs(SMALL, 4, tmp_path))


# -- what is in a day


def test_a_days_shares_reach_and_rates_are_those_that_were_asked_for(rates: list[DayCounts]) -> None:
    for day in rates:
        ad = day.domains["ad"]
        assert ad.impressions / day.impressions == pytest.approx(0.1, abs=0.015)
        assert ad.users / day.users == pytest.approx(0.5, abs=0.05)
        assert ad.clicks / ad.impressions == pytest.approx(0.04, abs=0.008)
    clicks = sum(day.domains["ad"].clicks for day in rates)
    assert clicks > 1_000
    # One of a hundred clicks: some 15 of 1,500, which have a standard deviation of 4.
    for name in ("carts", "conversions"):
        assert 0.004 < sum(getattr(day.domains["ad"], name) for day in rates) / clicks < 0.02, name


def test_campaigns_and_the_items_in_them_change_from_day_to_day(small: World) -> None:
    blocks = Blocks(AD, ADS, small.catalogue, 1)
    days = []
    for day in range(8):
        blocks.begin_day(day)
        days.append(blocks.in_campaign.copy())
    assert days[0].mean() == pytest.approx(ADS.shown, abs=0.02)
    kept = [(days[0] & later).sum() / days[0].sum() for later in days]
    assert kept[0] == 1
    assert kept[1] == pytest.approx(1 - 1 / ADS.campaign, abs=0.06)
    assert kept[7] == 0


def test_only_items_in_a_campaign_are_advertised_and_only_to_users_within_reach(whole: Path) -> None:
    frame = pl.read_parquet(whole / "impressions" / "day-00.parquet")
    ads = frame.filter(pl.col("domain") == "ad")
    items = pl.read_parquet(whole / "items.parquet")
    assert ads["item_id"].n_unique() <= 1.5 * ADS.shown * len(items)
    assert ads["user_id"].n_unique() < 0.75 * frame["user_id"].n_unique()
    assert ads["position"].max() == ADS.slots - 1
    assert set(frame["domain"].unique()) == set(DOMAINS)


def test_counts_are_those_of_the_files_and_a_file_has_one_day(whole: Path) -> None:
    for counts in read_counts(whole, SMALL):
        frame = pl.read_parquet(whole / "impressions" / f"day-{counts.day:02d}.parquet")
        assert ((frame["timestamp"] - START) // 86_400).unique().to_list() == [counts.day]
        assert len(frame) == counts.impressions
        assert frame["user_id"].n_unique() == counts.users
        for name, one in counts.domains.items():
            part = frame.filter(pl.col("domain") == name)
            found = (
                part["user_id"].n_unique(),
                len(part),
                *(part[task].sum() for task in ("click", "cart", "conversion")),
            )
            assert found == (one.users, one.impressions, one.clicks, one.carts, one.conversions)


def test_the_days_of_a_folder_are_read_as_one_log_with_sub_domains(whole: Path) -> None:
    columns = LogColumns(sub_domain="domain", context=("scenario",))
    read = read_impressions(
        whole / "impressions", columns, history=whole / "events", items_file=whole / "items.parquet",
        users_file=whole / "users.parquet",
    ).impressions  # fmt: skip
    counts = read_counts(whole)
    assert len(read) == sum(day.impressions for day in counts)
    ads = read.sub_domain("ad")
    assert int(ads.labels["click"].sum()) == sum(day.domains["ad"].clicks for day in counts)
    assert sorted(set(read.days.tolist())) == [0, 1, 2]
    assert {"category", "shop", "brand"} <= set(read.item_attributes.column_names)
    assert "age" in read.user_attributes.column_names


def test_histories_are_shared_by_the_sub_domains(whole: Path) -> None:
    events = pl.read_parquet(whole / "events" / "day-00.parquet").filter(pl.col("behaviour") == "click")
    by_user = events.group_by("user_id").agg(pl.col("domain").n_unique())
    assert (by_user["domain"] > 1).any()


# -- beginning again


def test_one_seed_gives_the_same_bytes_and_a_log_that_grows_those_of_one_that_was_whole(
    whole: Path, tmp_path: Path
) -> None:
    assert [was_there for _, was_there in write_logs(SMALL, 1, tmp_path)] == [False]
    assert [was_there for _, was_there in write_logs(SMALL, 3, tmp_path)] == [True, False, False]
    assert contents(tmp_path) == contents(whole)
    other = SMALL.model_copy(update={"bazaar": BazaarConfig(world=SMALL.bazaar.world.model_copy(update={"seed": 2}))})
    list(write_logs(other, 1, tmp_path / "other"))
    name = "impressions/day-00.parquet"
    assert (tmp_path / "other" / name).read_bytes() != (whole / name).read_bytes()


def test_a_day_that_was_cut_short_is_played_again_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    list(write_logs(SMALL, 1, tmp_path))
    state = (tmp_path / STATE).read_bytes()
    list(write_logs(SMALL, 2, tmp_path))
    # Killed after the second day's files and counts, and before its state; one file torn.
    (tmp_path / STATE).write_bytes(state)
    torn = tmp_path / "impressions" / "day-01.partial"
    torn.write_bytes(b"half")
    assert [was_there for _, was_there in write_logs(SMALL, 3, tmp_path)] == [True, False, False]
    assert contents(tmp_path) == contents(whole)


def test_a_folder_of_other_settings_or_a_damaged_one_is_refused(whole: Path, tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"ad": ADS.model_copy(update={"reach": 0.2})})
    with pytest.raises(ConfigError, match=rf"holds logs of settings {SMALL.hash}"):
        next(write_logs(other, 1, whole))
    list(write_logs(SMALL, 1, tmp_path))
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match=r"state\.npz is damaged"):
        next(write_logs(SMALL, 2, tmp_path))
    (tmp_path / SHEET).write_text("{}", encoding="utf-8")
    with pytest.raises(ArtefactError, match="does not describe logs"):
        next(write_logs(SMALL, 2, tmp_path))
