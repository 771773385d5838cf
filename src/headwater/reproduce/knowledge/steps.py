"""How soon each way of knowing more pays, and what is forgotten meanwhile: the curves of methods that were watched."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from headwater.reproduce.knowledge.curves import ONE_OF
from headwater.reproduce.knowledge.found import Found, Run
from headwater.reproduce.knowledge.plan import WATCHED
from headwater.reproduce.sheet import Cell, Sheet
from headwater.show import NOT_RUN

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLUGGED, GOES_ON, ANEW = "keep-inherited", "base-inherited", "keep-concatenated"
"""The plug in a trained base model, that model without, and concatenation from scratch."""

SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Of what a method learns from in all its passes."""

FINE = np.linspace(0, 1, 401)


def steps(found: Found) -> list[Sheet]:
    """GAUC in sub-domains and out of them while each method learns; nothing where none was watched."""
    if not any(watched(found, method) for method in WATCHED):
        return []
    return [_sheet(found, "inside"), _sheet(found, "outside")]


def watched(found: Found, method: str) -> list[Run]:
    """The runs of a method that were measured while they learned."""
    runs = found.runs.get(method, [])
    return [run for run in runs if all("curve" in run["domains"][name] for name in found.largest())]


def curve(found: Found, method: str, place: str, shares: Sequence[float] | NDArray[np.float64] = SHARES) -> list[float]:
    """GAUC at shares of the learning, read between the points that were measured; means over runs and sub-domains."""
    curves = []
    for run in watched(found, method):
        for name in found.largest():
            points = run["domains"][name]["curve"]
            learned = [point["learned"] / points[-1]["learned"] for point in points]
            curves.append(np.interp(shares, learned, [point[place] for point in points]))
    return [fmean(values) for values in zip(*curves, strict=True)]


def half_of_the_gain(found: Found) -> float | None:
    """The GAUC at which half of what the plug gains in the end is gained; None where it was not run."""
    plugged = curve(found, PLUGGED, "inside", (0.0, 1.0))
    return fmean(plugged) if plugged else None


def steps_to_half(found: Found, method: str) -> tuple[float, int] | None:
    """The share of its learning, and the steps in a sub-domain (a mean), after which a method is there for the first
    time; None where it never is, or was not run."""
    half, values = half_of_the_gain(found), curve(found, method, "inside", FINE)
    reached = np.flatnonzero(np.array(values) >= half) if half is not None else np.zeros(0, np.int64)
    if not len(reached):
        return None
    share = float(FINE[reached[0]])
    learned = [
        run["domains"][name]["curve"][-1]["learned"] for run in watched(found, method) for name in found.largest()
    ]
    batch = watched(found, method)[0]["settings"]["base"]["training"]["batch_size"]
    return share, round(share * fmean(learned) / batch)


def _sheet(found: Found, place: str) -> Sheet:
    lines = []
    for method in WATCHED:
        values = curve(found, method, place)
        cells = [f"{value:.4f}" for value in values] if values else [NOT_RUN] * len(SHARES)
        cells.append(_reached(found, method, values) if place == "inside" else _change(values))
        lines.append([Cell(method), *map(Cell, cells)])
    title = "GAUC while learning" + (", in the sub-domain" if place == "inside" else ", on all other items")
    last = "half of the plug's gain after" if place == "inside" else "change"
    notes = [
        f"test part, one user of {ONE_OF}, mean over the largest sub-domains; columns are shares of the learning. "
        f"{PLUGGED} begins at the model that {GOES_ON} begins at, {ANEW} at nothing"
    ]
    return Sheet(f"{title}, {found.recipe}", ["method", *(f"{share:.1%}" for share in SHARES), last], lines, notes)


def _reached(found: Found, method: str, values: list[float]) -> str:
    if not values or half_of_the_gain(found) is None:
        return NOT_RUN
    there = steps_to_half(found, method)
    return "never" if there is None else f"{there[0]:.0%}, {there[1]:,} steps"


def _change(values: list[float]) -> str:
    return f"{values[-1] - values[0]:+.4f}" if values else NOT_RUN
