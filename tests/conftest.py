"""A small made-up marketplace that every room's tests share."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from headwater.data import Dataset, Vocabulary

if TYPE_CHECKING:
    from redis_server import RedisServer

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("headwater", deadline=None)
settings.load_profile("headwater")

GROUPS = 6
ITEMS_PER_GROUP = 25


@pytest.fixture(scope="session")
def marketplace() -> Dataset:
    """200 users × 150 items in six taste groups; integer users, string items; 12-30 interactions a user.

    A user keeps to a home group nine times in ten, so that co-occurrence says something.
    """
    random = np.random.default_rng(7)
    n_users, n_items = 200, GROUPS * ITEMS_PER_GROUP
    users, items, times = [], [], []
    for user in range(n_users):
        length = int(random.integers(12, 31))
        group = np.where(random.random(length) < 0.9, user % GROUPS, random.integers(0, GROUPS, length))
        within = np.minimum(random.geometric(0.12, length) - 1, ITEMS_PER_GROUP - 1)
        chosen = list(dict.fromkeys((group * ITEMS_PER_GROUP + within).tolist()))
        users += [user] * len(chosen)
        items += chosen
        times += (1_600_000_000 + 86_400 * user % 500_000 + np.arange(len(chosen)) * 60).tolist()
    ids = [f"item-{code:03d}" for code in range(n_items)]
    return Dataset.from_events(
        "marketplace",
        Vocabulary(np.arange(1, n_users + 1)),
        Vocabulary(ids),
        event_users=np.array(users, np.int32),
        event_items=np.array(items, np.int32),
        event_times=np.array(times, np.int64),
        item_attributes=pa.table(
            {
                "id": ids,
                "title": [f"Thing {code}" for code in range(n_items)],
                "category": [f"group {code // ITEMS_PER_GROUP}" for code in range(n_items)],
            }
        ),
    )


REDIS_SERVERS = ["bundled"]
if shutil.which("redis-server"):
    REDIS_SERVERS.append(pytest.param("system", marks=pytest.mark.servers))


@pytest.fixture(scope="session", params=REDIS_SERVERS)
def shared_redis_server(request: pytest.FixtureRequest) -> "Iterator[RedisServer]":
    """One real server for many tests: the one that a wheel brings, and the machine's own where it has one."""
    from redis_server import BUNDLED, RedisServer

    with RedisServer(BUNDLED if request.param == "bundled" else str(shutil.which("redis-server"))) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis_server: "RedisServer") -> "RedisServer":
    """A real Redis server without data. A test that stops it starts it again."""
    with shared_redis_server.client() as client:
        client.flushall()
    return shared_redis_server
