"""BERT4Rec: hidden items of the history are predicted from both sides (Sun et al., CIKM 2019).

The parts are SASRec's. What differs: attention looks both ways, the training task is Cloze, and a request is the
history with one hidden item behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from headwater.nn.batches import Batches, ClozeBatches
from headwater.nn.inputs import Catalogue
from headwater.nn.sequences import Histories, Windows, last_outputs
from headwater.retrieval.sequence.channel import SequenceChannel, SequenceConfig, SequenceNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BERT4RecConfig(SequenceConfig):
    """Settings of `BERT4Rec`."""

    kind: Literal["bert4rec"] = "bert4rec"
    """Names the channel class in a recipe."""

    name: str = "bert4rec"
    """Name in candidates and reasons; one channel of a name in a service."""

    hidden: float = Field(default=0.2, gt=0, lt=1)
    """ρ, the share of a window's events that is hidden in training (the paper: 0.2 on ML-1M, 0.6 on Beauty)."""

    last_only: float = Field(default=0.1, ge=0, le=1)
    """Share of training windows of which the last event alone is hidden, as in every request (section 3.6)."""


class BERT4RecNetwork(SequenceNetwork):
    """h⁰ = v + p (section 3.4), L bidirectional blocks (eqs. 1-5), softmax over the items of a hidden place (eq. 7).

    Blocks normalise their input where the paper's normalise their output, and the output projection of eq. 7 is
    left to the last block: the same parts as SASRec's, so that the two differ by what they are asked.
    """

    def __init__(self, config: BERT4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, is_causal=False)
        self._length = config.length
        self._reads_times = config.reads_times

    def encode(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor:
        """(b, d) the output at a hidden item that is put behind each history."""
        windows = histories.windows(rows, self._length - 1, times=self._reads_times)
        return self.state(*with_hidden_item(windows, self._length))

    def state(self, windows: Windows, is_hidden: Tensor) -> Tensor:
        """(b, d) the output at the last place of each window, which is hidden."""
        return last_outputs(self(windows, is_hidden), windows)


def with_hidden_item(windows: Windows, length: int) -> tuple[Windows, Tensor]:
    """Windows with one more place behind each row's events, and (b, w + 1) where these places are.

    The new place's gap is the time from the last event to the request.
    """
    b, width = windows.items.shape
    device = windows.items.device
    is_hidden = torch.arange(width + 1, device=device) == windows.counts[:, None]

    def widened(column: Tensor, behind: Tensor | float) -> Tensor:
        wide = torch.cat([column, column[:, -1:]], 1)
        return torch.where(is_hidden, torch.as_tensor(behind, dtype=column.dtype, device=device), wide)

    gaps = None
    if windows.gaps is not None and windows.request_gaps is not None:
        rows = torch.arange(b, device=device)
        gaps = widened(windows.gaps, windows.request_gaps[rows, windows.counts - 1][:, None])
    return (
        Windows(
            items=widened(windows.items, 0),
            counts=windows.counts + 1,
            is_event=torch.arange(width + 1, device=device) <= windows.counts[:, None],
            positions=widened(windows.positions, length - 1),
            ratings=None if windows.ratings is None else widened(windows.ratings, torch.nan),
            times=None if windows.times is None else widened(windows.times, 0),
            gaps=gaps,
            request_gaps=None,
        ),
        is_hidden,
    )


class BERT4Rec(SequenceChannel[BERT4RecConfig]):
    """The channel; see `SequenceChannel` for what it does and `BERT4RecConfig` for its settings."""

    kind: ClassVar[str] = "bert4rec"
    config_class: ClassVar = BERT4RecConfig

    def _new_network(self, catalogue: Catalogue) -> BERT4RecNetwork:
        return BERT4RecNetwork(self.config, catalogue)

    def _batches(self, histories: Histories) -> Batches:
        training = self.config.training
        return ClozeBatches(
            histories,
            self.config.length,
            training.batch_size,
            hidden=self.config.hidden,
            last_only=self.config.last_only,
            seed=training.seed,
            times=self.config.reads_times,
            earlier=self.config.earlier_windows,
        )
