"""BST as two towers: a Transformer over the history, pooled to one vector (Chen et al., DLP-KDD 2019).

The paper ranks: the target stands in the sequence. To retrieve, the target is left out and the score is the inner
product of user and item, which is how the Paths paper (Li et al., WWW 2021, section 6.1.2) compares with it.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from headwater.nn.encoder import Encoder
from headwater.nn.inputs import Catalogue
from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower, mean_of_events
from headwater.retrieval.towers.channel import TowerChannel, TowerConfig, TowerNetwork


class BSTConfig(TowerConfig):
    """Settings of `BST`."""

    kind: Literal["bst"] = "bst"
    """Names the channel class in a recipe."""

    name: str = "bst"
    """Name in candidates and reasons; one channel of a name in a service."""

    layers: int = Field(default=1, ge=1)
    """Transformer blocks; the paper finds one best."""

    heads: int = Field(default=4, ge=1)
    """Attention heads (the paper: 8); they divide the dimension."""

    feed_forward: int = Field(default=4, ge=1)
    """Width of a block's inner layer in multiples of d."""

    hidden: tuple[int, ...] = (256, 128)
    """Widths of the layers behind the pooling (the paper: 1024, 512, 256)."""

    leak: float = Field(default=0.01, ge=0, lt=1)
    """Slope below zero of the LeakyReLU between these layers."""

    @model_validator(mode="after")
    def _heads_divide_dimension(self) -> Self:
        if self.dimension % self.heads:
            raise ValueError(f"dimension {self.dimension} is no multiple of heads {self.heads}")
        return self


class BSTNetwork(TowerNetwork):
    """E = items + positions (section 2.1), self-attention both ways and feed-forward (section 2.2), mean, tower.

    Positions are ordinal; the paper's, the time from event to request, is the input `request_time`. Blocks
    normalise their input where the paper's normalise their output, as all Transformers here do.
    """

    def __init__(self, config: BSTConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, reads_order=True)
        self.encoder = Encoder(
            config.dimension,
            config.layers,
            config.heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            is_causal=False,
        )
        self.tower = Tower(config.dimension, config.hidden, config.dimension, dropout=config.dropout, leak=config.leak)

    def forward(self, windows: Windows) -> Tensor:
        """(b, d) vectors of the users."""
        outputs = self.encoder(self.inputs(windows), windows.is_event)
        return self.tower(mean_of_events(outputs, windows.is_event))


class BST(TowerChannel[BSTConfig]):
    """The channel; see `LearnedChannel` for what it does and `BSTConfig` for its settings."""

    kind: ClassVar[str] = "bst"
    config_class: ClassVar = BSTConfig

    def _new_network(self, catalogue: Catalogue) -> BSTNetwork:
        return BSTNetwork(self.config, catalogue)
