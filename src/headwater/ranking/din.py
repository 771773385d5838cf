"""DIN: target attention over the behaviour sequence (Zhou et al., KDD 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from headwater.ranking.config import NetworkConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.network_ranker import NetworkRanker

if TYPE_CHECKING:
    from headwater.ranking.networks.din import DINNetwork


class DINConfig(NetworkConfig):
    """Settings of `DIN`."""

    kind: Literal["din"] = "din"
    """Names the ranker class in a recipe."""

    name: str = "din"
    """Name in logs and releases."""


class DIN(NetworkRanker[DINConfig]):
    """Scores a candidate by what the user's events say about it; see `headwater.ranking.networks.din`."""

    kind: ClassVar[str] = "din"
    config_class = DINConfig

    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """See `NetworkRanker`."""
        from headwater.ranking.networks.din import DINNetwork

        return DINNetwork(self.config, features)
