"""Ordering candidates: one score for all of them, whichever channel they came from."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from headwater.errors import ConfigError
from headwater.ranking.base import Ranker

if TYPE_CHECKING:
    from typing import Any

RANKERS = {
    "affinity": "headwater.ranking.affinity:AffinityRanker",
    "can": "headwater.ranking.can:CAN",
    "din": "headwater.ranking.din:DIN",
}
"""Kind of a ranker -> where its class stands; imported when it is asked for."""


SERVED = {**RANKERS, "plugged": "headwater.knowledge.served:ServedPlugged"}
"""The same and what a release may hold, too, though no recipe trains it."""


def served_class(kind: str) -> type[Any]:
    """The class that loads a release's ranker. Raises `ConfigError` as `ranker_class` does."""
    return _class(kind, SERVED)


def ranker_class(kind: str) -> type[Any]:
    """The class of a ranker, which is both a `Ranker` and `Trainable`.

    Raises `ConfigError`, which names the nearest kind, where there is none.
    """
    return _class(kind, RANKERS)


def _class(kind: str, known: dict[str, str]) -> type[Any]:
    if kind not in known:
        nearest = get_close_matches(str(kind), known, 1, 0.0)[0]
        raise ConfigError(f"unknown ranker {kind!r}; did you mean {nearest!r}? (known: {', '.join(known)})")
    module, _, name = known[kind].partition(":")
    return getattr(import_module(module), name)


__all__ = ["RANKERS", "SERVED", "Ranker", "ranker_class", "served_class"]
