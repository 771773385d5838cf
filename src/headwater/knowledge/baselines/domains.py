"""Learning a source and a target domain at once: batches that say which impression is of which, towers for both.

The super-domain holds the sub-domain, so the source's tower learns from every impression and the target's from those of
the target. Embeddings and target attention are shared: the domains have users and items in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from headwater.config import Settings
from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.ranking.batches import DayBatches, InputColumns, RankingBatch
from headwater.ranking.features import RankingFeatures
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.din import DINNetwork
from headwater.ranking.networks.layers import TaskTower
from headwater.ranking.training import Learning, Pointwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE, TARGET = 0, 1
"""Values of `Impressions.sub_domains` for what is outside the target domain, and in it."""


class DomainBatch(NamedTuple):
    """Impressions of both domains.

    Attributes
    ----------
    whole : RankingBatch
        What the source's towers learn from: all of them.
    target : RankingBatch
        The same, of which tasks are asked for the target's impressions alone.
    is_target : (b,) float32
    """

    whole: RankingBatch
    target: RankingBatch
    is_target: Tensor

    @property
    def n_positives(self) -> int:
        return self.whole.n_positives

    @property
    def n_passes(self) -> int:
        return self.whole.n_passes


class DomainBatches(DayBatches):
    """Days of both domains together, shuffled.

    Parameters
    ----------
    impressions : Impressions
        With `sub_domains`: `SOURCE` or `TARGET`.
    columns, batch_size, seed, device
        As of `DayBatches`.

    Raises
    ------
    ConfigError
        The impressions do not say which domain they are of.
    """

    def __init__(
        self, impressions: Impressions, columns: InputColumns, batch_size: int, *, seed: int, device: torch.device
    ) -> None:
        super().__init__(impressions, columns, batch_size, seed=seed, device=device)
        if impressions.sub_domains is None or len(impressions.sub_domain_names) != TARGET + 1:
            raise ConfigError(f"{impressions.name} must say of which of two domains each impression is: sub_domains")
        self._of_target = impressions.sub_domains == TARGET
        self._asked = {task: impressions.samples(task) & self._of_target for task in impressions.tasks}
        self._place = device

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> DomainBatch:  # type: ignore[override]
        """See `DayBatches`."""
        whole = super().batch(epoch, step, process=process, n_processes=n_processes)
        rows = self.rows(epoch, step)
        mine = rows[slice(*(len(rows) * border // n_processes for border in (process, process + 1)))]
        is_target = torch.from_numpy(self._of_target[mine]).to(self._place)
        target = whole._replace(
            is_asked={task: asked & is_target for task, asked in whole.is_asked.items()},
            n_samples={task: int(asked[rows].sum()) for task, asked in self._asked.items()},
        )
        return DomainBatch(whole, target, is_target.float())


class DomainLogits(NamedTuple):
    """(b,) logits of one task: by the target's tower, by the source's, and, of some, of being in the target domain."""

    target: Tensor
    source: Tensor
    domain: Tensor | None = None


class DomainTowers(nn.Module, ABC):
    """One task's layers for both domains; called, they answer for the target.

    Parameters
    ----------
    target : TaskTower
        The base model's own.
    """

    def __init__(self, target: TaskTower) -> None:
        super().__init__()
        self.target = target
        self.layers = tuple(f"target.{name}" for name in target.layers)

    @abstractmethod
    def of_domains(self, vectors: Tensor) -> DomainLogits:
        """What both say of (b, width_in)."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(b,) the target's logits."""
        return self.of_domains(vectors).target

    @abstractmethod
    def begin_at(self, logit: float) -> None:
        """See `TaskTower`."""


class BothDomains(Pointwise):
    """Sum over tasks and both domains of the mean cross-entropy, and that of the discriminator where there is one."""

    def forward(self, batch: DomainBatch) -> Tensor:  # type: ignore[override]
        """The loss of a batch."""
        vectors = torch.cat(self.network.parts(batch.whole.inputs), 1)
        said: dict[str, DomainLogits] = {
            task: towers.of_domains(vectors)  # type: ignore[operator]
            for task, towers in self.network.tasks.items()
        }
        loss = self.of_logits({task: logits.target for task, logits in said.items()}, batch.target)
        loss = loss + self.of_logits({task: logits.source for task, logits in said.items()}, batch.whole)
        told = {task: logits.domain for task, logits in said.items() if logits.domain is not None}
        if told:
            domains = batch.whole._replace(labels=dict.fromkeys(told, batch.is_target))
            loss = loss + self.of_logits(told, domains)
        return loss


class TwoDomainRanker(NetworkRanker[Any], ABC):
    """A ranker whose towers stand for two domains. It is there to be compared: it predicts, and is not served.

    Parameters
    ----------
    ranker : NetworkRanker
        The base model, untrained: it says what is below the towers, and what the target's tower is.
    settings : Settings
        The method's own.
    """

    kind: ClassVar[str]

    def __init__(self, ranker: NetworkRanker[Any], settings: Settings) -> None:
        super().__init__(ranker.config)
        self._base, self.settings = ranker, settings

    @abstractmethod
    def towers(self, target: TaskTower) -> DomainTowers:
        """Those of one task, from the base model's tower."""

    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """See `NetworkRanker`."""
        network = self._base.new_network(features)
        for task, tower in list(network.tasks.items()):
            network.tasks[task] = self.towers(tower)  # type: ignore[arg-type]
        return network

    def learning(self, impressions: Impressions) -> Learning:
        """See `NetworkRanker`."""
        settings = xxhash.xxh3_64_hexdigest(self.settings.model_dump_json().encode())
        return Learning(loss=BothDomains, batches=DomainBatches, identity=f"+{self.kind}:{settings}")


def with_domains(impressions: Impressions, is_target: NDArray[np.bool_]) -> Impressions:
    """The same impressions, which say whether each is of the target domain."""
    return replace(impressions, sub_domains=is_target.astype(np.int32), sub_domain_names=("source", "target"))
