"""Table 1 as bars, what alpha and beta do, and the tests of live traffic, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.nearline.cells import NAMES
from headwater.reproduce.nearline.found import Estimate, Found
from headwater.reproduce.nearline.plan import BASE, BESIDE, EVERYTHING, ONLINE, SEARCH
from headwater.reproduce.nearline.published import (
    DIVIDE_TABLE_6,
    PATHS_TABLE_3,
    TABLE_1,
    TABLE_4,
    TRANSACTIONS,
)
from headwater.reproduce.nearline.tables import policy_arm, values_of
from headwater.reproduce.page import drawn
from headwater.simulation.measures import ALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, THEIRS = "#0b6e99", "#c8553d"


def draw(found: Found, folder: Path) -> list[tuple[Path, str]]:
    """Every picture that there are figures for, as (file, what it shows).

    Raises `ImportError` where matplotlib is missing.
    """
    pictures = {
        "channels": (
            _channels,
            "Table 1: what each channel hits of the next 24 hours, and how much more or less often than the rest what "
            "it found is bought; published and ours, with 95% intervals of ours.",
        ),
        "alpha-beta": (
            _curves,
            "Table 4: MNR of main search by α and by β, which order a queue by (α + rank) · (β + visits ago): PVR "
            "above, CTCVR against the base below, with 95% intervals. The paper has α alone.",
        ),
        "live": (
            _live,
            "What the papers say of live traffic: the homepage with MNR against the one without, Paths' indexes "
            "against ItemCF's, and what Divide gave against what ComiRec gave. Every user in both arms, with 95% "
            "intervals; pale where the interval holds 0.",
        ),
    }
    return drawn(pictures, found, folder)


def _channels(found: Found) -> Figure | None:
    arm = found.arm(EVERYTHING)
    if arm is None:
        return None
    figure, (left, right) = new_figure(2, 10, 3.6)
    names = [name for name in TABLE_1 if name in arm.channels]
    places = list(range(len(names)))[::-1]
    for place, name in zip(places, names, strict=True):
        rate = arm.figure(name, "hirate")
        gain = None if name == ALL else arm.against(name, "ctcvr", arm, ALL)
        for axis, ours, theirs in ((left, rate, TABLE_1[name].hirate), (right, gain, TABLE_1[name].ctcvr)):
            if ours is not None:
                axis.barh(place + 0.2, 100 * ours.value, 0.38, color=OURS)
                axis.errorbar(100 * ours.value, place + 0.2, xerr=_errors([ours]), color="#1c2430", capsize=2, lw=1)
            if theirs is not None:
                axis.barh(place - 0.2, 100 * theirs, 0.38, color=THEIRS)
    left.set(yticks=places, yticklabels=[NAMES[name] for name in names], xlabel="Hirate, %")
    right.set(yticks=places, yticklabels=[], xlabel="CTCVR against all channels, %")
    right.axvline(0, color="#5b6676", lw=0.8)
    for label, colour in (("ours", OURS), ("published", THEIRS)):
        left.barh([0], [0], color=colour, label=label)
    left.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        plain(axis)
    return figure


def _curves(found: Found) -> Figure | None:
    base = found.arm(BASE)
    if base is None:
        return None
    figure, axes = new_figure(2, 10, 6, rows=2, share="row")
    drawn = 0
    for column, name in enumerate(("alpha", "beta")):
        arms = {value: found.arm(policy_arm(found, name, value)) for value in values_of(found, name)}
        played = {value: arm for value, arm in arms.items() if arm is not None}
        drawn = max(drawn, len(played))
        shares = {value: arm.figure(SEARCH, "pvr") for value, arm in played.items()}
        gains = {value: arm.against(SEARCH, "ctcvr", base, SEARCH) for value, arm in played.items()}
        published = TABLE_4 if name == "alpha" else {}
        theirs = {
            "pvr": {value: row.pvr for value, row in published.items()},
            "ctcvr": {value: row.ctcvr for value, row in published.items()},
        }
        for row, (ours, of) in enumerate(((shares, "pvr"), (gains, "ctcvr"))):
            _curve(axes[2 * row + column], ours, theirs[of])
        for own in (value for value, arm in played.items() if arm is base):
            axes[2 + column].annotate("the base", (own, 0), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axes[2 + column].axhline(0, color="#5b6676", lw=0.8)
        axes[2 + column].set_xlabel({"alpha": "α, added to the rank", "beta": "β, added to the visit's place"}[name])
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("PVR, %")
    axes[2].set_ylabel("CTCVR against the base, %")
    axes[0].legend(frameon=False, fontsize=8)
    return figure if drawn > 1 else None


def _curve(axis: Any, ours: Mapping[int, Estimate | None], theirs: Mapping[int, float | None]) -> None:
    """Ours with intervals, and what was published, over a logarithmic axis whose ticks are the values played."""
    known = {value: estimate for value, estimate in ours.items() if estimate is not None}
    heights = [100 * estimate.value for estimate in known.values()]
    axis.set_xscale("log")
    axis.errorbar(
        list(known), heights, yerr=_errors(list(known.values())), marker="o", color=OURS, capsize=3, label="ours"
    )
    shown = {value: 100 * height for value, height in theirs.items() if height is not None}
    if shown:
        axis.plot(list(shown), list(shown.values()), "s--", color=THEIRS, label="published")
    axis.set_xticks(list(known), [str(value) for value in known])
    axis.minorticks_off()
    axis.grid(axis="y", color="#e6ebf0", lw=0.7)
    plain(axis)


def _live(found: Found) -> Figure | None:
    panels = {"MNR, against none": [(one, _published_online(one)) for one in _tested(found, EVERYTHING, ONLINE)]}
    base, *others = found.alternatives or [""]
    for name in others:
        theirs = PATHS_TABLE_3.get(name, {})
        tests = _tested(found, BESIDE + name, BESIDE + base)
        panels[f"{name}, against {base}"] = [(one, theirs.get(one[0])) for one in tests]
    panels["what Divide gave, against ComiRec's"] = _rivals(found)
    panels = {title: rows for title, rows in panels.items() if rows}
    if not panels:
        return None
    figure, axes = new_figure(len(panels), 3.4 * len(panels), 3.2)
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for at, ((_, estimate), theirs) in enumerate(rows):
            colour = OURS if estimate.is_sure else "#9bbccb"
            low, high = 100 * estimate.low, 100 * estimate.high
            axis.plot([low, high], [at, at], color=colour, lw=2.5, solid_capstyle="round")
            axis.plot([100 * estimate.value], [at], "o", color=colour)
            if theirs is not None:
                axis.plot([100 * theirs], [at], "s", color=THEIRS)
        axis.set_yticks(range(len(rows)), [metric for (metric, _), _ in rows])
        axis.invert_yaxis()
        axis.axvline(0, color="#5b6676", lw=0.8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("difference, %")
    axes[0].plot([], [], "o-", color=OURS, label="ours")
    axes[0].plot([], [], "s", color=THEIRS, label="published")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    plain(*axes)
    return figure


def _tested(found: Found, treatment: str, control: str) -> list[tuple[str, Estimate]]:
    """(metric, relative difference) of every user in both arms; empty where either was not played."""
    known = [one for one in found.tests(treatment, control).values() if isfinite(one.relative)]
    return [(one.metric, Estimate(one.relative, one.low, one.high)) for one in known]


def _published_online(test: tuple[str, Estimate]) -> float | None:
    return TRANSACTIONS if test[0] == "transactions" else None


def _rivals(found: Found) -> list[tuple[tuple[str, Estimate], float | None]]:
    _, rival = DIVIDE_TABLE_6
    rows: list[tuple[tuple[str, Estimate], float | None]] = []
    for metric, title in (("ctr", "CTR"), ("ctcvr", "CTCVR"), ("hirate", "Hirate"), ("pvr", "PVR")):
        gain = found.rival_gain(metric)
        if gain is not None:
            rows.append(((title, gain), DIVIDE_TABLE_6[rival] if metric == "ctr" else None))
    return rows


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    """How far the intervals reach below and above, in percent."""
    below = [100 * (one.value - one.low) for one in estimates]
    return [below, [100 * (one.high - one.value) for one in estimates]]
