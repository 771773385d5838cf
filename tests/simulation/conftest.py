import pytest

from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.world import World, make_world

SMALL = BazaarConfig(
    world=WorldConfig(users=150, items=1_200, days=3, categories=24, departments=4, shops=20, brands=20)
)


@pytest.fixture(scope="session")
def small() -> World:
    return make_world(SMALL)
