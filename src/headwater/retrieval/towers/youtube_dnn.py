"""YoutubeDNN: the mean of what was watched, through a tower, against a softmax over all items (RecSys 2016).

Covington, Adams and Sargin, section 3: candidate generation as extreme classification. Their example age and
search tokens have no counterpart here; ratings, gaps and the request time, where `inputs` asks for them, are read
with each event, before the mean.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from headwater.nn.inputs import Catalogue, ItemEmbedding
from headwater.nn.objective import ItemVectors
from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower, mean_of_events
from headwater.retrieval.towers.channel import TowerChannel, TowerConfig, TowerNetwork


class YoutubeDNNConfig(TowerConfig):
    """Settings of `YoutubeDNN`."""

    kind: Literal["youtube_dnn"] = "youtube_dnn"
    """Names the channel class in a recipe."""

    name: str = "youtube_dnn"
    """Name in candidates and reasons; one channel of a name in a service."""

    hidden: tuple[int, ...] = (256, 128)
    """Widths of the rectified layers (the paper: 1024, 512, 256 for a million videos)."""

    is_tied: bool = True
    """Whether an item has one vector for what was watched and for what is recommended. The paper's has two, which
    needs more data."""


class YoutubeDNNNetwork(TowerNetwork):
    """u = tower(mean of the events), P(w = i | u) = e^(v_i · u) / Σ_j e^(v_j · u) (section 3.1, figure 3)."""

    def __init__(self, config: YoutubeDNNConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, reads_order=False)
        self.tower = Tower(config.dimension, config.hidden, config.dimension, dropout=config.dropout)
        self.outputs = None if config.is_tied else ItemEmbedding(catalogue, config.dimension)

    @property
    def items(self) -> ItemVectors:
        """See `LearnedNetwork`."""
        return self.outputs or self.inputs.items

    def forward(self, windows: Windows) -> Tensor:
        """(b, d) u."""
        return self.tower(mean_of_events(self.inputs(windows), windows.is_event))


class YoutubeDNN(TowerChannel[YoutubeDNNConfig]):
    """The channel; see `LearnedChannel` for what it does and `YoutubeDNNConfig` for its settings."""

    kind: ClassVar[str] = "youtube_dnn"
    config_class: ClassVar = YoutubeDNNConfig

    def _new_network(self, catalogue: Catalogue) -> YoutubeDNNNetwork:
        return YoutubeDNNNetwork(self.config, catalogue)
