"""The page of an A/B test in the bazaar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.reproduce.bazaar.drawings import draw
from headwater.reproduce.bazaar.timeline import KEY, STYLE, timeline, told
from headwater.reproduce.page import page, pictures
from headwater.reproduce.sheet import Cell, Sheet
from headwater.simulation.config import SCENARIOS
from headwater.simulation.measures import COLUMNS
from headwater.simulation.summary import STAGES

if TYPE_CHECKING:
    from headwater.simulation.abtest import Difference, SampleRatio
    from headwater.simulation.chronicle import Chronicle
    from headwater.simulation.loop import ArmResult
    from headwater.simulation.world import World

TITLE = "Two arms in the bazaar"
LEAD = (
    "A made-up marketplace with known truth: users whose tastes and intents decide what they click, six scenarios that "
    "rank and show pages, and a homepage fed by the real channels, merge and stream. Shapes and mechanisms are to be "
    "read here, never figures of a real shop."
)


def write_report(
    folder: Path,
    world: World,
    results: Sequence[ArmResult],
    chronicles: Sequence[Chronicle],
    tests: dict[str, list[Difference]],
    ratio: SampleRatio,
    say: Callable[[str], None],
) -> Path:
    """Write `index.html`, which holds all that it shows, into `folder`, and return it.

    Parameters
    ----------
    results, chronicles : of two arms
        Control first.
    tests : dict of str to list of Difference
        By what was compared.
    say : callable
        Told where pictures cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [result.arm.name for result in results]
    size, days = world.config.world, results[0].arm.days
    about = (
        f"World {world.config.hash}: {size.users:,} users, {size.items:,} items, {size.categories:,} categories. "
        f"{days.warm_up} days of warm-up, {days.settle} of settling, {days.measured} measured. "
        f"Control is “{names[0]}”, treatment “{names[1]}”."
    )
    drawn = partial(draw, names, chronicles, [result.funnel for result in results], tests, folder)
    even = "a mismatch: do not read the split" if ratio.is_mismatch else "as even as a fair coin gives"
    split = f"Sample ratio {ratio.control:,} to {ratio.treatment:,}, p {ratio.p:.3f}: {even}."
    body = [
        STYLE,
        f"<h1>{TITLE}</h1><p class='lead'>{LEAD}</p><p class='note'>{escape(about)}</p>",
        "<h2>One user's day</h2>",
        _day(names, chronicles),
        "<h2>What differs</h2>",
        pictures(drawn, "the test", say),
        *(_differences(title, differences).html() for title, differences in tests.items()),
        f"<p class='note'>{escape(split)}</p>",
        "<h2>Channels</h2>",
        *(_channels(result).html() for result in results),
        "<h2>Scenarios</h2>",
        *(_funnel(result).html() for result in results),
    ]
    path = folder / "index.html"
    path.write_text(page(TITLE, "".join(body)), encoding="utf-8")
    return path


def _day(names: Sequence[str], chronicles: Sequence[Chronicle]) -> str:
    user = chronicles[1].told_best()
    if user is None:
        return "<p class='note'>On the kept day no search changed anybody's homepage.</p>"
    mine, other = (chronicle.entries(user) for chronicle in (chronicles[1], chronicles[0]))
    return (
        f"<p>{escape(told(mine))} This is the user whose homepage a search changed most on the last measured day, in "
        f"the arm “{escape(names[1])}”.</p>{KEY}{timeline(mine)}"
        f"<details><summary>The same user's day in the arm “{escape(names[0])}”</summary>{timeline(other)}</details>"
    )


def _differences(title: str, differences: Sequence[Difference]) -> Sheet:
    lines = [
        [
            Cell(one.metric),
            Cell(f"{one.control:.5f}"),
            Cell(f"{one.treatment:.5f}"),
            Cell(f"{one.relative:+.1%}"),
            Cell(f"{one.low:+.1%} to {one.high:+.1%}"),
            Cell(f"{one.p:.3f}"),
        ]
        for one in differences
    ]
    return Sheet(title, ["metric", "control", "treatment", "difference", "95% interval", "p"], lines)


def _channels(result: ArmResult) -> Sheet:
    lines = [[Cell(text) for text in row.texts()] for row in result.measures.channels()]
    failed = [
        f"{name} failed {health.faults} of {health.asked} times. {health.cut_off}"
        for name, health in result.health.items()
        if health.faults
    ]
    return Sheet(result.arm.name, COLUMNS, lines, failed)


def _funnel(result: ArmResult) -> Sheet:
    funnel, lines = result.funnel, []
    for code, scenario in enumerate(SCENARIOS):
        counts = [Cell(f"{count:,}") for count in funnel.counts[code].tolist()]
        rates = [funnel.ratio(code, stage, "exposures") for stage in ("clicks", "purchases")]
        lines.append([Cell(scenario), *counts, Cell(f"{rates[0]:.4f}"), Cell(f"{rates[1]:.5f}")])
    return Sheet(result.arm.name, ["scenario", *STAGES, "CTR", "CTCVR"], lines)
