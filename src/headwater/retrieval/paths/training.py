"""Training of paths: count co-occurrence, make examples, minimise the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import prepared
from headwater.nn.negatives import Popularity
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.retrieval.paths.batches import PathBatch, PathBatches
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.cooccurrence import user_folds
from headwater.retrieval.paths.features import PathFeatures
from headwater.retrieval.paths.levels import pair_levels
from headwater.retrieval.paths.losses import candidate_cross_entropy, click_cross_entropy
from headwater.retrieval.paths.model import PathModel
from headwater.retrieval.paths.network import PathNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Task(nn.Module):
    """The network with its loss."""

    def __init__(self, network: PathNetwork) -> None:
        super().__init__()
        self.network = network
        self._loss = candidate_cross_entropy if network.config.loss == "softmax" else click_cross_entropy

    def forward(self, batch: PathBatch) -> Tensor:
        """Mean loss of the whole batch's positives; this process's part of it, times the processes."""
        return self._loss(self.network(batch), batch.is_candidate) * (batch.n_processes / batch.n_positives)


def train_model(
    config: PathsConfig,
    data: Dataset,
    *,
    kind: str,
    validate: Callable[[PathModel], float] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> tuple[PathModel, TrainingReport]:
    """Train on all histories of `data`; see `Paths.fit`, which this is the work of.

    Parameters
    ----------
    kind : str
        The channel's, in the identity of checkpoints.
    validate : callable, optional
        Given the model as it is now.
    """
    training = config.training
    if config.session_gap is not None and data.time_unit != "seconds":
        raise ConfigError(f"{data.name} has positions, not times: leave session_gap out")
    with prepared(training) as fabric:
        device = fabric.device
        features = PathFeatures.of(data, config.inputs, config.user_attributes, config.bins)
        folds = user_folds(len(data.users), config.folds, training.seed)
        pairs = pair_levels(
            data,
            folds,
            config.measures,
            bins=config.bins,
            window=config.window,
            session_gap=config.session_gap,
            device=device,
        )
        histories = Histories.from_dataset(data, device)
        batches = PathBatches(
            histories,
            features.user_rows(data.users.keys),
            folds,
            pairs,
            Popularity(data.item_counts, config.negative_power, device),
            negatives=config.negatives,
            length=config.length,
            batch_size=training.batch_size,
            positions=config.positions,
            seed=training.seed,
            has_clock=data.time_unit == "seconds",
            shares_negatives=config.shares_negatives,
        )
        torch.manual_seed(training.seed)
        sizes = tuple(size for of_some in pairs for size in of_some.sizes)
        network = PathNetwork(config, features, sizes, _mean_triggers(histories.lengths, config.length))
        model = PathModel(config, network.to(device), features, [of_some.served(device) for of_some in pairs])

        def validated() -> float:
            assert validate is not None
            model.has_moved()
            return validate(model)

        report = train(
            fabric,
            _Task(network),
            batches,
            training,
            Identity(f"{kind}:{config_identity(config)}", data.items.fingerprint(), data.checksum()),
            validate=None if validate is None else validated,
            checkpoint=checkpoint,
            resume=resume,
        )
    model.has_moved()
    return model, report


def _mean_triggers(lengths: NDArray[np.int64], length: int) -> float:
    """Triggers of a training example, over all positions: of a user's n events the p-th has min(p, length)."""
    n = np.maximum(lengths - 1, 0)
    short = np.minimum(n, length)
    total = (short * (short + 1) // 2 + (n - short) * length).sum()
    return float(total / max(int(n.sum()), 1))
