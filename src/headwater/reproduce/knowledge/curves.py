"""How good a method is while it learns: on its sub-domain, and on all other items, which it may forget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headwater.data.impressions import Impressions
from headwater.metrics import measure_prediction
from headwater.reproduce.knowledge.cut import Cut

if TYPE_CHECKING:
    from headwater.ranking.network_ranker import NetworkRanker

LOOKS = (0.0, *(2.0**-power for power in range(7, 3, -1)), *(eighth / 8 for eighth in range(1, 8)))
"""Shares of the learning after which a method is measured, beside the end: most of a gain comes early."""

ONE_OF = 6
"""Of so many users one is asked: a curve needs no more."""

Told = Callable[["NetworkRanker[Any]", int], None]


class Watch:
    """Measures models between the days that they learn from.

    Parameters
    ----------
    cut : Cut
    domains : sequence of str
        The sub-domains that are looked at.

    Attributes
    ----------
    domains : sequence of str
    curves : dict of str to list
        Of each sub-domain: `learned` (impressions so far, in all passes), and GAUC `inside` and `outside` of it, both
        on the test part.
    """

    def __init__(self, cut: Cut, domains: Sequence[str]) -> None:
        self._cut, self.domains = cut, domains
        self.curves: dict[str, list[dict[str, float]]] = {}
        self._asked: tuple[str, Impressions, Impressions] | None = None

    def during(
        self, domain: str, part: Impressions, done: int, passes: int
    ) -> Callable[[NetworkRanker[Any], int], None]:
        """What `fit` is to tell of each day while it learns `part` for the `done`-th of `passes` times, from 0."""
        before = {day: rows.start for day, rows in part.day_slices()}

        def told(model: NetworkRanker[Any], day: int) -> None:
            learned, looks = done * len(part) + before[day], len(self.curves.get(domain, ()))
            if looks < len(LOOKS) and learned >= LOOKS[looks] * passes * len(part):
                self.look(domain, model, learned)

        return told

    def look(self, domain: str, model: NetworkRanker[Any], learned: int) -> None:
        """Measure a model that has learned from so many impressions."""
        if self._asked is None or self._asked[0] != domain:
            cut = self._cut
            asked = cut.rows(2) & (cut.whole.user_codes % ONE_OF == 0)
            inside = cut.rows(2, domain=domain)
            within, out = (cut.read_by(domain, cut.whole.select(asked & rows)) for rows in (inside, ~inside))
            self._asked = domain, within, out
        _, *places = self._asked
        found = {
            name: measure_prediction(some.user_codes, some.labels["click"], model.predict(some)["click"]).gauc
            for name, some in zip(("inside", "outside"), places, strict=True)
        }
        self.curves.setdefault(domain, []).append({"learned": learned, **found})
