"""The closed loop: logs train rankers and channels, these serve the homepage, and what is ranked feeds nearline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headwater.simulation.arms import ArmConfig
from headwater.simulation.chronicle import Chronicle
from headwater.simulation.homepage import ChannelHomepage, Health
from headwater.simulation.measures import Measures
from headwater.simulation.play import Page
from headwater.simulation.ranklogs import RankLogs
from headwater.simulation.scenarios import HOMEPAGE
from headwater.simulation.summary import Funnel
from headwater.simulation.trained import rankers_of, trained
from headwater.simulation.warmup import Say, WarmUp
from headwater.simulation.world import DAY


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
        Taken in from the rank log; 0 where nothing reads one.
    """

    arm: ArmConfig
    measures: Measures
    funnel: Funnel
    health: dict[str, Health]
    records: int


def run_arm(
    start: WarmUp, arm: ArmConfig, folder: Path, say: Say = lambda _: None, chronicle: Chronicle | None = None
) -> ArmResult:
    """Train the arm's channels and rankers, and play its days in closed loop.

    Parameters
    ----------
    start : WarmUp
        Of the arm's own world; it is not changed, so that arms begin alike.
    folder : Path
        Empty; the rank log and the store of nearline are kept there.
    chronicle : Chronicle, optional
        Given every page.
    """
    catalogue, users = start.world.catalogue, arm.bazaar.world.users
    channels = [trained(settings, start, lambda what: say(f"{arm.name}: {what}")) for settings in arm.channels]
    rankers = rankers_of(arm.rankers, start, lambda what: say(f"{arm.name}: {what}"))
    begin = (arm.days.warm_up + arm.days.settle) * DAY
    measures = Measures(users, catalogue.categories, begin, begin + arm.days.measured * DAY)
    funnel = Funnel()
    logs = RankLogs(arm, start.world, folder)
    try:
        homepage = ChannelHomepage(
            [*channels, *logs.channels],
            rankers[HOMEPAGE],
            arm.weights,
            catalogue,
            stall_seconds=arm.stall_seconds,
            watch=measures.watch,
        )
        play = start.play.fork(rankers, homepage, ranks_all=logs.is_read)
        for day in range(arm.days.warm_up, arm.days.in_all):
            say(f"{arm.name}: day {day}")
            is_measured = day * DAY >= begin

            def sink(page: Page, is_measured: bool = is_measured) -> None:
                measures(page)
                if is_measured:
                    funnel(page)
                logs(page)
                if chronicle is not None:
                    chronicle(page, play.shoppers)

            logs.begin_day(day)
            play.play_day(sink, logs.after_tick if logs.is_read else None)
    finally:
        logs.close()
    return ArmResult(arm, measures, funnel, homepage.health, logs.records)
