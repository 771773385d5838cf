"""Table 1 as bars, and what alpha and beta do, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.nearline.found import Estimate, Found
from headwater.reproduce.nearline.plan import BASE, EVERYTHING, SEARCH
from headwater.reproduce.nearline.published import TABLE_1, TABLE_4
from headwater.reproduce.nearline.tables import NAMES, policy_arm, values_of
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
            "Table 4: MNR of main search by alpha and by beta; PVR, and CTCVR relative to the base. The paper has "
            "alpha alone.",
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
    figure, axes = new_figure(2, 10, 3.4)
    drawn = 0
    for axis, name in zip(axes, ("alpha", "beta"), strict=True):
        points: list[tuple[int, Estimate, Estimate]] = []
        for value in values_of(found, name):
            arm = found.arm(policy_arm(found, name, value))
            share = arm.figure(SEARCH, "pvr") if arm else None
            gain = arm.against(SEARCH, "ctcvr", base, SEARCH) if arm else None
            if share is not None and gain is not None:
                points.append((value, share, gain))
        drawn = max(drawn, len(points))
        values = [value for value, *_ in points]
        shares, gains = [share for _, share, _ in points], [gain for *_, gain in points]
        for figures, colour, label in ((shares, OURS, "PVR, %"), (gains, "#333333", "CTCVR against the base, %")):
            heights = [100 * one.value for one in figures]
            axis.errorbar(
                values,
                heights,
                yerr=_errors(figures),
                marker="o",
                color=colour,
                label=f"{label}, ours",
                capsize=2,
            )
        if name == "alpha":
            theirs = [(alpha, row.ctcvr) for alpha, row in TABLE_4.items() if row.ctcvr is not None]
            axis.plot(*zip(*[(alpha, 100 * gain) for alpha, gain in theirs], strict=True), "s--", color=THEIRS,
                      label="CTCVR, published")  # fmt: skip
        axis.set(xscale="log", xlabel=name)
        axis.axhline(0, color="#5b6676", lw=0.8)
        axis.legend(frameon=False, fontsize=8)
        plain(axis)
    return figure if drawn > 1 else None


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    """How far the intervals reach below and above, in percent."""
    below = [100 * (one.value - one.low) for one in estimates]
    return [below, [100 * (one.high - one.value) for one in estimates]]
