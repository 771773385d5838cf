"""Reliability and next-day figures as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.experiment.canvas import new_figure, plain
from headwater.experiment.ranking.table import RankRow, RankTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0b6e99", "#c8553d", "#7a7a7a", "#4f8a4f", "#8a5fa8", "#b08a2e")
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_reliability(table: RankTable, path: Path) -> Path:
    """Observed rate against predicted probability in equal-mass bins, one panel a task, one line a model."""
    tasks = list(dict.fromkeys(row.task for row in table.rows))
    figure, axes = new_figure(len(tasks), 4.6 * len(tasks), 3.8)
    for axis, task in zip(axes, tasks, strict=True):
        axis.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, zorder=0)
        for at, row in enumerate(row for row in table.rows if row.task == task):
            bins = row.whole.reliability
            label = f"{row.model} (ECE {row.whole.ece:.4f})"
            _line(axis, bins.predicted.tolist(), bins.observed.tolist(), at, label)
        axis.set(title=task, xlabel="predicted probability", ylabel="observed rate")
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def draw_progress(table: RankTable, path: Path, *, metric: str = "gauc") -> Path:
    """A figure of the next day by day, one panel a task, one line a model."""
    from matplotlib.ticker import MaxNLocator

    tasks = list(dict.fromkeys(row.task for row in table.rows))
    models = list(dict.fromkeys(row.model for row in table.rows))
    figure, axes = new_figure(len(tasks), 4.6 * len(tasks), 3.8)
    for axis, task in zip(axes, tasks, strict=True):
        for at, model in enumerate(models):
            rows: list[RankRow] = [row for row in table.rows if (row.task, row.model) == (task, model)]
            days = [float(row.days[0]) for row in rows]
            _line(axis, days, [getattr(row.whole, metric) for row in rows], at, model)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(title=task, xlabel="day, trained through the day before", ylabel=metric.upper())
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def _line(axis: Axes, x: list[float], y: list[float], at: int, label: str) -> None:
    axis.plot(x, y, color=COLOURS[at % 6], marker=MARKERS[at % 6], markersize=4, linewidth=1.3, label=label)
    plain(axis)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight", metadata={"Software": None})
    return path
