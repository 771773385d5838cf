"""Keyed bytes that outlive a process: one seam, LMDB as the embedded default, Redis or Valkey as a server.

A store is imported when it is asked for: what knows the seam alone runs where neither LMDB nor Redis is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.store.base import Put, Store, key_bytes
    from headwater.store.lmdb import LmdbStore
    from headwater.store.place import open_store, without_secrets
    from headwater.store.redis import RedisStore

_PLACES = {
    "LmdbStore": "lmdb",
    "Put": "base",
    "RedisStore": "redis",
    "Store": "base",
    "key_bytes": "base",
    "open_store": "place",
    "without_secrets": "place",
}
"""Public name -> the module that holds it."""

__all__ = ["LmdbStore", "Put", "RedisStore", "Store", "key_bytes", "open_store", "without_secrets"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"headwater.store.{_PLACES[name]}"), name)
