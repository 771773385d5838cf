"""One open store for all functions of all jobs that run in one process, for LMDB is opened once by each."""

from __future__ import annotations

import threading

from headwater.store.base import Store
from headwater.store.place import open_store

_turn = threading.Lock()
_opened: dict[str, Store] = {}


def shared_store(place: str) -> Store:
    """The store at a place, opened if nobody in this process has opened it yet.

    It stays open as long as the process: PyFlink tells a function in thread mode nothing of its end.
    """
    with _turn:
        if place not in _opened:
            _opened[place] = open_store(place)
        return _opened[place]
