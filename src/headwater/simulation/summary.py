"""What a play came to, scenario by scenario: the funnel from visits to purchases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from headwater.simulation.config import SCENARIOS
from headwater.simulation.play import Page

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAGES = ("visits", "ranked", "exposures", "clicks", "carts", "purchases")


@dataclass
class Funnel:
    """Counts by scenario; a sink of `Play`.

    Attributes
    ----------
    counts : (6, 6) int64
        Scenario by stage, see `SCENARIOS` and `STAGES`.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(SCENARIOS), len(STAGES)), np.int64))

    def __call__(self, page: Page) -> None:
        outcome = page.outcome
        self.counts[page.scenario] += (
            len(page.requests),
            len(page.ranked),
            len(outcome.items),
            int(outcome.clicks.sum()),
            int(outcome.carts.sum()),
            int(outcome.purchases.sum()),
        )

    def total(self, stage: str) -> int:
        """Of all scenarios."""
        return int(self.counts[:, STAGES.index(stage)].sum())

    def ratio(self, scenario: int, stage: str, by: str) -> float:
        """One stage over another, of one scenario; 0 where there is nothing to divide by."""
        below = self.counts[scenario, STAGES.index(by)]
        return float(self.counts[scenario, STAGES.index(stage)] / below) if below else 0.0
