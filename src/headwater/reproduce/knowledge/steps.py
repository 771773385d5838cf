"""How soon each way of knowing more pays, and what is forgotten meanwhile: the curves of methods that were watched."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from headwater.reproduce.knowledge.curves import ONE_OF
from headwater.reproduce.knowledge.found import Found
from headwater.reproduce.knowledge.plan import WATCHED
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.show import NOT_RUN

PLUGGED, GOES_ON = "keep-inherited", "base-inherited"
SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Of what a method learns from in all its passes."""

FINE = np.linspace(0, 1, 401)


def steps(found: Found) -> list[Sheet]:
    """GAUC in sub-domains and out of them while each method learns; nothing where none was watched."""
    if not any(found.runs.get(method) for method in WATCHED):
        return []
    return [_sheet(found, "inside", _needed(found)), _sheet(found, "outside", {})]


def curve(found: Found, method: str, place: str, shares: np.ndarray | tuple[float, ...] = SHARES) -> list[float]:
    """GAUC at shares of the learning, read between the points that were measured; means over runs and sub-domains."""
    curves = []
    for run in found.runs.get(method, []):
        for name in found.largest():
            points = run["domains"][name]["curve"]
            learned = [point["learned"] / points[-1]["learned"] for point in points]
            curves.append(np.interp(shares, learned, [point[place] for point in points]))
    return [fmean(values) for values in zip(*curves, strict=True)]


def _needed(found: Found) -> dict[str, str]:
    """The share of learning after which each method has half of what the plug gains in the end over its beginning."""
    plugged = curve(found, PLUGGED, "inside")
    if not plugged:
        return {}
    half = (plugged[0] + plugged[-1]) / 2
    said = {}
    for method in WATCHED:
        reached = np.flatnonzero(np.array(curve(found, method, "inside", tuple(FINE))) >= half)
        said[method] = f"{FINE[reached[0]]:.0%}" if len(reached) else "never"
    return said


def _sheet(found: Found, place: str, needed: dict[str, str]) -> Sheet:
    lines = []
    for method in WATCHED:
        values = curve(found, method, place)
        cells = [f"{value:.4f}" for value in values] if values else [NOT_RUN] * len(SHARES)
        cells.append((needed or {}).get(method, NOT_PUBLISHED) if place == "inside" else _change(values))
        lines.append([Cell(method), *map(Cell, cells)])
    title = "GAUC while learning" + (", in the sub-domain" if place == "inside" else ", on all other items")
    last = "half of the plug's gain after" if place == "inside" else "change"
    notes = [f"test part, one user of {ONE_OF}, mean over the largest sub-domains; columns are shares of the learning"]
    return Sheet(f"{title}, {found.recipe}", ["method", *(f"{share:.1%}" for share in SHARES), last], lines, notes)


def _change(values: list[float]) -> str:
    return f"{values[-1] - values[0]:+.4f}" if values else NOT_RUN
