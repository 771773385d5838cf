"""DSSM: two towers, one for the user and one for the item, compared by their angle (Huang et al., CIKM 2013).

The paper's query is here the user's history, and its document the item, as in Yi et al. (RecSys 2019), whose
training this follows: softmax over the batch's own items, each corrected by how often it is drawn (log-Q), unit
vectors and a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from headwater.nn.inputs import Catalogue, ItemEmbedding
from headwater.nn.objective import ItemVectors, ObjectiveConfig
from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower, mean_of_events
from headwater.retrieval.towers.channel import TowerChannel, TowerConfig, TowerNetwork


class DSSMConfig(TowerConfig):
    """Settings of `DSSM`."""

    kind: Literal["dssm"] = "dssm"
    """Names the channel class in a recipe."""

    name: str = "dssm"
    """Name in candidates and reasons; one channel of a name in a service."""

    hidden: tuple[int, ...] = (128,)
    """Widths of each tower's layers before the last (the paper: 300, 300)."""

    temperature: float = Field(default=0.07, gt=0)
    """τ, by which cosines are divided; 1/τ is the paper's γ. Small: only near items count (0.03..0.2)."""

    objective: ObjectiveConfig = ObjectiveConfig(loss="sampled-softmax", negatives="in-batch", n_negatives=512)
    """What training minimises."""


class DSSMNetwork(TowerNetwork):
    """y_u, y_i from two towers (rectified instead of tanh), R = cos(y_u, y_i), softmax over R/τ (section 3.3).

    The user's input is the mean of the events', the item's its embedding, which both towers share.
    """

    def __init__(self, config: DSSMConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, reads_order=False)
        d = config.dimension
        self.temperature = config.temperature
        self.user_tower = Tower(d, config.hidden, d, dropout=config.dropout)
        self.item_tower = Tower(d, config.hidden, d, dropout=config.dropout)

    @property
    def items(self) -> ItemVectors:
        """See `LearnedNetwork`."""
        return UnitItems(self.inputs.items, self.item_tower)

    def forward(self, windows: Windows) -> Tensor:
        """(b, d) y_u / τ: inner products with unit item vectors are then R/τ."""
        history = mean_of_events(self.inputs(windows), windows.is_event)
        return normalize(self.user_tower(history), dim=-1) / self.temperature


@dataclass(frozen=True, slots=True)
class UnitItems:
    """y_i / |y_i|: the item tower's vectors at unit length. No module: its parts are the network's."""

    embedding: ItemEmbedding
    tower: Tower

    def __call__(self, items: Tensor) -> Tensor:
        """(…, d) vectors of item codes (…)."""
        return normalize(self.tower(self.embedding(items)), dim=-1)

    def table(self) -> Tensor:
        """(items, d) the vectors of all items."""
        return normalize(self.tower(self.embedding.table()), dim=-1)


class DSSM(TowerChannel[DSSMConfig]):
    """The channel; see `LearnedChannel` for what it does and `DSSMConfig` for its settings."""

    kind: ClassVar[str] = "dssm"
    config_class: ClassVar = DSSMConfig

    def _new_network(self, catalogue: Catalogue) -> DSSMNetwork:
        return DSSMNetwork(self.config, catalogue)
