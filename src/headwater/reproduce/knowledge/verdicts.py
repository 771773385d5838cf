"""What the paper claims, as questions, and what our runs say to them, in words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from headwater.reproduce.knowledge.found import Found, activity_of, gain_over, pooled
from headwater.reproduce.knowledge.measure import GROUPS
from headwater.reproduce.knowledge.plan import BASE, OURS, SHUFFLED
from headwater.reproduce.knowledge.published import TABLE_2
from headwater.reproduce.knowledge.steps import ANEW, PLUGGED, half_of_the_gain, said_of_half, steps_to_half, watched
from headwater.reproduce.sheet import Cell, Sheet
from headwater.show import NOT_RUN

ALLOWED = 0.0005
"""What decomposition and degeneration together cost in the paper."""

SOME = 30
"""Users that a group must have, to be said something of."""


def verdicts(found: Found) -> Sheet:
    """One line for each question; `not run` where a run that it needs is missing."""
    others = [name for name in (*TABLE_2, "fine-tune") if name not in (BASE, OURS) and found.runs.get(name)]
    best = max(others, key=lambda name: gain_over(found.runs[BASE], found.runs[name], "largest")[0], default=None)
    asked = [
        (f"Is KEEP ahead of Base ({_n(found.domains())})?", _ahead(found, OURS, BASE, "all")),
        ("Is it the knowledge, and not the plug's parameters: ahead of shuffled knowledge?",
         _ahead(found, OURS, SHUFFLED, "all")),
        (f"Is KEEP ahead of the best other method ({_n(found.largest())})?",
         NOT_RUN if best is None else f"{_ahead(found, OURS, best, 'largest')}: {best}, of {', '.join(others)}"),
        ("Do users with few clicks gain more?", _sparse(found)),
        (f"Do decomposition and degeneration together lose at most {ALLOWED}?", _served(found)),
        ("After how many steps is half of the plug's final gain there?", _half(found)),
    ]  # fmt: skip
    return Sheet(f"In words, {found.recipe}", ["question", "answer"], [[Cell(a), Cell(b)] for a, b in asked])


def _n(domains: list[str]) -> str:
    return domains[0] if len(domains) == 1 else f"{len(domains)} sub-domains"


def _ahead(found: Found, ours: str, theirs: str, scope: str) -> str:
    if not found.runs.get(ours) or not found.runs.get(theirs):
        return NOT_RUN
    gain, low, high = gain_over(found.runs[theirs], found.runs[ours], scope)
    word = "yes" if low > 0 else "no" if high < 0 else "not sure"
    return f"{word}: {gain:+.4f} ({low:+.4f} to {high:+.4f})"


def _sparse(found: Found) -> str:
    """The least active group of users against the most active one, of those with `SOME` users."""
    if not found.runs.get(OURS) or not found.runs.get(BASE):
        return NOT_RUN
    activity, edges = activity_of(found), [0, *GROUPS, np.inf]
    measured = pooled(found.runs[BASE], "all")[0] > 0
    groups = [(activity >= low) & (activity < high) & measured for low, high in pairwise(edges)]
    said = [gain_over(found.runs[BASE], found.runs[OURS], "all", group) for group in groups if group.sum() >= SOME]
    if len(said) < 2:
        return "all users are alike active"
    (few, *_, few_high), (many, many_low, _) = said[0], said[-1]
    is_clear = few_high < many_low or said[0][1] > said[-1][2]
    word = "not sure" if not is_clear else "yes" if few > many else "no"
    return f"{word}: {few:+.4f} of the least active, {many:+.4f} of the most active"


def _served(found: Found) -> str:
    if not found.runs.get("keep-served") or not found.runs.get(OURS):
        return NOT_RUN
    gain, low, high = gain_over(found.runs[OURS], found.runs["keep-served"], "largest")
    word = "yes" if low >= -ALLOWED else "no" if high < -ALLOWED else "not sure"
    return f"{word}: {gain:+.4f} ({low:+.4f} to {high:+.4f})"


def _half(found: Found) -> str:
    if half_of_the_gain(found) is None:
        return NOT_RUN
    said = []
    for method, name in ((PLUGGED, "plugged into the trained model"), (ANEW, "concatenated, from scratch")):
        there = said_of_half(steps_to_half(found, method)) if watched(found, method) else NOT_RUN
        said.append(f"{name}: {there}")
    return "; ".join(said)
