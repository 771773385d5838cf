"""How far worlds of the same settings lie apart: the figures that matter most, in each world by itself."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, stdev
from typing import NamedTuple

from headwater.reproduce.nearline.cells import NAMES
from headwater.reproduce.nearline.found import Found
from headwater.reproduce.nearline.plan import BASE, BESIDE, EVERYTHING, ONLINE, SEARCH
from headwater.reproduce.nearline.published import (
    DIVIDE_TABLE_6,
    PATHS_TABLE_3,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TRANSACTIONS,
)
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.simulation.measures import ALL


class Row(NamedTuple):
    """One figure.

    Attributes
    ----------
    what : str
    published : float or None
    of : callable
        Its value in a world; None where that was not played.
    is_relative : bool
        Whether it is a difference.
    """

    what: str
    published: float | None
    of: Callable[[Found], float | None]
    is_relative: bool = True


def worlds(found: Found) -> list[Sheet]:
    """One table, of what there are several worlds of; none where there is one."""
    if not found.worlds:
        return []
    lines = []
    for row in _rows(found):
        values = [value for world in found.worlds if (value := row.of(world)) is not None]
        if len(values) < len(found.worlds):
            continue
        form, error = ("+.1%", ".1f") if row.is_relative else (".2%", ".2f")
        published = NOT_PUBLISHED if row.published is None else format(row.published, form)
        mean = f"{fmean(values):{form}} ± {100 * stdev(values):{error}}"
        lines.append([Cell(row.what), Cell(published), *(Cell(format(value, form)) for value in values), Cell(mean)])
    head = ["figure", "published", *(world.recipe for world in found.worlds), "mean ± deviation"]
    notes = [
        "every figure in each world by itself: worlds differ by their seed, and so by all that is drawn; the standard "
        "deviation holds the chance of users as well as that of worlds",
    ]
    return [Sheet(f"Worlds of {found.recipe}", head, lines, notes)]


def _rows(found: Found) -> list[Row]:
    rows = []
    for channel, theirs in TABLE_1.items():
        rows.append(
            Row(f"Table 1: Hirate, {NAMES[channel]}", theirs.hirate, _figure(EVERYTHING, channel, "hirate"), False)
        )
    for channel, theirs in TABLE_1.items():
        if channel != ALL:
            row = Row(
                f"Table 1: CTCVR against all, {NAMES[channel]}",
                theirs.ctcvr,
                _gain(EVERYTHING, channel, "ctcvr", EVERYTHING, ALL),
            )
            rows.append(row)
    ablations = {
        "Table 2: daily against stream": (f"{BASE}-daily", TABLE_2["daily"], TABLE_2["stream"]),
        "Table 3: fifo against score": (f"{BASE}-fifo", TABLE_3["fifo"], TABLE_3["score"]),
        "Table 3: random against score": (f"{BASE}-random", TABLE_3["random"], TABLE_3["score"]),
    }
    for alpha in [alpha for alpha in TABLE_4 if alpha != 50]:
        name = f"Table 4: alpha {alpha} against 50"
        ablations[name] = (f"{BASE}-alpha-{alpha}", TABLE_4[alpha], TABLE_4[50])
    for what, (arm, theirs, base) in ablations.items():
        published = None if theirs.pvr is None or base.pvr is None else theirs.pvr / base.pvr - 1
        rows.append(Row(f"{what}, PVR", published, _gain(arm, SEARCH, "pvr", BASE, SEARCH)))
        rows.append(Row(f"{what}, CTCVR", theirs.ctcvr, _gain(arm, SEARCH, "ctcvr", BASE, SEARCH)))
    for metric, published in (("transactions", TRANSACTIONS), ("CTR", None), ("CTCVR", None)):
        rows.append(Row(f"Online: {metric}", published, _test(EVERYTHING, ONLINE, metric)))
    for name in found.alternatives[1:]:
        for metric in ("CTR", "clicks a user"):
            published = PATHS_TABLE_3.get(name, {}).get(metric)
            rows.append(
                Row(f"Paths: {name}, {metric}", published, _test(BESIDE + name, BESIDE + found.alternatives[0], metric))
            )
    base, other = DIVIDE_TABLE_6
    return [*rows, Row(f"{other.capitalize()}: CTR against {base}", DIVIDE_TABLE_6[other], _rival)]


def _figure(arm: str, channel: str, name: str) -> Callable[[Found], float | None]:
    def of(world: Found) -> float | None:
        played = world.arm(arm)
        estimate = played.figure(channel, name) if played else None
        return estimate.value if estimate else None

    return of


def _gain(arm: str, channel: str, name: str, other: str, base: str) -> Callable[[Found], float | None]:
    def of(world: Found) -> float | None:
        played, against = world.arm(arm), world.arm(other)
        estimate = played.against(channel, name, against, base) if played and against else None
        return estimate.value if estimate else None

    return of


def _test(arm: str, control: str, metric: str) -> Callable[[Found], float | None]:
    def of(world: Found) -> float | None:
        one = world.tests(arm, control).get(metric)
        return one.relative if one else None

    return of


def _rival(world: Found) -> float | None:
    gain = world.rival_gain("ctr")
    return gain.value if gain else None
