"""The pictures of an A/B test's page, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.experiment.canvas import new_figure, plain
from headwater.simulation.chronicle import MINUTES, Chronicle
from headwater.simulation.config import SCENARIOS
from headwater.simulation.summary import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from headwater.simulation.abtest import Difference
    from headwater.simulation.summary import Funnel

ARMS = ("#7a7a7a", "#0b6e99")
"""Control, treatment."""
CHANNELS = ("#9db4c0", "#5c6b73", "#0b6e99", "#c8553d", "#e0a458", "#7aa95c", "#8a6fb0", "#3d9a8b")


def draw(
    names: Sequence[str],
    chronicles: Sequence[Chronicle],
    funnels: Sequence[Funnel],
    tests: dict[str, list[Difference]],
    folder: Path,
) -> list[tuple[Path, str]]:
    """Every picture, as (file, what it shows); control first. Raises `ImportError` where matplotlib is missing."""
    pictures = {
        "differences": (
            _differences(tests),
            "Treatment over control, with 95% intervals from a bootstrap over users. Left: every user compared with "
            "itself under common random numbers. Right: as a live test sees it, users split by a hash.",
        ),
        "wanted": (
            _wanted(names, chronicles),
            "How much of the homepage is of the category that a user began to want in search, by the minutes since. "
            "Only visits while the intent lasts.",
        ),
        "hours": (
            _hours(names, chronicles),
            "Who retrieved what the homepage exposed, hour by hour (PVR). An item that several channels had retrieved "
            "counts in equal parts for each, so that the stack is the share that any channel had retrieved.",
        ),
        "funnel": (
            _funnels(names, funnels),
            "From visits to purchases in each scenario, all measured days; the scale is logarithmic.",
        ),
    }
    made = []
    for name, (figure, caption) in pictures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=140, bbox_inches="tight", metadata={"Software": None})
        made.append((path, caption))
    return made


def _differences(tests: dict[str, list[Difference]]) -> Figure:
    figure, axes = new_figure(len(tests), 9, 1.0 + 1.5 * len(tests))
    for axis, (title, differences) in zip(axes, tests.items(), strict=True):
        for at, one in enumerate(differences):
            if not np.isfinite(one.relative):
                continue
            colour = "#0b6e99" if one.is_significant else "#9aa4b1"
            axis.plot([100 * one.low, 100 * one.high], [at, at], color=colour, linewidth=2.5, solid_capstyle="round")
            axis.plot([100 * one.relative], [at], marker="o", color=colour)
        axis.axvline(0, color="#333333", linewidth=0.8)
        axis.set_yticks(range(len(differences)), [one.metric for one in differences])
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("difference, %")
    plain(*axes)
    return figure


def _wanted(names: Sequence[str], chronicles: Sequence[Chronicle]) -> Figure:
    figure, (axis,) = new_figure(1, 9, 3.2)
    labels = [f"{first} to {last} min" for first, last in pairwise(MINUTES)]
    for at, (name, chronicle) in enumerate(zip(names, chronicles, strict=True)):
        hits, shown = chronicle.wanted.T
        with np.errstate(invalid="ignore"):
            shares = 100 * hits / np.where(shown, shown, np.nan)
        places = np.arange(len(labels)) + (at - 0.5) * 0.38
        bars = axis.bar(places, shares, 0.36, color=ARMS[at], label=name)
        axis.bar_label(bars, [f"{share:.0f}%" if np.isfinite(share) else "" for share in shares], fontsize=8, padding=2)
    axis.set_xticks(range(len(labels)), labels)
    axis.set(xlabel="since the intent began in search", ylabel="% of the homepage")
    axis.legend(frameon=False)
    plain(axis)
    return figure


def _hours(names: Sequence[str], chronicles: Sequence[Chronicle]) -> Figure:
    figure, axes = new_figure(1, 9, 2.4 * len(names), rows=len(names), share=True)
    channels = list(dict.fromkeys(name for chronicle in chronicles for name in chronicle.credit()))
    colours = dict(zip(channels, [CHANNELS[at % len(CHANNELS)] for at in range(len(channels))], strict=True))
    for axis, name, chronicle in zip(axes, names, chronicles, strict=True):
        credit = {channel: np.nan_to_num(100 * share) for channel, share in chronicle.credit().items()}
        hours = np.arange(len(chronicle.exposures))
        axis.stackplot(
            hours,
            list(credit.values()),
            labels=list(credit),
            colors=[colours[channel] for channel in credit],
            step="mid",
        )
        for midnight in range(24, len(hours), 24):
            axis.axvline(midnight - 0.5, color="white", linewidth=1)
        axis.set_title(name, fontsize=10, loc="left")
        axis.set(ylabel="% of exposures", ylim=(0, 100), xlim=(0, len(hours) - 1))
        axis.set_xticks(range(0, len(hours), 6), [f"{hour % 24}:00" for hour in range(0, len(hours), 6)])
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
    plain(*axes)
    return figure


def _funnels(names: Sequence[str], funnels: Sequence[Funnel]) -> Figure:
    stages = [stage for stage in STAGES if stage != "ranked"]
    figure, axes = new_figure(3, 10, 4.6, rows=2, share=True)
    for code, (axis, scenario) in enumerate(zip(axes, SCENARIOS, strict=True)):
        for at, (name, funnel) in enumerate(zip(names, funnels, strict=True)):
            counts = [funnel.counts[code, STAGES.index(stage)] for stage in stages]
            axis.barh(np.arange(len(stages)) + (at - 0.5) * 0.38, counts, 0.36, color=ARMS[at], label=name)
        axis.set_yticks(range(len(stages)), stages)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_title(scenario.replace("_", " "), fontsize=10, loc="left")
    axes[0].invert_yaxis()  # the axes are shared
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    plain(*axes)
    return figure
