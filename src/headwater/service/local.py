"""The pipeline in process, for one question at a time: what `headwater recommend` asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headwater import release as releases
from headwater.home import Home
from headwater.service.loaded import load_release, open_center
from headwater.service.pipeline import Pipeline
from headwater.store.place import open_store


@contextmanager
def open_pipeline(home: Home) -> Iterator[Pipeline]:
    """The current release's pipeline over the store of `home`; it writes no rank log.

    Raises `ReleaseError` where no release is promoted, and as `load_release` does.
    """
    release = load_release(home, releases.current(home.releases), open_center(home))
    store = open_store(home.store)
    try:
        yield Pipeline(release, store, log=None)
    finally:
        store.close()
