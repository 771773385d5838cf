"""CAN: DIN with co-actions of item and user, item and history (Bian et al., WSDM 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from headwater.ranking.config import NetworkConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.network_ranker import NetworkRanker

if TYPE_CHECKING:
    from headwater.ranking.networks.can import CANNetwork


class CANConfig(NetworkConfig):
    """Settings of `CAN`."""

    kind: Literal["can"] = "can"
    """Names the ranker class in a recipe."""

    name: str = "can"
    """Name in logs and releases."""

    coaction_widths: tuple[int, ...] = Field(default=(8, 8, 4), min_length=2)
    """Of a partner's embedding, and of each layer of an item's small network, whose weights are the item's own
    parameters: (8, 8, 4) are 108 numbers an item."""

    coaction_orders: int = Field(default=2, ge=1, le=4)
    """Powers of the partner's entries that pass the small network: 1 is the entries alone."""


class CAN(NetworkRanker[CANConfig]):
    """DIN that also learns a representation of each pair; see `headwater.ranking.networks.can`."""

    kind: ClassVar[str] = "can"
    config_class = CANConfig

    def new_network(self, features: RankingFeatures) -> CANNetwork:
        """See `NetworkRanker`."""
        from headwater.ranking.networks.can import CANNetwork

        return CANNetwork(self.config, features)
