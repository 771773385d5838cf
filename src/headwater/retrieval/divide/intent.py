"""p(cluster | user): which cluster a user's next item is of (Zhang et al., WWW 2023, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.metrics.calibration import reliability
from headwater.nn.batches import NextItemBatches, SequenceBatch
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import prepared
from headwater.nn.encoder import Encoder
from headwater.nn.inputs import Catalogue, EventInputs
from headwater.nn.sequences import Histories, Windows, last_outputs
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.retrieval.divide.network import ClusterHead
from headwater.retrieval.learned import blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.data.splits import HeldOut
    from headwater.retrieval.divide.clusters import Clusters
    from headwater.retrieval.divide.config import DivideConfig
    from headwater.retrieval.divide.mixed import SASRecPlusConfig
    from headwater.retrieval.divide.network import DivideNetwork

    IntentSettings = DivideConfig | SASRecPlusConfig


class IntentNetwork(nn.Module):
    """Logits of the cluster of the next item, at every place of a window."""

    def __init__(self, config: IntentSettings, catalogue: Catalogue, n_clusters: int) -> None:
        super().__init__()
        own = config.intent
        self.inputs = EventInputs(catalogue, config.inputs, own.dimension, config.length, own.dropout)
        self.encoder = Encoder(
            own.dimension, own.layers, own.heads, feed_forward=4, dropout=own.dropout, is_causal=True
        )
        self.out = ClusterHead(own.dimension, n_clusters, own.prototypes)

    def forward(self, windows: Windows) -> Tensor:
        """(b, w, K)."""
        return self.out(self.encoder(self.inputs(windows), windows.is_event))


class JointIntentNetwork(nn.Module):
    """The same of a network of items that learns clusters too, by its own encoder."""

    def __init__(self, network: DivideNetwork) -> None:
        super().__init__()
        assert network.intent is not None
        self.network, self.out = network, network.intent

    def forward(self, windows: Windows) -> Tensor:
        """(b, w, K)."""
        return self.out(self.network(windows))


class _Task(nn.Module):
    """Mean cross-entropy of the cluster that followed each event."""

    def __init__(self, network: IntentNetwork, labels: Tensor, smoothing: float) -> None:
        super().__init__()
        self.network = network
        self._labels, self._smoothing = labels, smoothing

    def forward(self, batch: SequenceBatch) -> Tensor:
        logits = self.network(batch.windows).flatten(0, 1)[batch.at].float()
        return functional.cross_entropy(logits, self._labels[batch.targets], label_smoothing=self._smoothing)


class Intent:
    """The trained model of p(cluster | user).

    Parameters
    ----------
    network : IntentNetwork or JointIntentNetwork
    config : DivideConfig or SASRecPlusConfig
        Of which `intent`, `inputs` and `length` are read.
    """

    def __init__(self, network: IntentNetwork | JointIntentNetwork, config: IntentSettings) -> None:
        self.network, self.config = network, config
        self.report: TrainingReport | None = None

    @classmethod
    def fit(
        cls,
        data: Dataset,
        clusters: Clusters,
        config: IntentSettings,
        *,
        stops_early: bool,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on all histories of `data`; with `stops_early` on all but each one's last event.

        Raises
        ------
        ConfigError
            No user has two interactions (three, with `stops_early`), or training is asked in several processes.
        """
        # One seed for a channel, whichever of its networks draws.
        training = config.intent.training.model_copy(update={"seed": config.training.seed})
        with prepared(training) as fabric:
            if fabric.world_size > 1:
                raise ConfigError("Divide trains in one process: leave torchrun out")
            device = fabric.device
            torch.manual_seed(training.seed)
            network = IntentNetwork(config, Catalogue.of(data, config.inputs), len(clusters)).to(device)
            if training.is_compiled:
                network.encoder.compile()
            intent = cls(network, config)
            held, learned = np.zeros(0, np.int64), data
            if stops_early:
                held = np.flatnonzero(data.lengths >= 2)
                is_last = np.zeros(len(data), bool)
                is_last[data.offsets[held + 1] - 1] = True
                learned = data.keep(~is_last)
            queries = learned.queries(held.astype(np.int32))
            wanted = clusters.labels[data.event_items[data.offsets[held + 1] - 1]]

            def likelihood() -> float:
                found = intent.log_chances(queries, len(data.items))
                return float(found[np.arange(len(held)), wanted].mean())

            intent.report = train(
                fabric,
                _Task(
                    network,
                    torch.from_numpy(clusters.labels.astype(np.int64)).to(device),
                    config.intent.smoothing,
                ),
                NextItemBatches(
                    Histories.from_dataset(learned, device),
                    config.length,
                    training.batch_size,
                    seed=training.seed,
                    times=config.inputs.reads_times,
                ),
                training,
                Identity(f"intent:{config_identity(config)}", data.items.fingerprint(), learned.checksum()),
                validate=likelihood if stops_early else None,
                checkpoint=checkpoint,
                resume=resume,
            )
        return intent

    def log_chances(self, queries: Queries, n_items: int) -> NDArray[np.float64]:
        """(n, K) log p(cluster | user); -inf for a history without an item below `n_items`."""
        return self.of_histories(Histories.from_queries(queries, n_items, self._device))

    @property
    def _device(self) -> torch.device:
        return self.network.out.prototypes.weight.device

    @torch.inference_mode()
    def of_histories(self, histories: Histories) -> NDArray[np.float64]:
        """As `log_chances`."""
        found = np.full((len(histories.lengths), self.network.out.n_clusters), -np.inf)
        for rows in blocks_of(histories, np.flatnonzero(histories.lengths), self.config.length):
            windows = histories.windows(rows, self.config.length, times=self.config.inputs.reads_times)
            logits = last_outputs(self.network(windows), windows)
            found[rows] = logits.float().log_softmax(-1).double().cpu().numpy()
        return found


@dataclass(frozen=True, slots=True)
class IntentQuality:
    """How well chances of clusters foretell the cluster of the next item.

    Attributes
    ----------
    accuracy : float
        Share of queries whose likeliest cluster is the right one.
    log_loss : float
        Mean −log p of the right cluster, in nats.
    calibration_error : float
        Expected calibration error of the likeliest cluster's chance; see `headwater.metrics.Reliability`.
    entropy : float
        Mean entropy of the chances, in nats; that of a calibrated model is near its log-loss.
    n : int
        Queries with a known item, which alone are counted.
    """

    accuracy: float
    log_loss: float
    calibration_error: float
    entropy: float
    n: int


def intent_quality(log_chances: NDArray[np.float64], held_out: HeldOut, clusters: Clusters) -> IntentQuality:
    """Compare (n, K) log-chances with the cluster of each held-out query's first target.

    Raises `ConfigError` where no query has a known item.
    """
    rows = np.flatnonzero(np.isfinite(log_chances).any(1) & (np.diff(held_out.offsets) > 0))
    if not len(rows):
        raise ConfigError("no held-out query has an item that the intent model knows")
    found = log_chances[rows]
    wanted = clusters.labels[held_out.targets[held_out.offsets[rows]]]
    chances = np.exp(found)
    best = found.argmax(1)
    likeliest = np.minimum(chances[np.arange(len(rows)), best], 1.0)
    return IntentQuality(
        accuracy=float((best == wanted).mean()),
        log_loss=float(-found[np.arange(len(rows)), wanted].mean()),
        calibration_error=reliability((best == wanted).astype(np.int8), likeliest).error,
        entropy=float(-np.where(chances > 0, chances * found, 0.0).sum(1).mean()),
        n=len(rows),
    )
