"""Cells that tables share: figures with their intervals, differences, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headwater.reproduce.nearline.found import Arm, Estimate, Found
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell
from headwater.show import NOT_RUN
from headwater.simulation.abtest import Difference
from headwater.simulation.measures import ALL, COUNTS

INTERVAL = "in brackets: the 95% interval of a bootstrap over 250 groups of the users of each world, 1,000 draws"


NAMES = {
    ALL: "Online, all",
    "swing": "SWING",
    "mind": "MIND",
    "glare": "Glare",
    "nearline/mini_detail": "MNR, mini-detail",
    "nearline/post_purchase": "MNR, post-purchase",
    "nearline/main_search": "MNR, main search",
    "nearline/in_shop": "MNR, in-shop",
    "nearline/photo_search": "MNR, photo search",
}
"""Channel -> how tables call it."""


def percent(estimate: Estimate, *, is_relative: bool = False) -> str:
    """Such as ``6.99% [6.80 to 7.20]``, or with signs where it is a difference."""
    form = "+.1f" if is_relative else ".2f"
    value, low, high = (format(100 * part, form) for part in estimate)
    return f"{value}% [{low} to {high}]"


def figure(arm: Arm | None, estimate: Estimate | None) -> Cell:
    """An estimate of an arm, if it was played."""
    if arm is None:
        return Cell(NOT_RUN)
    return Cell(NOT_PUBLISHED if estimate is None else percent(estimate), arm.source)


def relative(arm: Arm | None, channel: str, metric: str, other: Arm | None, base: str) -> Cell:
    """A channel's metric relative to that of channel `base` of another arm."""
    if arm is None or other is None:
        return Cell(NOT_RUN)
    estimate = arm.against(channel, metric, other, base)
    return Cell(NOT_PUBLISHED if estimate is None else percent(estimate, is_relative=True), arm.source)


def difference(one: Difference) -> Cell:
    """A test's relative difference, with interval and p."""
    values = f"{one.control:.4g} and {one.treatment:.4g}"
    if not np.isfinite(one.relative):
        return Cell(f"{values}, p {one.p:.3f}")
    return Cell(f"{percent(Estimate(one.relative, one.low, one.high), is_relative=True)}, p {one.p:.3f}", values)


def provenance(found: Found, names: Sequence[str]) -> list[str]:
    """World, days, sizes, commits and machines of these arms, as notes."""
    arms = [arm for name in dict.fromkeys(names) if (arm := found.arm(name))]
    if not arms:
        return []
    documents = [document for arm in arms for document in arm.documents]
    exposures = {int(arm.users[:, COUNTS.index("exposures")].sum()) for arm in arms}
    commits = ", ".join(dict.fromkeys(document["row"]["commit"] for document in documents))
    machines = ", ".join(dict.fromkeys(document["row"]["machine"] for document in documents))
    worlds = list(dict.fromkeys(document["world"] for document in documents))
    size, days = documents[0]["dataset"], documents[0]["row"]["settings"]["days"]
    return [
        f"world{'s' if len(worlds) > 1 else ''} {', '.join(worlds)}: {size['users']:,} users, {size['items']:,} items"
        f"{' each' if len(worlds) > 1 else ''}; "
        f"{days['warm_up']} days shared, {days['settle']} to settle, {days['measured']} measured; "
        f"{min(exposures):,} to {max(exposures):,} homepage exposures an arm",
        f"commit {commits}; {machines}",
        *_faults(documents),
    ]


def _faults(documents: Sequence[dict[str, Any]]) -> list[str]:
    """What channels failed, if any did."""
    return [
        f"{document['job']}: {name} failed {health['faults']} of {health['asked']} times. {health['cut_off']}"
        for document in documents
        for name, health in document.get("health", {}).items()
        if health["faults"]
    ]
