"""What a person watching training sees."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """A bar over all steps with loss, validation figure and throughput; nothing where nobody watches.

    Parameters
    ----------
    steps : int
        Of the whole training.
    console : Console
        Where a file or pipe takes the output, nothing is shown.
    """

    def __init__(self, steps: int, console: Console) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("best {task.fields[best]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=steps, epoch=0, loss="-", best="-", speed="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(
        self, n_steps: int, epoch: int, loss: float, best: float | None, *, positives: float, passes: float
    ) -> None:
        """Say where training stands; `positives` and `passes` are per second."""
        self._progress.update(
            self._task,
            completed=n_steps,
            epoch=epoch + 1,
            loss=f"{loss:.4f}",
            best="-" if best is None else f"{best:.4f}",
            speed=f"{positives:,.0f} positives/s, {passes:,.0f} passes/s",
        )
