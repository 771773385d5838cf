"""A running stream's figures: alive on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from headwater.nearline import Status

LIVE_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Between two plain lines, if there was anything new."""

RATE_SECONDS = 10.0
"""The rate is that of so many last seconds."""


class Rate:
    """Records a second over the last `RATE_SECONDS`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, records: int) -> float:
        """The rate, with what was counted up to `now`, seconds that never jump back."""
        self._seen.append((now, records))
        while now - self._seen[0][0] > RATE_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return (records - before) / (now - then) if now > then else 0.0


def watch(
    status: Callable[[], Status],
    stop: threading.Event,
    console: Console,
    *,
    line_seconds: float = LINE_SECONDS,
) -> None:
    """Show the status until `stop` is set, and once more then."""
    rate = Rate()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                is_last = stop.wait(LIVE_SECONDS)
                now = status()
                live.update(as_table(now, rate.at(time.monotonic(), now.records)), refresh=True)
                if is_last:
                    return
    shown = None
    while True:
        is_last = stop.wait(line_seconds)
        now = status()
        said = rate.at(time.monotonic(), now.records)
        if now != shown or is_last:
            console.print(as_line(now, said), highlight=False, markup=False, soft_wrap=True)
            shown = now
        if is_last:
            return


def as_line(now: Status, rate: float) -> str:
    """The figures in one plain line."""
    parts = [
        f"{now.records:,} records",
        f"{rate:,.0f}/s",
        say_lag(now),
        f"{now.dead_letters:,} dead letters",
        f"{now.users:,} users in {now.memory_bytes / 1e6:,.1f} MB",
    ]
    parts += [f"{name}: {text}" for name, text in _troubles(now)]
    return "; ".join(parts)


def as_table(now: Status, rate: float) -> Table:
    """The figures one beneath the other, what is wrong in red."""
    table = Table.grid(padding=(0, 2))
    table.add_row("records", f"{now.records:,}", f"[dim]{rate:,.0f} a second[/dim]")
    table.add_row("lag", say_lag(now), f"[dim]{now.pending_bytes / 1e6:,.1f} MB of the log wait[/dim]")
    table.add_row("dead letters", Text(f"{now.dead_letters:,}", style="yellow" if now.dead_letters else ""), "")
    table.add_row("state", f"{now.users:,} users", f"[dim]{now.memory_bytes / 1e6:,.1f} MB in memory[/dim]")
    for name, text in _troubles(now):
        table.add_row(Text(name, style="red"), Text(text, style="red"), "")
    return table


def say_lag(now: Status) -> str:
    """How far behind the stream is: nothing waits, or how old the newest record is that it has."""
    return f"{now.lag_seconds:,.1f} s behind" if now.pending_bytes else "nothing waits"


def _troubles(now: Status) -> list[tuple[str, str]]:
    found = [("store refused", f"{now.failures:,} batches, tried again")] if now.failures else []
    found += [("torn", f"{now.torn_states:,} states or lists, begun anew")] if now.torn_states else []
    return found + ([("policy file", now.policy_fault)] if now.policy_fault else [])
