"""What MIND and ComiRec share: several vectors of one user, and the interest that a candidate comes from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from headwater.data.queries import Queries
from headwater.nn.inputs import Catalogue
from headwater.nn.prefixes import PrefixBatch
from headwater.nn.sequences import Histories, Windows
from headwater.retrieval.base import Candidates, Reason, Reasons
from headwater.retrieval.towers.channel import TowerChannel, TowerConfig, TowerNetwork


class InterestConfig(TowerConfig):
    """Settings of channels that give a user several vectors."""

    interests: int = Field(default=4, ge=1)
    """K, vectors of a user at most (2..8)."""

    is_joint: bool = False
    """Whether training scores every item by its best interest, as serving does. The papers score the negatives of a
    target by the vector that the target chose, so that interests are merged by score and yet never compared in
    training; joint training closes that gap."""

    explained_events: int = Field(default=10, ge=1)
    """Events that a reason can name at most: those that add most to the interest."""


C = TypeVar("C", bound=InterestConfig)


class InterestNetwork(TowerNetwork):
    """Gives (b, K, d), K vectors of each user. Where a user has fewer, the first one stands in for the rest.

    An item's score is its best over the vectors, which a repeated one leaves as it is.
    """

    def __init__(self, config: InterestConfig, catalogue: Catalogue, *, reads_order: bool) -> None:
        super().__init__(config, catalogue, reads_order=reads_order)
        self.is_joint = config.is_joint

    def for_training(self, batch: PrefixBatch) -> Tensor:
        """See `TowerNetwork`; (b, K, d) in joint training, where an item's score is its best over them."""
        users = self(batch.windows)
        return users if self.is_joint else self.for_targets(users, batch)

    @abstractmethod
    def for_targets(self, users: Tensor, batch: PrefixBatch) -> Tensor:
        """(b, d) of (b, K, d) the vector that the target of each row chooses, which the papers train."""

    @abstractmethod
    def parts(self, windows: Windows, items: Tensor) -> Tensor:
        """(b, w) what each event adds to the interest that gives (b,) `items` their score; 0 in padding."""


class InterestChannel(TowerChannel[C]):
    """A channel over an `InterestNetwork`."""

    @torch.inference_mode()
    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The interest that found the candidate, as the events that it is made of.

        A trigger's share is what it adds, over all that is named; see the network's `parts` for what is added up.
        Named are the `explained_events` that add most; where none adds anything, the reason has no trigger.
        """
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        network = cast("InterestNetwork", self.network)
        known = network.inputs.items
        histories = Histories.from_queries(queries, known.n_items, known.own.device)
        mine = mine[histories.lengths[candidates.rows[mine]] > 0]
        if not len(mine):
            return reasons
        windows = histories.windows(
            candidates.rows[mine].astype(np.int64), self.config.length, times=self.config.inputs.reads_times
        )
        items = torch.from_numpy(candidates.items[mine].astype(np.int64)).to(known.own.device)
        parts = network.parts(windows, items).double().cpu().numpy()
        events = windows.items.cpu().numpy()
        for at, adds, triggers in zip(mine.tolist(), parts, events, strict=True):
            of: dict[int, float] = {}
            for trigger, added in zip(triggers.tolist(), adds.tolist(), strict=True):
                if added > 0:
                    of[trigger] = of.get(trigger, 0.0) + added
            most = sorted(of.items(), key=lambda entry: -entry[1])[: self.config.explained_events]
            total = sum(added for _, added in most)
            reasons[at] = tuple(Reason(self.name, added / total, trigger) for trigger, added in most)
            reasons[at] = reasons[at] or (Reason(self.name),)
        return reasons
