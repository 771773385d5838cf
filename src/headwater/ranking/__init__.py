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


def ranker_class(kind: str) -> type[Any]:
    """The class of a ranker, which is both a `Ranker` and `Trainable`.

    Raises `ConfigError`, which names the nearest kind, where there is none.
    """
    if kind not in RANKERS:
        nearest = get_close_matches(str(kind), RANKERS, 1, 0.0)[0]
        raise ConfigError(f"unknown ranker {kind!r}; did you mean {nearest!r}? (known: {', '.join(RANKERS)})")
    module, _, name = RANKERS[kind].partition(":")
    return getattr(import_module(module), name)


__all__ = ["RANKERS", "Ranker", "ranker_class"]
