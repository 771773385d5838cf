"""A place is a folder or the URL of a server."""

from pathlib import Path

import pytest

import headwater.store
from headwater.errors import StoreError
from headwater.store import LmdbStore, Put, RedisStore, open_store, without_secrets
from redis_server import RedisServer


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    for place in (tmp_path / "a", str(tmp_path / "b")):
        store = open_store(place)
        assert isinstance(store, LmdbStore)
        store.close()


def test_a_url_is_a_server_and_its_prefix_keeps_stores_apart(redis_server: RedisServer) -> None:
    plain, shop, shop_again = (open_store(redis_server.url + more) for more in ("", "&prefix=shop", "&prefix=shop"))
    assert isinstance(shop, RedisStore)
    shop.put_many([Put("a", b"x", b"1")])
    assert shop_again.get_many("a", [b"x"]) == [b"1"]
    assert plain.get_many("a", [b"x"]) == [None]
    for store in (plain, shop, shop_again):
        store.close()


@pytest.mark.parametrize("place", ["http://localhost", "memcached://localhost:1", "redis://host:port"])
def test_another_url_is_refused(place: str) -> None:
    with pytest.raises(StoreError, match="URL"):
        open_store(place)


def test_a_place_is_shown_without_its_password() -> None:
    assert without_secrets("redis://me:secret@host:6379/2?prefix=shop") == "redis://host:6379/2"
    assert without_secrets("redis://:se@cret@host/0") == "redis://host/0"
    assert without_secrets("unix:///run/redis.sock?password=secret") == "unix:///run/redis.sock"
    assert without_secrets(Path("/data/store")) == "/data/store"


def test_every_public_name_of_the_stores_is_found_where_it_is_said_to_be() -> None:
    assert set(headwater.store._PLACES) == set(headwater.store.__all__)
    assert all(getattr(headwater.store, name).__name__ == name for name in headwater.store.__all__)
    with pytest.raises(AttributeError, match=r"'headwater\.store' has no attribute 'Lmdb'"):
        _ = headwater.store.Lmdb
