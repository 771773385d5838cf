"""The sensitivity of a test as a table, a picture and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.bazaar.sensitivity import DAYS, VARIED, Variant
from headwater.reproduce.page import page, pictures
from headwater.reproduce.sheet import Cell, Sheet
from headwater.simulation.config import BazaarConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = Sequence[tuple[Variant, Mapping[str, Any]]]

TITLE = "What the world decides"


def nearline_pvr(document: Mapping[str, Any]) -> float:
    """PVR of the nearline channels of the treatment; of several the highest, for they may claim one item."""
    return max((share for name, share in document["pvr"].items() if name.startswith("nearline")), default=0.0)


def sheet(found: Found) -> Sheet:
    """A row for each variant."""
    lines = []
    for variant, document in found:
        differences = document["differences"]
        ctr, diversity = differences.get("CTR"), differences.get("diversity")
        line = [variant.id if variant.key else "as frozen", f"{nearline_pvr(document):.1%}"]
        line += [f"{ctr['control']:.4f}", f"{ctr['treatment']:.4f}", *_said(ctr)] if ctr else ["-"] * 4
        line += [f"{diversity['relative']:+.0%}" if diversity else "-"]
        lines.append([Cell(text) for text in line])
    users = found[0][1]["users"]
    sources = [f"{document['row']['commit']}, {document['row']['machine']}" for _, document in found]
    names = found[0][1]["arms"]
    notes = [
        f"{users:,} users, {DAYS.warm_up} days of warm-up and {DAYS.measured} measured; every user in both arms "
        f"(“{names[0]}” and “{names[1]}”), 95% intervals from a bootstrap over users",
        "; ".join(dict.fromkeys(sources)),
    ]
    heads = ["world", "PVR of nearline", "CTR control", "CTR treatment", "difference", "95%", "diversity"]
    return Sheet(TITLE, heads, lines, notes)


def write_page(found: Found, folder: Path, say: Callable[[str], None]) -> Path:
    """Write `index.html` into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    lead = (
        "The same two arms in worlds of which one parameter has another value. Where the figures hardly move, the "
        "outcome does not hang on how that parameter was chosen; where they move, it does."
    )
    # What varies is drawn around the frozen world: there is no picture until that was played.
    has_frozen = any(not variant.key for variant, _ in found)
    drawn = pictures(lambda: _draw(found, folder), "the sensitivity", say) if has_frozen else ""
    body = f"<h1>{TITLE}</h1><p class='lead'>{lead}</p>{drawn}{sheet(found).html()}"
    (folder / "index.html").write_text(page(TITLE, body), encoding="utf-8")
    return folder / "index.html"


def _said(one: Mapping[str, float]) -> list[str]:
    return [f"{one['relative']:+.1%}", f"{one['low']:+.1%} to {one['high']:+.1%}"]


def _draw(found: Found, folder: Path) -> list[tuple[Path, str]]:
    path = folder / "sensitivity.png"
    _figure(found).savefig(path, dpi=140, bbox_inches="tight", metadata={"Software": None})
    caption = (
        "Above: the share of the homepage's exposures that nearline had retrieved. Below: by how much the treatment's "
        "CTR lies above the control's, with 95% intervals. The hollow mark is the frozen world."
    )
    return [(path, caption)]


def _figure(found: Found) -> Figure:
    frozen = BazaarConfig().model_dump()
    whole = {variant.id: document for variant, document in found}
    figure, axes = new_figure(len(VARIED), 11, 4.6, rows=2)
    for at, key in enumerate(VARIED):
        table, _, name = key.partition(".")
        points = {frozen[table][name]: whole["frozen"]}
        points |= {variant.value: document for variant, document in found if variant.key == key}
        values = sorted(points)
        shares = [100 * nearline_pvr(points[value]) for value in values]
        ctr = [points[value]["differences"]["CTR"] for value in values if "CTR" in points[value]["differences"]]
        upper, lower = axes[at], axes[len(VARIED) + at]
        upper.plot(values, shares, color="#0b6e99", marker="o")
        upper.set(title=name, ylim=(0, 100))
        upper.title.set_fontsize(10)
        middle = np.array([100 * one["relative"] for one in ctr])
        errors = np.abs(np.array([[100 * one["low"], 100 * one["high"]] for one in ctr]).T - middle)
        lower.errorbar(values, middle, errors, color="#c8553d", marker="o", capsize=3)
        lower.axhline(0, color="#333333", linewidth=0.8)
        own = values.index(frozen[table][name])
        for axis, heights in ((upper, shares), (lower, middle)):
            axis.plot([values[own]], [heights[own]], "o", markersize=8, color="white", mec="#333333", zorder=5)
    lows, highs = zip(*(axis.get_ylim() for axis in axes[len(VARIED) :]), strict=True)
    for axis in axes[len(VARIED) :]:
        axis.set_ylim(min(lows), max(highs))
    axes[0].set_ylabel("PVR of nearline, %")
    axes[len(VARIED)].set_ylabel("CTR, difference in %")
    plain(*axes)
    return figure
