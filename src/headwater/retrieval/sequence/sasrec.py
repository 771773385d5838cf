"""SASRec: self-attention over the history predicts the next item (Kang and McAuley, ICDM 2018).

With the objective of today: cross-entropy over the whole catalogue instead of one negative (the paper's eq. 6),
which alone takes its recall on ML-1M past most of what was published after it; `objective.loss = "bce"` with
`n_negatives = 1` is the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from torch import Tensor

from headwater.nn.batches import Batches, NextItemBatches
from headwater.nn.inputs import Catalogue
from headwater.nn.sequences import Histories, last_outputs
from headwater.retrieval.sequence.channel import SequenceChannel, SequenceConfig, SequenceNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SASRecConfig(SequenceConfig):
    """Settings of `SASRec`; the defaults are those that do well on ML-1M."""

    kind: Literal["sasrec"] = "sasrec"
    """Names the channel class in a recipe."""

    name: str = "sasrec"
    """Name in candidates and reasons; one channel of a name in a service."""


class SASRecNetwork(SequenceNetwork):
    """Ê = M_s + P (eq. 1), b causal blocks of attention and feed-forward (eqs. 2-5), r_i = F_t · M_i (eq. 6).

    M is one table for input and output (section 3.5, shared item embedding). Blocks normalise their input, as the
    paper's do (section 3.3), the feed-forward layer has GELU and its own width, and the last output is normalised.
    """

    def __init__(self, config: SASRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, is_causal=True)
        self._length = config.length
        self._reads_times = config.reads_times

    def encode(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor:
        """(b, d) F at the latest event of each history."""
        windows = histories.windows(rows, self._length, times=self._reads_times)
        return last_outputs(self(windows), windows)


class SASRec(SequenceChannel[SASRecConfig]):
    """The channel; see `SequenceChannel` for what it does and `SASRecConfig` for its settings."""

    kind: ClassVar[str] = "sasrec"
    config_class: ClassVar = SASRecConfig

    def _new_network(self, catalogue: Catalogue) -> SASRecNetwork:
        return SASRecNetwork(self.config, catalogue)

    def _batches(self, histories: Histories) -> Batches:
        # Every event but the first is a target in each epoch (section 3.4).
        training = self.config.training
        return NextItemBatches(
            histories,
            self.config.length,
            training.batch_size,
            seed=training.seed,
            times=self.config.reads_times,
            earlier=self.config.earlier_windows,
        )
