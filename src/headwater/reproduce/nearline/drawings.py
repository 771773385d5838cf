"""Table 1 as bars, and what alpha and beta do, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.nearline.cells import NAMES
from headwater.reproduce.nearline.found import Estimate, Found
from headwater.reproduce.nearline.plan import BASE, EVERYTHING, SEARCH
from headwater.reproduce.nearline.published import TABLE_1, TABLE_4
from headwater.reproduce.nearline.tables import policy_arm, values_of
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
    }
    made = []
    for name, (make, caption) in pictures.items():
        figure = make(found)
        if figure is not None:
            path = folder / f"{found.recipe}-{name}.png"
            figure.savefig(path, dpi=140, bbox_inches="tight", metadata={"Software": None})
            made.append((path, caption))
    return made


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
        own = next(value for value, arm in played.items() if arm is base)
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


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    """How far the intervals reach below and above, in percent."""
    below = [100 * (one.value - one.low) for one in estimates]
    return [below, [100 * (one.high - one.value) for one in estimates]]
