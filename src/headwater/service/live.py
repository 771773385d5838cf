"""The pipeline that is being served now, swapped when another release is promoted."""

from __future__ import annotations

import logging
import threading

from headwater import release as releases
from headwater.errors import HeadwaterError
from headwater.home import Home
from headwater.nearline.ranklog import RankLog
from headwater.service.loaded import load_release, open_center
from headwater.service.pipeline import Pipeline
from headwater.store.place import open_store

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""How often the pointer to the current release is read: a promotion is served about this soon."""


class Live:
    """Holds the pipeline of the current release. A request reads `pipeline` once and keeps it to its end.

    Raises `ReleaseError` when made, where no release is promoted or the promoted one is damaged.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.store = open_store(home.store)
        self.log = RankLog(home.log)
        self.knowledge = open_center(home)
        self.pipeline = self._load(releases.current(home.releases))
        self.refused: str | None = None
        self._refused_id: str | None = None
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="release-watch", daemon=True)

    def _load(self, release: str) -> Pipeline:
        pipeline = Pipeline(load_release(self._home, release, self.knowledge), self.store, self.log)
        pipeline.warm_up()
        return pipeline

    def refresh(self) -> None:
        """Serve the promoted release if it is another one; keep the old one where the new cannot be loaded."""
        try:
            promoted = releases.current(self._home.releases)
            if promoted == self.pipeline.release.id:
                self.refused = self._refused_id = None
            elif promoted != self._refused_id:  # a refused release is not read again and again
                self._refused_id = promoted
                self.pipeline = self._load(promoted)
                self.refused = self._refused_id = None
                logger.info("serving release %s", promoted)
        except Exception as error:
            # Whatever it is, the old release goes on serving and the watch goes on watching.
            self.refused = str(error)
            if isinstance(error, HeadwaterError):
                logger.error("still serving %s: %s", self.pipeline.release.id, error)
            else:
                logger.exception("still serving %s", self.pipeline.release.id)

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            self.refresh()

    def start(self) -> None:
        """Begin to watch the pointer."""
        self._watcher.start()

    def close(self) -> None:
        """Stop watching, flush the log and close the store."""
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join(timeout=10)
        self.log.close()
        self.store.close()
