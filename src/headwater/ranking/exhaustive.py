"""DIN as a channel: target attention over the history for every item there is.

The ranking stage's reference beside models of the matching stage (Li et al., SIGIR 2021, Tables 2 and 4): what a
request could be answered with if every item could be ranked. A request costs items × events, so it serves catalogues
of some thousand items, and comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import numerics, open_fabric, resolve_device, threads_of
from headwater.nn.negatives import Popularity
from headwater.nn.prefixes import PrefixBatch, PrefixBatches
from headwater.nn.sequences import Histories, Windows, to_device
from headwater.nn.training import TrainingConfig, TrainingReport, config_identity, train
from headwater.ranking.config import Activation
from headwater.ranking.din import DINConfig
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.networks.din import DINNetwork, RankingInputs
from headwater.retrieval.artefact import below, load_artefact, save_artefact
from headwater.retrieval.base import Candidates, ChannelSettings, Mask, Reason, Reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASK = "click"

ROWS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 15}
"""(User, item) pairs that are scored at a time."""

QUERIES_AT_ONCE = 256
"""Queries whose dense scores exist at a time."""


class ExhaustiveDINConfig(ChannelSettings):
    """Settings of `ExhaustiveDIN`."""

    kind: Literal["exhaustive_din"] = "exhaustive_din"
    """Names the channel class in a recipe."""

    name: str = "exhaustive_din"
    """Name in candidates and reasons; one channel of a name in a service."""

    length: int = Field(default=50, ge=1)
    """Latest events that target attention reads (20..200)."""

    dimension: int = Field(default=16, ge=1)
    """Width of each embedding (8..64); an event is as wide as item and attributes together."""

    item_attributes: tuple[str, ...] = ()
    """Item attributes that are embedded beside the item, in the target and in each event."""

    user_attributes: tuple[str, ...] = ()
    """User attributes that are embedded."""

    unit_hidden: int = Field(default=36, ge=1)
    """Width of the activation unit's hidden layer; 36 in the paper."""

    hidden: tuple[int, ...] = Field(default=(200, 80), min_length=1)
    """Widths of the hidden layers."""

    activation: Activation = "prelu"
    """After every hidden layer."""

    negatives: int = Field(default=32, ge=1)
    """Items that each positive is compared with, drawn anew every time."""

    negative_power: float = Field(default=0.0, ge=0)
    """Negatives are drawn in proportion to interactions to this power; 0 is uniform."""

    positions: int | None = Field(default=20, ge=1)
    """Training examples of each user and epoch, as of the towers; None takes every position."""

    training: TrainingConfig = TrainingConfig(batch_size=1024)
    """How; a batch counts positives."""

    @property
    def network(self) -> DINConfig:
        """The ranker's settings that its network is built of."""
        return DINConfig(
            length=self.length,
            dimension=self.dimension,
            item_attributes=self.item_attributes,
            user_attributes=self.user_attributes,
            unit_hidden=self.unit_hidden,
            hidden=self.hidden,
            activation=self.activation,
        )


class _Task(nn.Module):
    """The network with its loss: softmax cross-entropy of the positive among 1 + n items."""

    def __init__(self, network: DINNetwork, config: ExhaustiveDINConfig, negatives: Popularity) -> None:
        super().__init__()
        self.network = network
        self._config, self._negatives = config, negatives

    def forward(self, batch: PrefixBatch) -> Tensor:
        """Mean loss of the whole batch's positives; this process's part of it, times the processes."""
        windows, targets = batch.windows, batch.targets
        shape = (batch.n_positives, self._config.negatives)
        drawn = self._negatives.draw(shape, batch.generator, batch.batch_targets)
        drawn = drawn[batch.first : batch.first + len(targets)]
        candidates = torch.cat([targets[:, None], drawn], 1)
        logits = _scored(self.network, windows, candidates, batch.users + 1)
        is_seen = ((drawn[:, :, None] == windows.items[:, None]) & windows.is_event[:, None]).any(2)
        is_refused = torch.cat([torch.zeros_like(targets[:, None], dtype=torch.bool), is_seen], 1)
        is_refused[:, 1:] |= drawn == targets[:, None]
        labels = torch.zeros_like(targets)
        loss = functional.cross_entropy(logits.float().masked_fill(is_refused, -torch.inf), labels, reduction="sum")
        return loss * (batch.n_processes / batch.n_positives)


def _scored(network: DINNetwork, windows: Windows, candidates: Tensor, users: Tensor) -> Tensor:
    """(b, m) logits of m candidates of each row, item codes (b, m) or (1, m) for all rows alike; (b,) rows of users."""
    b, m = len(windows.items), candidates.shape[1]
    history = torch.where(windows.is_event, windows.items + 1, NOBODY)
    inputs = RankingInputs(
        users=users.repeat_interleave(m),
        items=(candidates + 1).expand(b, m).reshape(-1),
        history=history.repeat_interleave(m, 0),
        searched=None,
        context=torch.zeros(b * m, 0, dtype=torch.long, device=history.device),
    )
    return network(inputs)[TASK].view(b, m)


