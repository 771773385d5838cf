"""What SASRec and BERT4Rec share: settings, inputs with an encoder, and the loss of every scored place."""

from __future__ import annotations

from typing import Self, TypeVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from headwater.nn.batches import SequenceBatch
from headwater.nn.encoder import Encoder
from headwater.nn.inputs import Catalogue, EventInputs
from headwater.nn.intervals import IntervalBias
from headwater.nn.objective import Objective
from headwater.nn.sequences import Windows
from headwater.retrieval.learned import LearnedChannel, LearnedConfig, LearnedNetwork


class SequenceConfig(LearnedConfig):
    """Settings that all sequence channels share."""

    layers: int = Field(default=3, ge=1)
    """Blocks (2..4)."""

    heads: int = Field(default=4, ge=1)
    """Attention heads of each block (1..8); they divide the dimension."""

    feed_forward: int = Field(default=4, ge=1)
    """Width of the inner layer in multiples of d; the paper has 1."""

    dropout: float = Field(default=0.4, ge=0, lt=1)
    """On inputs, attention and both halves of a block; the fewer the events, the more (0.2..0.5)."""

    intervals: bool = False
    """Let attention see the time between any two events, up to the request with `inputs.request_time`. Needs real
    event times; takes about half as long again."""

    earlier_windows: float = Field(default=0.0, ge=0, le=1)
    """Share of the training windows of histories longer than `length` that end anywhere in them; the others end at
    the latest event. Above 0, what happened before a history's latest `length` events is learned from too."""

    @property
    def reads_times(self) -> bool:
        """Whether windows must carry times."""
        return self.intervals or self.inputs.reads_times

    @model_validator(mode="after")
    def _heads_divide_dimension(self) -> Self:
        if self.dimension % self.heads:
            raise ValueError(f"dimension {self.dimension} is no multiple of heads {self.heads}")
        return self


C = TypeVar("C", bound=SequenceConfig)


class SequenceNetwork(LearnedNetwork):
    """Inputs and an encoder; what they are asked, and with what they are trained, is the model's own.

    Parameters
    ----------
    config : SequenceConfig
    catalogue : Catalogue
    is_causal : bool
        Causal, or bidirectional with hidden items (Cloze).
    """

    def __init__(self, config: SequenceConfig, catalogue: Catalogue, *, is_causal: bool) -> None:
        super().__init__()
        self.inputs = EventInputs(
            catalogue, config.inputs, config.dimension, config.length, config.dropout, is_cloze=not is_causal
        )
        self.encoder = Encoder(
            config.dimension,
            config.layers,
            config.heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            is_causal=is_causal,
        )
        self.intervals = IntervalBias(config.heads, at_request=config.inputs.request_time) if config.intervals else None

    def forward(self, windows: Windows, is_hidden: Tensor | None = None) -> Tensor:
        """(b, w, d) outputs; their inner products with the items' vectors are scores."""
        bias = None if self.intervals is None else self.intervals(windows, is_hidden)
        return self.encoder(self.inputs(windows, is_hidden), windows.is_event, bias)

    def loss(self, batch: SequenceBatch, objective: Objective) -> Tensor:
        """See `LearnedNetwork`; padding and places that are not asked are not scored."""
        return objective.loss(
            self(batch.windows, batch.is_hidden).flatten(0, 1)[batch.at],
            batch.targets,
            self.items,
            generator=batch.generator,
            batch_targets=batch.batch_targets,
            first=batch.first,
            seen=batch.seen() if objective.config.leaves_out_seen else None,
        )

    @property
    def core(self) -> nn.Module:
        """The encoder: the inputs are gathers, which nothing makes faster."""
        return self.encoder


class SequenceChannel(LearnedChannel[C]):
    """A channel over a `SequenceNetwork`; see `LearnedChannel` for what it does."""
