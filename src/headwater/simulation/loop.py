"""The closed loop: logs train rankers and channels, these serve the homepage, and what is ranked feeds nearline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.schema import Behaviour
from headwater.nearline.batch import backfill, write_store
from headwater.nearline.channel import NearlineChannel
from headwater.nearline.local import Stream
from headwater.nearline.sources import DirectorySource
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel
from headwater.simulation.arms import ArmConfig, NearlineArm
from headwater.simulation.config import SCENARIOS, START, BazaarConfig
from headwater.simulation.emit import RankLogSink, acts
from headwater.simulation.homepage import ChannelHomepage, Health
from headwater.simulation.measures import Measures
from headwater.simulation.play import Page, Play
from headwater.simulation.ranking import ScenarioRanker, Seen
from headwater.simulation.summary import Funnel
from headwater.simulation.world import DAY, World, make_world
from headwater.store import LmdbStore, Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class WarmUp:
    """What the first days left: a play to go on from, rankers that learned, and the clicks that channels learn from.

    Attributes
    ----------
    world : World
    play : Play
        At the midnight after them; `Play.fork` goes on without changing it.
    rankers : tuple of six ScenarioRanker
    clicks : Dataset
        Clicks, carts and purchases of all scenarios.
    """

    world: World
    play: Play
    rankers: tuple[ScenarioRanker, ...]
    clicks: Dataset


@dataclass(frozen=True)
class ArmResult:
    """What an arm came to.

    Attributes
    ----------
    arm : ArmConfig
    measures : Measures
    funnel : Funnel
        Of the measured days.
    health : dict of str to Health
        Of each channel.
    records : int
        That the stream took in; 0 without one.
    """

    arm: ArmConfig
    measures: Measures
    funnel: Funnel
    health: dict[str, Health]
    records: int


def warm_up(bazaar: BazaarConfig, days: int, say: Say = lambda _: None) -> WarmUp:
    """Play `days` with untrained rankers and no channels, and let each ranker learn from its own scenario's log.

    Raises `SchemaError` where a scenario's log is too short to learn from.
    """
    world = make_world(bazaar)
    log = _TrainingLog()
    play = Play(world, ranks_all=False, keeps_features=True)
    for day in range(days):
        say(f"warm-up, day {day}")
        log.day = day
        play.play_day(log)
    say("training rankers")
    untrained = [ScenarioRanker(name, world.catalogue) for name in SCENARIOS]
    rankers = tuple(ranker.trained(log.seen(code)) for code, ranker in enumerate(untrained))
    return WarmUp(world, play, rankers, log.dataset(world))


def run_arm(start: WarmUp, arm: ArmConfig, folder: Path, say: Say = lambda _: None) -> ArmResult:
    """Train the arm's channels, and play its days in closed loop.

    Parameters
    ----------
    start : WarmUp
        Of the arm's own world; it is not changed, so that arms begin alike.
    folder : Path
        Empty; the rank log and the store of nearline are kept there.
    """
    catalogue, users = start.world.catalogue, arm.bazaar.world.users
    channels: list[Channel] = []
    for settings in arm.channels:
        say(f"{arm.name}: training {settings.name}")
        channels.append(channel_class(settings.kind)(settings).fit(start.clicks))
    begin = (arm.days.warm_up + arm.days.settle) * DAY
    measures = Measures(users, catalogue.categories, begin, begin + arm.days.measured * DAY)
    nearline = None if arm.nearline is None else _Nearline(arm, arm.nearline, start.world, folder)
    try:
        if nearline is not None:
            channels += nearline.channels
        homepage = ChannelHomepage(
            channels, arm.weights, catalogue, stall_seconds=arm.stall_seconds, watch=measures.watch
        )
        play = start.play.fork(start.rankers, homepage, ranks_all=nearline is not None)
        funnel = Funnel()
        for day in range(arm.days.warm_up, arm.days.warm_up + arm.days.settle + arm.days.measured):
            say(f"{arm.name}: day {day}")
            is_measured = day * DAY >= begin

            def sink(page: Page, is_measured: bool = is_measured) -> None:
                measures(page)
                if is_measured:
                    funnel(page)
                if nearline is not None:
                    nearline.sink(page)

            if nearline is not None:
                nearline.begin_day(day)
            play.play_day(sink, None if nearline is None else nearline.after_tick)
    finally:
        if nearline is not None:
            nearline.close()
    return ArmResult(arm, measures, funnel, homepage.health, 0 if nearline is None else nearline.records)


class _Nearline:
    """The rank log, the operator's runtime, the store and its channels, all of them the product's own."""

    def __init__(self, arm: ArmConfig, settings: NearlineArm, world: World, folder: Path) -> None:
        self.sink = RankLogSink(folder / "log", world.catalogue, arm.name)
        self._settings = settings
        self._now = float(START)
        self._source = DirectorySource(folder / "log")
        self._store: Store = LmdbStore(folder / "store", clock=lambda: self._now)
        self._stream = Stream(self._source, self._store, settings.policy) if settings.refresh == "stream" else None
        items, names = world.catalogue.items, [name.removeprefix("nearline/") for name in arm.nearline_names]
        is_one = arm.nearline_names == ["nearline"]
        self.channels: list[Channel] = (
            [NearlineChannel(self._store, items)] if is_one else [*NearlineChannel.separate(self._store, items, names)]
        )
        self.records = 0

    def begin_day(self, day: int) -> None:
        """In batch mode: candidates from the log up to this midnight."""
        if self._stream is None:
            done = backfill(self._source, self._settings.policy, until=START + day * DAY)
            self.records = done.records
            write_store(done.states, self._store, self._settings.policy)

    def after_tick(self, until: int) -> None:
        """Append what was ranked, and let the stream take it in before the next minute."""
        self.sink.flush(until)
        self._now = float(START + until)
        if self._stream is not None:
            while self._stream.run_once():
                pass
            self.records = self._stream.status().records

    def close(self) -> None:
        self.sink.close()
        self._store.close()


class _TrainingLog:
    """Sink of the warm-up."""

    def __init__(self) -> None:
        self.day = 0
        self._seen: dict[int, list[tuple[np.ndarray, ...]]] = {code: [] for code in range(len(SCENARIOS))}
        self._acts: list[tuple[np.ndarray, ...]] = []

    def __call__(self, page: Page) -> None:
        outcome, shown = page.outcome, page.shown()
        assert page.features is not None
        days = np.full(len(shown), self.day, np.int16)
        self._seen[page.scenario].append((page.features[shown], outcome.items, page.positions(), outcome.clicks, days))
        rows, items, behaviours, times = acts(page)
        self._acts.append((page.requests.users[rows], items, behaviours, times))

    def seen(self, scenario: int) -> Seen:
        parts = self._seen[scenario]
        none = np.zeros(0, np.int32)
        if not parts:
            return Seen(np.zeros((0, 12), np.float32), none, none, none.astype(np.int8), none.astype(np.int16))
        return Seen(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def dataset(self, world: World) -> Dataset:
        users, items, behaviours, times = (np.concatenate(columns) for columns in zip(*self._acts, strict=True))
        assert (behaviours >= Behaviour.CLICK).all()
        return Dataset.from_events(
            f"bazaar {world.config.hash}",
            world.users,
            world.catalogue.items,
            event_users=users,
            event_items=items,
            event_times=times,
            event_behaviours=behaviours,
            item_attributes=world.catalogue.attributes(),
            user_attributes=world.demographics,
        )
