"""DARec: what two domains share must not tell which of them it comes from (Yuan, Yao and Benatallah, IJCAI 2019).

Its means is the gradient reversal of domain-adversarial networks (Ganin and Lempitsky, ICML 2015).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from headwater.knowledge.baselines.config import DARecConfig
from headwater.knowledge.baselines.domains import DomainLogits, DomainTowers, TwoDomainRanker
from headwater.ranking.config import NetworkConfig
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.layers import TaskTower


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, strength: float) -> Tensor:  # type: ignore[override]
        ctx.strength = strength
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.strength * gradient, None


def reversed_gradient(vectors: Tensor, strength: float) -> Tensor:
    """The same vectors, whose gradient comes back times −`strength` (λ of Ganin and Lempitsky)."""
    found: Any = _Reversal.apply(vectors, strength)
    return found


class AdversarialTowers(DomainTowers):
    """All hidden layers but the last are shared; each domain has its last layer and output, and a discriminator reads
    what is shared through a reversed gradient.

    Parameters
    ----------
    target : TaskTower
        Its first layers are those that are shared; of a tower of one layer, its input.
    config : NetworkConfig
        Of the base model.
    settings : DARecConfig
    """

    def __init__(self, target: TaskTower, config: NetworkConfig, settings: DARecConfig) -> None:
        super().__init__(target)
        width = target.hidden()[-1].linear.in_features
        self.source = TaskTower(width, config.hidden[-1:], config.activation)
        self.discriminator = nn.Sequential(
            nn.Linear(width, settings.hidden), nn.PReLU(settings.hidden), nn.Linear(settings.hidden, 1)
        )
        self.strength = settings.reversal

    def of_domains(self, vectors: Tensor) -> DomainLogits:
        """See `DomainTowers`."""
        *shared, last = self.target.hidden()
        for layer in shared:
            vectors = layer(vectors)
        domain = self.discriminator(reversed_gradient(vectors, self.strength)).float()[:, 0]
        return DomainLogits(self.target.logit(last(vectors)), self.source(vectors), domain)

    def begin_at(self, logit: float) -> None:
        """See `TaskTower`."""
        self.target.begin_at(logit)
        self.source.begin_at(logit)


class DARec(TwoDomainRanker):
    """The base model with a shared extractor, a head for each domain, and a discriminator of domains.

    KEEP compares 'DANN with slight modifications for task accommodation', and so does this. The paper's user variant
    reads a user's row of ratings by a pre-trained autoencoder and predicts whole rows; a click ranker reads one
    impression. So its extractor of rating patterns is embeddings, attention and the tower's shared layers here, its
    two predictors of ratings are the two heads, and λ is constant.

    Parameters
    ----------
    ranker : NetworkRanker
    settings : DARecConfig, optional
    """

    kind: ClassVar[str] = "darec"
    settings: DARecConfig

    def __init__(self, ranker: NetworkRanker[Any], settings: DARecConfig | None = None) -> None:
        super().__init__(ranker, settings or DARecConfig())

    def towers(self, target: TaskTower) -> AdversarialTowers:
        """See `TwoDomainRanker`."""
        return AdversarialTowers(target, self.config, self.settings)
