"""Table 4's and Figures 7 and 8's pictures, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.page import drawn
from headwater.reproduce.paths.found import Found
from headwater.reproduce.paths.measure import LENGTH_CUTOFFS, LENGTHS
from headwater.reproduce.paths.plan import OURS
from headwater.reproduce.paths.published import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {OURS: "#0b6e99", "bst": "#c8553d", "pearson": "#7a7a7a"}
"""Table 4's three rows; apart in lightness too, so that they are told apart without colour."""

MARKERS = {OURS: "o", "bst": "s", "pearson": "^"}


def draw(found: Found, folder: Path) -> list[tuple[Path, str]]:
    """Every picture that there are figures for, as (file, what it shows).

    Raises `ImportError` where matplotlib is missing.
    """
    pictures = {
        "table-4": (_by_length, "Table 4: HR@300 by length of history, full ranking, and the gain over BST"),
        "figure-7": (_diversity, "Figure 7: share of categories among the first k, by length of history"),
        "figure-8a": (_similarities, "Figure 8a: mean similarity, softplus of SimNet, of items by category"),
        "figure-8b": (_triggers, "Figure 8b: mean TrigNet weight of the item chosen next and of one never chosen"),
        "figure-8c": (_genders, "Figure 8c: difference of the mean TrigNet weight between genders, by category"),
    }
    return drawn(pictures, found, folder)


def _lengths() -> list[str]:
    return ["all" if length is None else str(length) for length in LENGTHS]


def _by_length(found: Found) -> Figure | None:
    if found.mean_by_length(OURS, None) is None:
        return None
    has_baseline = all(found.mean_by_length("bst", length) for length in LENGTHS)
    figure, axes = new_figure(2 if has_baseline else 1, 9 if has_baseline else 4.5, 3.4)
    left = axes[0]
    for channel, colour in COLOURS.items():
        if found.of(channel):
            _line(left, found, channel, "hr@300", colour)
    left.set(xlabel="latest events known", ylabel="HR@300")
    left.legend(frameon=False)
    if has_baseline:
        baseline, ours = (
            [found.mean_by_length(name, length) or np.nan for length in LENGTHS] for name in ("bst", OURS)
        )
        gains = [100 * (a / b - 1) for a, b in zip(ours, baseline, strict=True)]
        axes[1].bar(_lengths(), gains, color=COLOURS[OURS], width=0.6)
        axes[1].axhline(0, color="#333333", linewidth=0.8)
        axes[1].set(xlabel="latest events known", ylabel="gain over BST, %")
    plain(*axes)
    return figure


def _diversity(found: Found) -> Figure | None:
    if found.mean_by_length(OURS, None) is None:
        return None
    figure, axes = new_figure(len(LENGTH_CUTOFFS), 10, 3.2)
    for axis, k in zip(axes, LENGTH_CUTOFFS, strict=True):
        for channel, colour in COLOURS.items():
            if found.of(channel):
                _line(axis, found, channel, f"category_coverage@{k}", colour)
        axis.set(title=f"first {k}", xlabel="latest events known")
    axes[0].set_ylabel("category coverage")
    axes[0].legend(frameon=False)
    plain(*axes)
    return figure


def _line(axis: Axes, found: Found, channel: str, metric: str, colour: str) -> None:
    values = [found.mean_by_length(channel, length, metric) for length in LENGTHS]
    known = [np.nan if value is None else value for value in values]
    axis.plot(_lengths(), known, color=colour, marker=MARKERS[channel], label=METHODS[channel])


def _similarities(found: Found) -> Figure | None:
    view = found.view(OURS, "category_similarity")
    if view is None:
        return None
    names, mean = view["categories"], np.array(view["mean"])
    side = 1.8 + 0.36 * len(names)
    figure, (axis,) = new_figure(1, side + 0.9, side)
    image = axis.imshow(mean, cmap="viridis")
    _name(axis, names)
    axis.set(xlabel="category of the target", ylabel="category of the trigger")
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def _triggers(found: Found) -> Figure | None:
    view = found.view(OURS, "trigger_weights")
    if view is None:
        return None
    figure, (axis,) = new_figure(1, 4.2, 1.7)
    values = np.array([[view["positive"], view["negative"]]])
    axis.imshow(values, cmap="viridis", aspect="auto")
    for at, value in enumerate(values[0]):
        ink = "black" if value == values.max() else "white"  # on the map's yellow, on its violet
        axis.text(at, 0, f"{value:.3f}", ha="center", va="center", color=ink, fontweight="bold")
    axis.set_xticks([0, 1], ["chosen next", "never chosen"])
    axis.set_yticks([0], [found.recipe])
    axis.set_title(f"higher for what is chosen: {view['higher']:.1%} of {view['users']:,} users", fontsize=9)
    return figure


def _genders(found: Found) -> Figure | None:
    view = found.view(OURS, "gender_interest")
    if view is None:
        return None
    order = np.argsort(view["difference"])
    names = [view["categories"][at] for at in order]
    difference = np.array(view["difference"])[order]
    figure, (axis,) = new_figure(1, 6, 1 + 0.26 * len(names))
    axis.barh(names, difference, color=[COLOURS["bst"] if value < 0 else COLOURS[OURS] for value in difference])
    axis.axvline(0, color="#333333", linewidth=0.8)
    axis.set_xlabel(f"mean weight of {view['more']} minus that of {view['less']}")
    plain(axis)
    return figure


def _name(axis: Axes, names: list[str]) -> None:
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
