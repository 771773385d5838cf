"""How much each method gains, where, and how soon, as PNG files."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from headwater.experiment.canvas import new_figure, plain
from headwater.reproduce.knowledge.found import Found, gain_over
from headwater.reproduce.knowledge.plan import BASE, OURS
from headwater.reproduce.knowledge.published import TABLE_2
from headwater.reproduce.knowledge.steps import FINE, curve, half_of_the_gain, watched
from headwater.reproduce.page import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#0b6e99", "#c8553d", "#7a7a7a"
LINES = {
    "keep-inherited": ("plugged into the trained model", BLUE, "-"),
    "keep-concatenated-inherited": ("concatenated into the trained model", RED, "-"),
    "base-inherited": ("the trained model, without knowledge", GREY, "-"),
    "fine-tune": ("fine-tuned from the super-domain", "#3a9d5d", "-"),
    "keep": ("plugged, from scratch", BLUE, "--"),
    "keep-concatenated": ("concatenated, from scratch", RED, "--"),
}
"""Method -> name, colour, line."""

TRAINED = ("keep-inherited", "keep-concatenated-inherited", "base-inherited", "fine-tune")
"""Those that begin with a trained model."""


def draw(found: Found, folder: Path) -> list[tuple[Path, str]]:
    """Every picture that there are figures for, as (file, what it shows).

    Raises `ImportError` where matplotlib is missing.
    """
    pictures = {
        "gains": (
            _gains,
            "Gain in GAUC over Base in the largest sub-domains, with a 95% interval over resampled users; hollow: as "
            "published, of other data.",
        ),
        "learning": (
            _learning,
            "How soon each way of knowing pays: GAUC of the test part while a sub-domain is learned, left in it, right "
            "on all other items, which may be forgotten. Dashed lines begin with an untrained model; dotted: half of "
            "what the plug gains in the end.",
        ),
        "domains": (
            _domains,
            "Gain of KEEP over Base in each sub-domain, over how many impressions it has to learn from; a mark a seed.",
        ),
    }
    return drawn(pictures, found, folder)


def _gains(found: Found) -> Figure | None:
    names = [name for name in found.runs if name != BASE]
    if not names or not found.runs.get(BASE):
        return None
    gains = {name: gain_over(found.runs[BASE], found.runs[name], "largest") for name in names}
    names.sort(key=lambda name: gains[name][0])
    figure, (axis,) = new_figure(1, 7, 1 + 0.26 * len(names))
    for at, name in enumerate(names):
        gain, low, high = gains[name]
        colour = BLUE if name == OURS else GREY
        axis.errorbar([gain], [at], xerr=[[gain - low], [high - gain]], fmt="o", color=colour, capsize=2)
        if name in TABLE_2:
            axis.plot([TABLE_2[name][1] - TABLE_2[BASE][1]], [at], "D", mfc="none", color=RED, markersize=6)
    axis.axvline(0, color="#333333", linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="gain in GAUC over Base", ylim=(-0.7, len(names) - 0.3))
    axis.grid(axis="x", color="#dbe1e8")
    plain(axis)
    return figure


def _learning(found: Found) -> Figure | None:
    if not any(watched(found, method) for method in LINES):
        return None
    figure, axes = new_figure(2, 10.5, 3.8)
    for axis, place in zip(axes, ("inside", "outside"), strict=True):
        for method, (name, colour, line) in LINES.items():
            values = curve(found, method, place, FINE)
            if values:
                axis.plot(FINE, values, line, color=colour, label=name)
        axis.set(
            xlabel="share of the learning",
            ylabel=f"GAUC {'in the sub-domain' if place == 'inside' else 'on other items'}",
        )
    half = half_of_the_gain(found)
    if half is not None:
        axes[0].axhline(half, color="#333333", linestyle=":", linewidth=1)
    trained = [value for method in TRAINED for value in curve(found, method, "inside", FINE)]
    if trained:  # what begins with an untrained model comes in from below
        axes[0].set_ylim(min(trained) - 0.02, max(trained) + 0.01)
    axes[0].legend(frameon=False, fontsize=8)
    plain(*axes)
    return figure


def _domains(found: Found) -> Figure | None:
    from matplotlib.ticker import LogLocator

    names = [name for name in found.domains() if found.gauc(OURS, name)]
    if len(names) < 3:
        return None
    figure, (axis,) = new_figure(1, 7, 3.6)
    for name in names:
        base = {run["seed"]: run["domains"][name] for run in found.runs[BASE]}
        pairs = [
            (base[run["seed"]]["trained"], run["domains"][name]["gauc"] - base[run["seed"]]["gauc"])
            for run in found.runs[OURS]
            if run["seed"] in base
        ]
        if pairs:
            trained, gains = zip(*pairs, strict=True)
            axis.plot(trained, gains, "o-", color=BLUE, markersize=4, linewidth=0.8)
            axis.annotate(name, (trained[0], fmean(gains)), xytext=(5, -3), textcoords="offset points", fontsize=7)
    axis.axhline(0, color="#333333", linewidth=0.8)
    axis.set(xscale="log", xlabel="impressions that it learns from", ylabel="gain in GAUC over Base")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter("")
    plain(axis)
    return figure
