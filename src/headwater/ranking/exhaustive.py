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
from headwater.nn.devices import prepared, resolve_device
from headwater.nn.negatives import distinct
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

NUMBERS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 28}
"""Elements of the largest tensors that scoring makes at a time, by device."""

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

    negatives: int = Field(default=1024, ge=1)
    """Items that all positives of a step are compared with, distinct ones; as many as there are items takes all."""

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
    """The network with its loss: softmax cross-entropy of the positive among itself and the step's negatives."""

    def __init__(self, network: DINNetwork, n_items: int, negatives: int) -> None:
        super().__init__()
        self.network = network
        self._n_items, self._negatives = n_items, negatives

    def forward(self, batch: PrefixBatch) -> Tensor:
        """Mean loss of the whole batch's positives; this process's part of it, times the processes."""
        windows, targets, users = batch.windows, batch.targets, batch.users + 1
        chances = torch.ones(self._n_items, device=targets.device)
        negatives = distinct(chances, self._negatives, batch.generator)
        is_seen = torch.zeros(len(targets), self._n_items, dtype=torch.bool, device=targets.device)
        is_seen.scatter_(1, torch.where(windows.is_event, windows.items, targets[:, None]), value=True)
        is_seen.scatter_(1, targets[:, None], value=True)
        inputs = RankingInputs(
            users=users,
            items=targets + 1,
            history=torch.where(windows.is_event, windows.items + 1, NOBODY),
            searched=None,
            context=torch.zeros(len(targets), 0, dtype=torch.long, device=targets.device),
        )
        of_target = self.network(inputs)[TASK].float()
        of_others = grid(self.network, windows, negatives, users).float().masked_fill(is_seen[:, negatives], -torch.inf)
        logits = torch.cat([of_target[:, None], of_others], 1)
        loss = functional.cross_entropy(logits, torch.zeros_like(targets), reduction="sum")
        return loss * (batch.n_processes / batch.n_positives)


def grid(network: DINNetwork, windows: Windows, candidates: Tensor, users: Tensor) -> Tensor:
    """(b, m) logits of the same m candidates for every row; what `DINNetwork.forward` gives each pair by itself.

    How much an event says of a candidate depends on these two items alone, and not on whose event it is: the activation
    unit meets each pair of a candidate and a distinct event once, however many rows have that event.

    Parameters
    ----------
    windows : Windows
        Of b rows.
    candidates : (m,) int64
        Item codes.
    users : (b,) int64
        Rows of `RankingFeatures`.
    """
    b, m = len(users), len(candidates)
    codes, place = torch.unique(windows.items, return_inverse=True)
    events, targets = network.items(codes + 1), network.items(candidates + 1)
    is_event = torch.ones(m, len(codes), dtype=torch.bool, device=codes.device)
    shares = network.unit.weights(targets, events.expand(m, -1, -1), is_event)
    of_rows = shares[:, place] * windows.is_event  # (m, b, w)
    interest = torch.bmm(of_rows.transpose(0, 1), events[place].to(of_rows.dtype))  # (b, m, d)
    parts = [] if network.users is None else [network.users(users)[:, None].expand(b, m, -1)]
    parts += [targets.expand(b, m, -1), interest]
    vectors = torch.cat([part.to(interest.dtype) for part in parts], 2).view(b * m, -1)
    return network.tasks[TASK](vectors).view(b, m)


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
        with prepared(training) as fabric:
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
                _Task(self._network, len(data.items), config.negatives),
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
        found = np.full((len(queries), n_items), -np.inf, np.float32)
        answered = np.flatnonzero(histories.lengths)
        if len(answered):
            windows = histories.windows(answered, self.config.length)
            # The largest tensors hold a hidden layer for each (candidate, distinct event), or an input of the tower for
            # each (row, candidate).
            n_events = min(n_items, int(windows.counts.sum()))
            widest = max(n_events * self.config.unit_hidden, len(answered) * max(4 * network.items.width, 256))
            size = max(1, NUMBERS_AT_ONCE.get(device.type, 1 << 24) // widest)
            for start in range(0, n_items, size):
                some = torch.arange(start, min(start + size, n_items), device=device)
                found[answered, start : start + size] = (
                    grid(network, windows, some, users[answered]).float().cpu().numpy()
                )
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
