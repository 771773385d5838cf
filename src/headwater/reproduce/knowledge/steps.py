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
    for points in _curves(found, method):
        learned = [point["learned"] / points[-1]["learned"] for point in points]
        curves.append(np.interp(shares, learned, [point[place] for point in points]))
    return [fmean(values) for values in zip(*curves, strict=True)]


def half_of_the_gain(found: Found) -> float | None:
    """The GAUC at which half of what the plug gains in the end is gained; None where it was not run."""
    plugged = curve(found, PLUGGED, "inside", (0.0, 1.0))
    return fmean(plugged) if plugged else None


def steps_to_half(found: Found, method: str) -> tuple[int, int] | None:
    """Between which steps in a sub-domain (means, of two looks in a row) a method gets there for the first time; None
    where it never does, the plug gains nothing, or one of both was not run."""
    half, curves = half_of_the_gain(found), _curves(found, method)
    if half is None or not curves or half <= curve(found, PLUGGED, "inside", (0.0,))[0]:
        return None
    looks = min(map(len, curves)) - 1  # days may be too few for the first ones
    points = [[points[at] for points in curves] for at in (*range(looks), -1)]
    batch = watched(found, method)[0]["settings"]["base"]["training"]["batch_size"]
    steps = [round(fmean(point["learned"] for point in some) / batch) for some in points]
    values = [fmean(point["inside"] for point in some) for some in points]
    reached = next((at for at, value in enumerate(values) if value >= half), None)
    return None if reached is None else (steps[max(reached - 1, 0)], steps[reached])


def _curves(found: Found, method: str) -> list[list[dict[str, float]]]:
    """Of every run and sub-domain, all looks and then the end."""
    return [run["domains"][name]["curve"] for run in watched(found, method) for name in found.largest()]


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
    return said_of_half(steps_to_half(found, method))


def said_of_half(there: tuple[int, int] | None) -> str:
    """What `steps_to_half` found, in words."""
    if there is None:
        return "never"
    return f"{there[1]:,} steps" if there[0] == there[1] else f"{there[0]:,} to {there[1]:,} steps"


def _change(values: list[float]) -> str:
    return f"{values[-1] - values[0]:+.4f}" if values else NOT_RUN
