"""Keyed bytes that outlive a process: one seam, LMDB as the embedded default, Redis or Valkey as a server."""

from headwater.store.base import Put, Store, key_bytes
from headwater.store.lmdb import LmdbStore
from headwater.store.place import open_store, without_secrets
from headwater.store.redis import RedisStore

__all__ = ["LmdbStore", "Put", "RedisStore", "Store", "key_bytes", "open_store", "without_secrets"]
