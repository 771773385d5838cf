"""Empty figures that need no screen, which pictures are drawn on; they want matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(
    columns: int, width: float, height: float, *, rows: int = 1, share: bool | Literal["row"] = False
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches and its axes, row by row; with `share` of one scale, or of one height
    in each row. Raises `ImportError` where matplotlib is missing."""
    # The canvas is made by hand: pyplot would keep every figure, and would look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share is True, sharey=share)
    return figure, list(axes.ravel())


def plain(*axes: Any) -> None:
    """Leave out the lines above and to the right, and let a grid lie behind what is drawn."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
