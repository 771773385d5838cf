"""The first days are played once, kept, and read back by every arm."""

from pathlib import Path

import pytest

from headwater.errors import ArtefactError
from headwater.retrieval.classic.popular import PopularConfig
from headwater.simulation.arms import ArmConfig, DaysConfig
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.loop import run_arm
from headwater.simulation.warmup import ABOUT, STATE, WarmUp, kept_warm_up

BAZAAR = BazaarConfig(
    world=WorldConfig(users=150, items=600, days=3, categories=12, departments=4, shops=10, brands=10)
)
ARM = ArmConfig(
    name="plain", bazaar=BAZAAR, days=DaysConfig(warm_up=2, settle=0, measured=1), channels=(PopularConfig(),)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bazaar")


@pytest.fixture(scope="module")
def played(folder: Path) -> WarmUp:
    return kept_warm_up(folder, BAZAAR, 2)


def test_an_arm_goes_on_from_what_was_kept_as_from_what_was_played(
    folder: Path, played: WarmUp, tmp_path: Path
) -> None:
    def fail(what: str) -> None:
        raise AssertionError(f"played again: {what}")

    read = kept_warm_up(folder, BAZAAR, 2, fail)
    assert read.checksum() == played.checksum()
    first, second = (run_arm(start, ARM, tmp_path / name) for name, start in (("a", played), ("b", read)))
    assert first.measures.users.sum() > 0
    assert (first.measures.users == second.measures.users).all()


def test_logs_hold_every_exposure_with_its_clicks(played: WarmUp) -> None:
    clicks = sum(int(log.clicks.sum()) for log in played.logs)
    assert clicks == len(played.clicks) > 0
    assert all(len(log.items) > int(log.clicks.sum()) > 0 for log in played.logs)


def test_each_world_and_number_of_days_is_kept_by_itself(folder: Path, played: WarmUp) -> None:
    other = BAZAAR.model_copy(update={"world": BAZAAR.world.model_copy(update={"seed": 2})})
    assert kept_warm_up(folder, other, 2).checksum() != played.checksum()
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("name", [STATE, ABOUT])
def test_a_damaged_file_is_named_and_not_used(played: WarmUp, tmp_path: Path, name: str) -> None:
    kept_warm_up(tmp_path, BAZAAR, 2)
    (path,) = tmp_path.glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match=name):
        kept_warm_up(tmp_path, BAZAAR, 2)
