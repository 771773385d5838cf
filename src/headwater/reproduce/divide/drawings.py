"""Figure 1a, and what quotas do to recall and coverage, as PNG files."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.divide.found import Found
from headwater.reproduce.divide.measure import FITTED
from headwater.reproduce.divide.plan import BASE, LATE, MIXES, OURS
from headwater.reproduce.page import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = (
    (OURS, "classifier", "Divide", "#0b6e99", "o"),
    (LATE, "classifier", "Divide, late prompts", "#3a9d5d", "D"),
    (BASE, "scores", "SASRec, chances from its own scores", "#c8553d", "s"),
    (BASE, "classifier", "SASRec, chances of the intent model", "#7a7a7a", "^"),
)
"""(channel, source of chances, name, colour, marker); apart in lightness too, for who sees no colours."""


def draw(found: Found, folder: Path) -> list[tuple[Path, str]]:
    """Every picture that there are figures for, as (file, what it shows).

    Raises `ImportError` where matplotlib is missing.
    """
    k = found.ks[-1]
    pictures = {
        "figure-1a": (
            _figure_1a,
            "Figure 1a: recall of SASRec+ over the share of hard negatives, which are of the positive's cluster, with "
            "one negative and binary cross-entropy. The paper: what helps within the cluster harms outside it.",
        ),
        "alpha": (
            _over_alpha,
            f"What quotas do to a list of {k}: recall over alpha (0: every cluster alike; 1: by chance; the last: the "
            "likeliest cluster alone), and recall against the number of clusters that a list shows. Higher and further "
            "right is better. Dashed and crosses: no quotas, Divide merged by calibrated chances.",
        ),
    }
    return drawn(pictures, found, folder)


def _figure_1a(found: Found) -> Figure | None:
    shares, lines = [], {"within the truth's cluster": [], "among other clusters' items": [], "among all": []}
    k = found.ks[0]
    cut = k
    for mix in (0.0, *MIXES):
        runs = [run for run in found.of(f"sasrec+-{mix}" if mix else "sasrec-bce") if run["within"]]
        if not runs:
            continue
        shares.append(mix)
        cut = k if str(k) in runs[0]["within"] else sorted(map(int, runs[0]["within"]))[1]
        figures = (
            [run["within"][str(cut)] for run in runs],
            [run["outside"][str(k)] for run in runs],
            [run["merges"]["plain"]["test"][str(k)] for run in runs],
        )
        for line, values in zip(lines.values(), figures, strict=True):
            line.append(fmean(values))
    if len(shares) < 2:
        return None
    figure, (axis,) = new_figure(1, 5.5, 3.4)
    looks = (("#0b6e99", "o"), ("#c8553d", "s"), ("#333333", "^"))
    for (name, values), (colour, marker), at in zip(lines.items(), looks, (cut, k, k), strict=True):
        axis.plot(shares, values, color=colour, marker=marker, label=f"R@{at} {name}")
    axis.set(xlabel="share of hard negatives", ylabel="recall", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    plain(axis)
    return figure


def _over_alpha(found: Found) -> Figure | None:
    k, drawn = str(found.ks[-1]), 0
    figure, (left, right) = new_figure(2, 10, 3.8)
    for channel, source, name, colour, marker in SERIES:
        runs = found.of(channel)
        points = [
            (merge.rpartition(" ")[2], *(fmean(run["merges"][merge][part][k] for run in runs) for part in PARTS))
            for merge in found.merges(channel)
            if merge.startswith(f"{source}, alpha")
        ]
        if not points:
            continue
        drawn += 1
        names, recalls, shown = zip(*points, strict=True)
        left.plot(list(map(_said, names)), recalls, color=colour, marker=marker, label=name)
        right.plot(shown, recalls, color=colour, marker=marker, label=name)
        if channel == OURS:
            for text, recall, clusters in points:
                right.annotate(_said(text), (clusters, recall), xytext=(4, 4), textcoords="offset points", fontsize=7)
        for merge in ("plain", FITTED):
            unquoted = [run["merges"][merge] for run in runs if merge in run["merges"]]
            if (
                unquoted
                and (channel, source) != (BASE, "classifier")
                and not (channel in (OURS, LATE) and merge == "plain")
            ):
                recall, clusters = (fmean(one[part][k] for one in unquoted) for part in PARTS)
                left.axhline(recall, color=colour, linestyle="--", linewidth=1)
                right.plot([clusters], [recall], color=colour, marker="X", markersize=9, linestyle="")
    if not drawn:
        return None
    left.set(xlabel="alpha", ylabel=f"R@{k}")
    right.set(xlabel=f"clusters among {k} items", ylabel=f"R@{k}")
    left.legend(frameon=False, fontsize=8)
    plain(left, right)
    return figure


PARTS = ("test", "clusters_shown")


def _said(alpha: str) -> str:
    return "likeliest" if float(alpha) >= 1e6 else alpha
