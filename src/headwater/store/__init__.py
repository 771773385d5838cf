"""Keyed bytes that outlive a process: one seam, and LMDB as the embedded default."""

from headwater.store.base import Put, Store, key_bytes
from headwater.store.lmdb import LmdbStore

__all__ = ["LmdbStore", "Put", "Store", "key_bytes"]
