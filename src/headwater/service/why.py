"""A channel's reason, said to a person."""

from __future__ import annotations

from headwater.release import Release
from headwater.retrieval.base import Reason
from headwater.service.messages import Why


def say_why(release: Release, reason: Reason, on_view: int) -> Why:
    """The reason with ids, titles and a sentence; `on_view` is the code of the item on view, or -1."""
    share = round(reason.share, 6)
    if reason.trigger is not None:
        title = release.titles[reason.trigger]
        is_context = reason.trigger == on_view
        return Why(
            kind="context" if is_context else "profile",
            channel=reason.channel,
            text=f"{'on view' if is_context else 'in your history'}: {title}",
            share=share,
            item=release.items.decode([reason.trigger])[0],
            title=title,
        )
    if reason.visit is not None:
        return Why(
            kind="nearline",
            channel=reason.channel,
            text=f"ranked {_ordinal((reason.rank or 0) + 1)} on a visit to {reason.scenario}"
            + _before(reason.age_seconds),
            share=share,
            scenario=reason.scenario,
            visit=reason.visit,
            rank=reason.rank,
            age_seconds=reason.age_seconds,
        )
    if reason.cluster is not None:
        chance = 0.0 if reason.chance is None else reason.chance
        return Why(
            kind="cluster",
            channel=reason.channel,
            text=f"a {_percent(chance)} chance that you want {reason.cluster}",
            share=share,
            cluster=reason.cluster,
            chance=round(chance, 6),
        )
    if reason.is_direct:
        is_all = reason.share == 1  # of someone without an event that the channel knows
        text = f"{'nothing in your history leads here: ' * is_all}general taste"
        return Why(kind="direct", channel=reason.channel, text=text, share=share)
    return Why(kind="popular", channel=reason.channel, text="popular with everybody", share=share)


def _percent(chance: float) -> str:
    return f"{chance:.0%}" if 0.01 <= chance <= 0.99 else f"{chance:.1%}"


def _before(seconds: int | None) -> str:
    return "" if seconds is None else f", {say_age(seconds)} before"


def say_age(seconds: int) -> str:
    """A span of time in its largest unit, rounded down: ``4 min``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
