"""What the two-tower channels share: settings, training examples, and the loss of a user's vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from headwater.nn.inputs import Catalogue, EventInputs
from headwater.nn.objective import Objective, ObjectiveConfig
from headwater.nn.prefixes import PrefixBatch, PrefixBatches
from headwater.nn.sequences import Histories, Windows
from headwater.nn.training import TrainingConfig
from headwater.retrieval.learned import LearnedChannel, LearnedConfig, LearnedNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TowerConfig(LearnedConfig):
    """Settings that all two-tower channels share."""

    length: int = Field(default=50, ge=1)
    """Events read of a history: the latest ones. A mean over events forgets their order, so a shorter window also
    means a more recent taste (10..100)."""

    dimension: int = Field(default=64, ge=1)
    """d, of item and user vectors (32..256)."""

    dropout: float = Field(default=0.2, ge=0, lt=1)
    """On what is read of each event, and inside the towers (0..0.5)."""

    positions: int | None = Field(default=20, ge=1)
    """Training examples of each user and epoch: random positions of the history, each with what came before it.
    None takes every position; few keep users with long histories from filling the epoch."""

    objective: ObjectiveConfig = ObjectiveConfig(loss="sampled-softmax", negatives="popularity", n_negatives=1024)
    """What training minimises. Sampled softmax with log-Q correction is what these papers use; the whole softmax
    is better where the catalogue allows it (below about 100k items)."""

    training: TrainingConfig = TrainingConfig(batch_size=512)
    """How; a batch counts training examples."""


C = TypeVar("C", bound=TowerConfig)


class TowerNetwork(LearnedNetwork):
    """A user tower over what is read of the events.

    Parameters
    ----------
    config : TowerConfig
    catalogue : Catalogue
    reads_order : bool
        Whether events carry their position.
    """

    def __init__(self, config: TowerConfig, catalogue: Catalogue, *, reads_order: bool) -> None:
        super().__init__()
        self.length = config.length
        self.inputs = EventInputs(
            catalogue, config.inputs, config.dimension, config.length if reads_order else None, config.dropout
        )

    @abstractmethod
    def forward(self, windows: Windows) -> Tensor:
        """(b, d) vectors of the users, or (b, v, d) where each has v."""

    def encode(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor:
        """See `LearnedNetwork`."""
        return self(histories.windows(rows, self.length, times=self.inputs.config.reads_times))

    def loss(self, batch: PrefixBatch, objective: Objective) -> Tensor:
        """See `LearnedNetwork`."""
        seen = None
        if objective.config.leaves_out_seen:  # else drawn negatives would leave them out, too
            seen = torch.where(batch.windows.is_event, batch.windows.items, -1)
        return objective.loss(
            self.for_training(batch),
            batch.targets,
            self.items,
            generator=batch.generator,
            batch_targets=batch.batch_targets,
            first=batch.first,
            seen=seen,
        )

    def for_training(self, batch: PrefixBatch) -> Tensor:
        """(b, d) or (b, v, d) what is compared with items; one vector of several may depend on the target."""
        return self(batch.windows)


class TowerChannel(LearnedChannel[C]):
    """A channel over a `TowerNetwork`; see `LearnedChannel` for what it does."""

    def _batches(self, histories: Histories) -> PrefixBatches:
        training = self.config.training
        return PrefixBatches(
            histories,
            self.config.length,
            training.batch_size,
            positions=self.config.positions,
            seed=training.seed,
            times=self.config.inputs.reads_times,
        )