class ExhaustiveDIN:
    """Ranks the whole catalogue by target attention; see the module. Inductive: no user needs to be known.

    A history without a known item has no candidates.

    Parameters
    ----------
    config : ExhaustiveDINConfig

    Attributes
    ----------
    report : TrainingReport or None
        How training went.
    """

    kind: ClassVar[str] = "exhaustive_din"
    config_class: ClassVar = ExhaustiveDINConfig

    def __init__(self, config: ExhaustiveDINConfig | None = None) -> None:
        self.config = config or ExhaustiveDINConfig()
        self.report: TrainingReport | None = None
        self._features: RankingFeatures | None = None
        self._network: DINNetwork | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def features(self) -> RankingFeatures:
        """What it knows of items and users; raises `ConfigError` before `fit` or `load`."""
        if self._features is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._features

    @property
    def network(self) -> DINNetwork:
        """The trained network; raises as `features` does."""
        if self._network is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._network

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on all histories of `data`, early stopping and checkpoints as those of `LearnedChannel.fit`.

        Raises
        ------
        ConfigError
            No user has two interactions; an attribute is asked that `data` does not have; see also `train`.
        """
        config, training = self.config, self.config.training
        device = resolve_device(training.device)
        with (
            numerics(device, training.precision, is_deterministic=training.is_deterministic),
            threads_of(training.threads),
        ):
            fabric = open_fabric(training.device, training.precision)
            device = fabric.device
            self._features = RankingFeatures.of(_catalogue(data), config.network)
            torch.manual_seed(training.seed)
            self._network = DINNetwork(config.network, self._features).to(device)
            batches = PrefixBatches(
                Histories.from_dataset(data, device),
                config.length,
                training.batch_size,
                positions=config.positions,
                seed=training.seed,
            )
            self.report = train(
                fabric,
                _Task(self._network, config, Popularity(data.item_counts, config.negative_power, device)),
                batches,
                training,
                Identity(f"{self.kind}:{config_identity(config)}", self._features.vocabulary, data.checksum()),
                validate=None if validate is None else lambda: validate(self),
                checkpoint=checkpoint,
                resume=resume,
            )
        return self

    @torch.inference_mode()
    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k items with the highest logits of all. Raises `ValueError` where k is not positive."""
        parts = []
        for start in range(0, max(len(queries), 1), QUERIES_AT_ONCE):
            block = queries.slice(start, min(start + QUERIES_AT_ONCE, len(queries)))
            scores = self._scores(block)
            if allowed is not None:
                within = allowed.slice(start, start + len(block))
                width = max(scores.shape[1], int(within.items.max(initial=-1)) + 1)
                if within.catalogue is not None:
                    width = max(width, len(within.catalogue))
                scores = np.pad(scores, ((0, 0), (0, width - scores.shape[1])), constant_values=-np.inf)
                within.apply(scores)
            parts.append((start, Candidates.from_scores(self.name, scores, k)))
        return Candidates.stack(parts)

    def _scores(self, queries: Queries) -> NDArray[np.float32]:
        """(queries, items) logits; -inf for a query without a known event."""
        network, n_items = self.network, self.features.n_items
        network.eval()
        device = network.unit.bias.device
        histories = Histories.from_queries(queries, n_items, device)
        users = to_device(self.features.user_rows_of_keys(queries.user_keys), device)
        items = torch.arange(n_items, device=device)[None]
        found = np.full((len(queries), n_items), -np.inf, np.float32)
        at_once = max(1, ROWS_AT_ONCE.get(device.type, 1 << 12) // max(n_items, 1))
        answered = np.flatnonzero(histories.lengths)
        for start in range(0, len(answered), at_once):
            rows = answered[start : start + at_once]
            windows = histories.windows(rows, self.config.length)
            found[rows] = _scored(network, windows, items, users[rows]).float().cpu().numpy()
        return found

    @torch.inference_mode()
    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The events that each candidate's activation unit weighs most, by their shares of all positive weights.

        Where no event has a positive weight, the user's attributes and the item alone led here.
        """
        network = self.network
        device = network.unit.bias.device
        histories = Histories.from_queries(queries, self.features.n_items, device)
        reasons: Reasons = [() for _ in range(len(candidates))]
        for at in np.flatnonzero(candidates.found_by(self.name)).tolist():
            windows = histories.windows(candidates.rows[at : at + 1].astype(np.int64), self.config.length)
            history = torch.where(windows.is_event, windows.items + 1, NOBODY)
            target = torch.full((1,), int(candidates.items[at]) + 1, device=device)
            weights = network.unit.weights(network.items(target), network.items(history), windows.is_event)
            triggers, places = np.unique(windows.items[windows.is_event].cpu().numpy(), return_inverse=True)
            shares = np.bincount(places, weights[windows.is_event].clamp(min=0).double().cpu().numpy(), len(triggers))
            found = [
                Reason(self.name, float(share / shares.sum()), int(trigger))
                for trigger, share in zip(triggers, shares, strict=True)
                if share > 0
            ]
            reasons[at] = tuple(sorted(found, key=lambda reason: -reason.share)) or (Reason(self.name, is_direct=True),)
        return reasons

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        tensors |= {f"features.{name}": values for name, values in self.features.tensors().items()}
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self.features.items, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Uses a GPU where there is one."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)
        items = vocabulary.fingerprint(n_items)
        channel._features = RankingFeatures.restore(config.network, items, n_items, below(tensors, "features."))
        network = DINNetwork(config.network, channel._features)
        weights = {name: torch.from_numpy(np.array(values)) for name, values in below(tensors, "network.").items()}
        network.load_state_dict(weights)
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        channel._network = network.eval().to(device)
        return channel


def _catalogue(data: Dataset) -> Impressions:
    """No impression at all, on the data's users and items: what features are read from."""
    none = np.zeros(0, np.int64)
    return Impressions.of_columns(
        data.name,
        data.users,
        data.items,
        user_codes=none.astype(np.int32),
        item_codes=none.astype(np.int32),
        times=none,
        labels={TASK: none.astype(np.int8)},
        histories=data,
        user_attributes=data.user_attributes,
        item_attributes=data.item_attributes,
    )
