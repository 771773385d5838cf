"""How an impression log is cut: by days, as the paper's was, into the sub-domains that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.reproduce.knowledge.config import KnowledgeRecipe
from headwater.reproduce.knowledge.cut import OWN, Cut

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_days(name: str, home: Path, packed: Path | None) -> Impressions:
    """The log that was imported as `name`, or that a packed file, or `name`.npz of a folder of such, holds.

    Raises `DatasetUnavailable` where there is none.
    """
    if packed is not None and packed.is_dir():
        packed = packed / f"{name}.npz"
        packed = packed if packed.exists() else None
    if packed is not None:
        from headwater.data.packed import unpack_impressions

        return unpack_impressions(packed)
    from headwater.data.impression_log import load_log

    return load_log(name, home)


class DayCut(Cut):
    """A log cut by days; `membership` marks impressions, and not items."""

    __slots__ = ()

    @classmethod
    def of_log(cls, log: Impressions, recipe: KnowledgeRecipe) -> DayCut:
        """Cut a log. Raises `ConfigError` where it has too few days, or lacks sub-domains that are asked for."""
        days = recipe.days
        if days is None or log.sub_domains is None:
            raise ConfigError(f"{log.name} is a log: its recipe needs `days`, and the log sub-domains (--sub-domain)")
        ends = np.cumsum([days.pretrain, days.train, days.test])
        if not len(log) or log.days[-1] < ends[-1] - 1:
            had = int(log.days[-1]) + 1 if len(log) else 0
            raise ConfigError(
                f"{log.name} has {had} days, and days ask for {ends[-1]}: make it longer, or ask for fewer"
            )
        whole = log.select(log.days < ends[-1])
        piece = np.searchsorted(ends, whole.days, "right")
        assert whole.sub_domains is not None
        members = {name: whole.sub_domains == code for code, name in enumerate(whole.sub_domain_names) if name}
        missing = sorted(set(recipe.domains) - members.keys())
        if missing:
            raise ConfigError(f"{log.name} has no sub-domain {missing[0]!r}; it has {', '.join(members)}")
        trains = {name: int((marked & (piece == 1)).sum()) for name, marked in members.items()}
        large = sorted((name for name in members if trains[name] >= recipe.least), key=lambda name: -trains[name])
        return cls(
            whole, piece, {name: members[name] for name in recipe.domains or large}, recipe.period, recipe.history
        )

    @property
    def rule(self) -> str:
        """How it was cut, in words."""
        last = [int(self.whole.days[self.piece == piece][-1]) for piece in range(3)]
        train, test = _days(last[0] + 1, last[1]), _days(last[1] + 1, last[2])
        return (
            f"{_days(0, last[0])} of all sub-domains: the super-domain; {train} of one: what trains; {test} of it: "
            f"what tests; histories are all clicks, carts and purchases before{OWN[self.history]}"
        )

    def rows(self, *pieces_: int, domain: str | None = None) -> NDArray[np.bool_]:
        """See `Cut`."""
        marked = np.isin(self.piece, pieces_)
        return marked if domain is None else marked & self.membership[domain]


def _days(first: int, last: int) -> str:
    return f"day {first}" if first == last else f"days {first} to {last}"
