"""CoNet: two networks, each of whose layers also reads the other's (Hu, Zhang and Yang, CIKM 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from headwater.knowledge.baselines.config import CoNetConfig
from headwater.knowledge.baselines.domains import DomainLogits, DomainTowers, TwoDomainRanker
from headwater.ranking.config import NetworkConfig
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.layers import TaskTower


class CrossedTowers(DomainTowers):
    """h_t ← f(W_t h_t + b_t + H h_s) and h_s ← f(W_s h_s + b_s + H h_t): the cross unit of the paper's section 4.

    One matrix H of a layer carries both ways. With H = 0 these are two networks that know nothing of each other.

    Parameters
    ----------
    target : TaskTower
    config : NetworkConfig
        Of the base model: the source's tower is like the target's.
    settings : CoNetConfig
    """

    def __init__(self, target: TaskTower, config: NetworkConfig, settings: CoNetConfig) -> None:
        super().__init__(target)
        width_in = target.hidden()[0].linear.in_features
        self.source = TaskTower(width_in, config.hidden, config.activation)
        self.crosses = nn.ModuleList(nn.Linear(*widths, bias=False) for widths in pairwise((width_in, *config.hidden)))
        for cross in self.crosses:
            nn.init.normal_(cross.weight, std=settings.cross_std)  # type: ignore[arg-type]

    def of_domains(self, vectors: Tensor) -> DomainLogits:
        """See `DomainTowers`."""
        here = there = vectors
        for ours, theirs, cross in zip(self.target.hidden(), self.source.hidden(), self.crosses, strict=True):
            here, there = (
                ours.activation(ours.linear(here) + cross(there)),
                theirs.activation(theirs.linear(there) + cross(here)),
            )
        return DomainLogits(self.target.logit(here), self.source.logit(there))

    def begin_at(self, logit: float) -> None:
        """See `TaskTower`."""
        self.target.begin_at(logit)
        self.source.begin_at(logit)


class CoNet(TwoDomainRanker):
    """The base model with a second tower for the source domain, crossed layer by layer.

    The paper matches an item of one domain with an item of the other for a user they share. Here the domains have items
    in common too: both networks read the same impression, through shared embeddings, and each learns the impressions
    of its own domain. The loss is the sum of both networks' (the paper's section 4.3); H is dense, without the lasso of
    its sparse variant.

    Parameters
    ----------
    ranker : NetworkRanker
    settings : CoNetConfig, optional
    """

    kind: ClassVar[str] = "conet"
    settings: CoNetConfig

    def __init__(self, ranker: NetworkRanker[Any], settings: CoNetConfig | None = None) -> None:
        super().__init__(ranker, settings or CoNetConfig())

    def towers(self, target: TaskTower) -> CrossedTowers:
        """See `TwoDomainRanker`."""
        return CrossedTowers(target, self.config, self.settings)
