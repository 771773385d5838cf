"""One user's day as HTML: each visit a line, each shown item a mark, and what the user wanted meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from headwater.simulation.chronicle import Entry, turn_of
from headwater.simulation.config import SCENARIOS
from headwater.simulation.scenarios import HOMEPAGE

DAY = 86_400

STYLE = """
<style>
.day { display: grid; grid-template-columns: 70px 110px 215px 1fr; gap: 3px 10px; align-items: center; }
.day { font-size: 13.5px; }
.day .time { color: var(--dim); font-variant-numeric: tabular-nums; } .day .home { font-weight: 600; }
.day .wants { font-size: 12.5px; color: var(--dim); } .day .begins { color: #a8452f; font-weight: 600; }
.day .rule { grid-column: 1 / -1; border-top: 1px dashed var(--line); color: var(--dim); font-size: 12px; }
.marks { display: flex; flex-wrap: wrap; gap: 5px; }
.mark { width: 15px; height: 15px; border-radius: 3px; background: #dfe5eb; font-size: 11px; line-height: 15px;
  text-align: center; color: #1c2430; }
.mark.wanted { background: #e9a08f; } .mark.nearline { box-shadow: 0 0 0 2px #0b6e99; }
p.key { margin-bottom: 10px; } .key .mark { display: inline-block; vertical-align: middle; margin: 0 3px 0 12px; }
details summary { cursor: pointer; color: var(--ours); margin: 12px 0; }
</style>
"""

KEY = (
    "<p class='note key'>A mark is a shown item, from the top of the page:"
    "<span class='mark wanted'></span>of the category that the user wants now"
    "<span class='mark'></span>of another one"
    "<span class='mark nearline'></span>retrieved by nearline"
    "<span class='mark'>✓</span>clicked<span class='mark'>★</span>bought</p>"
)


def timeline(entries: Sequence[Entry]) -> str:
    """The visits of a day, under `STYLE` and beside `KEY`."""
    lines, wanted, ended = [], -1, None
    for entry in entries:
        if ended is not None and entry.time - ended > 30 * 60:
            lines.append(f"<div class='rule'>{_span(entry.time - ended)} later</div>")
        lines.append(f"<div class='time'>{_clock(entry.time)}</div>")
        kind = "home" if entry.scenario == HOMEPAGE else ""
        lines.append(f"<div class='{kind}'>{escape(SCENARIOS[entry.scenario].replace('_', ' '))}</div>")
        lines.append(_wants(entry, wanted))
        lines.append(f"<div class='marks'>{_marks(entry)}</div>")
        wanted, ended = entry.intent, entry.time
    return f"<div class='day'>{''.join(lines)}</div>"


def told(entries: Sequence[Entry]) -> str:
    """The turn of the day in a sentence."""
    turn = turn_of(entries)
    if turn is None:
        return "No search of this day changed the homepage."
    wanted = turn.search.intent
    before, after = (int((entry.categories == wanted).sum()) for entry in (turn.before, turn.after))
    by_nearline = int((turn.after.is_nearline & (turn.after.categories == wanted)).sum())
    return (
        f"At {_clock(turn.search.time)} the user searches category {wanted}. The homepage before showed {before} of "
        f"{len(turn.before.categories)} items of it; {_span(turn.after.time - turn.search.time)} after the search it "
        f"shows {after} of {len(turn.after.categories)}, {by_nearline} of them retrieved by nearline."
    )


def _wants(entry: Entry, before: int) -> str:
    if entry.intent < 0:
        said = "" if before < 0 else f"no longer wants category {before}"
        return f"<div class='wants'>{said}</div>"
    if entry.intent != before:
        return f"<div class='begins'>begins to want category {entry.intent}</div>"
    return f"<div class='wants'>wants category {entry.intent}</div>"


def _marks(entry: Entry) -> str:
    marks = []
    for at in range(len(entry.categories)):
        kinds = ["mark"]
        kinds += ["wanted"] if entry.shows_wanted[at] else []
        kinds += ["nearline"] if entry.is_nearline[at] else []
        sign = "★" if entry.purchases[at] else "✓" if entry.clicks[at] else ""
        title = f"category {entry.categories[at]}"
        marks.append(f"<span class='{' '.join(kinds)}' title='{title}'>{sign}</span>")
    return "".join(marks)


def _clock(time: int) -> str:
    second = time % DAY
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds"
    if seconds < 7_200:
        return f"{seconds // 60} minutes"
    return f"{seconds // 3_600} hours"
