"""What the stream's status says, and how often."""

import io
import threading

from rich.console import Console

from headwater.cli.status import Rate, as_line, as_table, watch
from headwater.nearline import Status


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.at(100.0, 50) == 0.0
    assert rate.at(102.0, 250) == 100.0
    assert rate.at(110.0, 250) == 20.0
    assert rate.at(112.0, 250) == 0.0, "the first records lie too far back"
    assert rate.at(200.0, 250 + 880) == 10.0, "two moments are kept, however far apart"


def test_a_line_says_all_that_is_well() -> None:
    now = Status(records=12_345, dead_letters=2, users=3, memory_bytes=4_560_000)
    assert as_line(now, 1_000.4) == "12,345 records; 1,000/s; nothing waits; 2 dead letters; 3 users in 4.6 MB"


def test_a_line_says_what_is_wrong() -> None:
    now = Status(pending_bytes=10, lag_seconds=3.25, failures=2, torn_states=1, policy_fault="alpa")
    line = as_line(now, 0.0)
    for word in ("3.2 s behind", "store refused: 2 batches", "torn: 1 states", "policy file: alpa"):
        assert word in line


def test_the_live_table_says_the_same_whatever_the_fault_holds() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(as_table(Status(records=7, policy_fault="[bold]alpa[/oops]"), 5.0))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]alpa[/oops]" in said
    assert "5 a second" in said


def test_without_a_terminal_a_line_comes_only_with_news_and_at_the_end() -> None:
    console = Console(file=io.StringIO(), width=200)
    stop, asked = threading.Event(), [Status(), Status(), Status(records=1), Status(records=1)]

    def status() -> Status:
        if len(asked) == 1:
            stop.set()
        return asked.pop(0) if len(asked) > 1 else asked[0]

    watch(status, stop, console, line_seconds=0.001)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split(";")[0] for line in lines] == ["0 records", "1 records", "1 records"]
