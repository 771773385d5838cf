"""Incremental training of rankers: days in time order, one pass, shuffled within the day (section 6.1 of KEEP)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.data.impressions import Impressions
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import prepared
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.ranking.batches import DayBatches, InputColumns, RankingBatch, day_checksums
from headwater.ranking.config import NetworkConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.din import DINNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_AT_ONCE = 1 << 12
"""Impressions that are predicted at a time."""


class Pointwise(nn.Module):
    """A network with its loss.

    Parameters
    ----------
    network : DINNetwork
    config : NetworkConfig
    """

    def __init__(self, network: DINNetwork, config: NetworkConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: RankingBatch) -> Tensor:
        """Sum over tasks of the mean cross-entropy of what each is asked of (eq. 1 of KEEP); a task that is asked of
        nothing adds nothing."""
        return self.of_logits(self.network(batch.inputs), batch)

    def of_logits(self, logits: dict[str, Tensor], batch: RankingBatch) -> Tensor:
        """The loss of what the network has said."""
        losses = [
            functional.binary_cross_entropy_with_logits(logit, batch.labels[task], reduction="none")
            .where(batch.is_asked[task], 0.0)
            .sum()
            * (batch.n_processes / max(batch.n_samples[task], 1))
            for task, logit in logits.items()
        ]
        return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class Learning:
    """What some networks learn by in place of what the others do.

    Attributes
    ----------
    loss : callable
        (network, config) -> a module that gives the loss of a batch.
    batches : callable
        Makes the batches, as `DayBatches` does.
    knowledge : callable or None
        Rows of the impressions -> (rows, width) float32 that a plug reads.
    identity : str
        Of this, behind the settings, in checkpoints.
    """

    loss: Callable[[DINNetwork, Any], nn.Module] = Pointwise
    batches: Callable[..., DayBatches] = DayBatches
    knowledge: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None
    identity: str = ""


def train_days(
    network: Callable[[RankingFeatures], DINNetwork],
    features: RankingFeatures,
    config: NetworkConfig,
    impressions: Impressions,
    *,
    adopt: Callable[[DINNetwork], None],
    each_day: Callable[[int], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    inherited: Path | Mapping[str, Tensor] | None = None,
    keep: Callable[[dict[str, Tensor]], None] | None = None,
    learning: Learning | None = None,
) -> TrainingReport:
    """Train a new network on every day of `impressions`; see `NetworkRanker.fit`, which this is the work of.

    Parameters
    ----------
    network : callable
        Makes it.
    adopt : callable
        Is given the network before training begins.
    each_day : callable, optional
        Is told each day before it is trained on.
    learning : Learning, optional
        What is not the same for every network.
    """
    learning = learning or Learning()
    training = config.training
    with prepared(training) as fabric:
        torch.manual_seed(training.seed)
        net = network(features)
        for task, tower in net.tasks.items():
            # Of the first day alone: a log that grows, and one that was whole from the start, then begin alike.
            labels = impressions.labels[task][impressions.samples(task) & (impressions.days == impressions.days[0])]
            share = (float(labels.sum()) + 1) / (len(labels) + 2)
            tower.begin_at(math.log(share / (1 - share)))  # type: ignore[operator]
        if training.is_compiled:
            net.compile()
        adopt(net.to(fabric.device))
        columns = InputColumns(impressions, features, config, fabric.device, learning.knowledge)
        batches = learning.batches(impressions, columns, training.batch_size, seed=training.seed, device=fabric.device)
        *earlier, checksum = day_checksums(impressions)
        return train(
            fabric,
            learning.loss(net, config),
            batches,
            training.model_copy(update={"epochs": len(batches.days)}),
            Identity(
                f"{config.kind}:{config_identity(config)}{learning.identity}",
                features.vocabulary,
                checksum,
                tuple(earlier),
            ),
            before_epoch=None if each_day is None else lambda epoch: each_day(batches.days[epoch]),
            checkpoint=checkpoint,
            resume=resume,
            inherited=inherited,
            keep=keep,
        )


@torch.inference_mode()
def predict(
    network: DINNetwork,
    features: RankingFeatures,
    config: NetworkConfig,
    impressions: Impressions,
    knowledge: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """(n,) probability of each task for every impression, in its order."""
    network.eval()
    columns = InputColumns(impressions, features, config, next(network.parameters()).device, knowledge)
    found = {task: np.empty(len(impressions), np.float32) for task in features.tasks}
    for start in range(0, len(impressions), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(impressions)))
        for task, logits in network(columns.inputs(rows)).items():
            found[task][rows] = torch.sigmoid(logits.float()).cpu().numpy()
    return found
