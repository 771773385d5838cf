"""What an arm's scenarios ranked, and what becomes of it: the product's own log, operator, store and channels."""

from __future__ import annotations

from pathlib import Path

from headwater.nearline.batch import backfill, write_store
from headwater.nearline.channel import NearlineChannel
from headwater.nearline.local import Stream
from headwater.nearline.policy import Policy
from headwater.nearline.sources import DirectorySource
from headwater.retrieval.base import Channel
from headwater.service.matching import nearline_channels
from headwater.simulation.arms import GLARE, ArmConfig, Refresh
from headwater.simulation.config import START
from headwater.simulation.emit import RankLogSink
from headwater.simulation.play import Page
from headwater.simulation.world import DAY, World
from headwater.store.base import Store


class RankLogs:
    """A sink of `Play`: the rank log of an arm, and channels of what was made of it.

    Parameters
    ----------
    arm : ArmConfig
    world : World
    folder : Path
        Empty; log and stores are kept there.
    """

    def __init__(self, arm: ArmConfig, world: World, folder: Path) -> None:
        self._now = float(START)
        self._sink = RankLogSink(folder / "log", world.catalogue, arm.name)
        self._readers: list[_Reader] = []
        self.channels: list[Channel] = []
        """All of them, to be asked by the homepage."""
        items = world.catalogue.items
        if arm.nearline is not None:
            store = self._open(folder, "nearline", arm.nearline.policy, arm.nearline.refresh)
            self.channels += nearline_channels(store, items, arm.weights)
        if arm.glare is not None:
            store = self._open(folder, GLARE, arm.glare.policy.glare(), arm.glare.refresh)
            self.channels.append(NearlineChannel(store, items, GLARE))

    @property
    def is_read(self) -> bool:
        """Whether any channel comes of the log."""
        return bool(self._readers)

    @property
    def records(self) -> int:
        """Taken in so far, by the one that took in most."""
        return max((reader.records for reader in self._readers), default=0)

    def __call__(self, page: Page) -> None:
        if self._readers:
            self._sink(page)

    def begin_day(self, day: int) -> None:
        """What is refreshed daily is made of the log up to this midnight."""
        for reader in self._readers:
            reader.begin_day(day)

    def after_tick(self, until: int) -> None:
        """Append what was ranked, and let streams take it in before the next minute."""
        self._sink.flush(until)
        self._now = float(START + until)
        for reader in self._readers:
            reader.after_tick()

    def close(self) -> None:
        self._sink.close()
        for reader in self._readers:
            reader.store.close()

    def _open(self, folder: Path, name: str, policy: Policy, refresh: Refresh) -> Store:
        # Arms that read no rank log are played where no store is installed.
        from headwater.store.lmdb import LmdbStore

        store = LmdbStore(folder / name, clock=lambda: self._now)
        self._readers.append(_Reader(DirectorySource(folder / "log"), store, policy, refresh))
        return store


class _Reader:
    """One policy over the log, kept fresh by a stream or computed at midnight."""

    def __init__(self, source: DirectorySource, store: Store, policy: Policy, refresh: Refresh) -> None:
        self._source, self.store, self._policy = source, store, policy
        self._stream = Stream(source, store, policy) if refresh == "stream" else None
        self.records = 0

    def begin_day(self, day: int) -> None:
        if self._stream is None:
            done = backfill(self._source, self._policy, until=START + day * DAY)
            self.records = done.records
            write_store(done.states, self.store, self._policy)

    def after_tick(self) -> None:
        if self._stream is not None:
            while self._stream.run_once():
                pass
            self.records = self._stream.status().records
