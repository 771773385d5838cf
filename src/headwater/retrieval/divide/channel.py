"""Divide as a channel: trained within clusters, searched within clusters, merged by quotas or by calibrated chances."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.index.exact import Found, best_of, listed_pairs
from headwater.index.vector import VectorIndex
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import numerics, open_fabric, resolve_device, threads_of
from headwater.nn.inputs import Catalogue
from headwater.nn.objective import Objective
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.retrieval.artefact import below, load_artefact, save_artefact
from headwater.retrieval.base import Candidates, Mask, Reason, Reasons
from headwater.retrieval.divide.batches import DivideBatch, DivideBatches
from headwater.retrieval.divide.clusters import Clusters, clusters_of
from headwater.retrieval.divide.config import DivideConfig
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.network import DivideNetwork
from headwater.retrieval.divide.quotas import quotas
from headwater.retrieval.learned import TOKENS_AT_ONCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS_AT_ONCE = 1 << 24
"""Of the calibrated merge: passes × items of a cluster."""


class _Task(nn.Module):
    """The network with its losses: within clusters, and of the intent."""

    def __init__(self, network: DivideNetwork, objectives: list[Objective]) -> None:
        super().__init__()
        self.network = network
        self._objectives = objectives

    def forward(self, batch: DivideBatch) -> Tensor:
        """The mean of each, added: they share no weight."""
        within, intent = self.network.losses(batch, self._objectives)
        return within / max(batch.n_positives, 1) + intent / len(batch.intent_at)


class Passes(NamedTuple):
    """What a batch of requests was answered with.

    Attributes
    ----------
    chances : (n, K) float64
        p(cluster | user); 0 for a request without a known item.
    quotas : (n, K) int64
        Items asked of each cluster.
    n : int
        Histories that were encoded, one for each user and cluster with a quota.
    """

    chances: NDArray[np.float64]
    quotas: NDArray[np.int64]
    n: int


class Divide:
    """Divide and conquer (Zhang et al., "Divide and Conquer: Towards Better Embedding-based Retrieval …", WWW 2023).

    Items are cut into clusters; one encoder, told which cluster it is asked about, is trained on negatives of the
    positive's cluster (eq. 3); each request asks clusters for as many items as the user's intent gives them. Inductive:
    no user needs to be known; a history without a known item has no candidates.

    Parameters
    ----------
    config : DivideConfig

    Attributes
    ----------
    report : TrainingReport or None
        How training went.
    passes : Passes or None
        Of the latest `retrieve`.
    """

    kind: ClassVar[str] = "divide"
    config_class: ClassVar = DivideConfig

    def __init__(self, config: DivideConfig | None = None) -> None:
        self.config = config or DivideConfig()
        self.report: TrainingReport | None = None
        self.passes: Passes | None = None
        self._network: DivideNetwork | None = None
        self._catalogue: Catalogue | None = None
        self._names: tuple[str, ...] = ()
        self._fingerprint = ""
        self._indexes: dict[int, VectorIndex] = {}

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def network(self) -> DivideNetwork:
        """The trained network; raises `ConfigError` before `fit` or `load`."""
        if self._network is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._network

    @property
    def clusters(self) -> Clusters:
        """How items are cut; raises as `network` does."""
        return Clusters(self.network.labels.cpu().numpy().astype(np.int32), self._names)

    # -- training

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Cut the items and train on all histories of `data`; `report` then says how it went.

        Parameters
        ----------
        validate : callable, optional
            Returns the figure that early stopping maximises; without it training runs all epochs.
        checkpoint : Path, optional
            Folder for checkpoints.
        resume : bool
            Go on from the checkpoint there, to the same result; begin anew where there is none.

        Raises
        ------
        ConfigError
            No user has two interactions; an input is asked that `data` does not have; see also `clusters_of`, `train`.
        """
        config, training = self.config, self.config.training
        clusters = clusters_of(data, config.clusters)
        device = resolve_device(training.device)
        with (
            threads_of(training.threads),
            numerics(device, training.precision, is_deterministic=training.is_deterministic),
        ):
            fabric = open_fabric(training.device, training.precision)
            device = fabric.device
            catalogue = Catalogue.of(data, config.inputs)
            torch.manual_seed(training.seed)
            network = DivideNetwork(config, catalogue, clusters.labels, len(clusters)).to(device)
            self._adopt(network, catalogue, clusters.names, data.items.fingerprint())
            objectives = [
                Objective(config.objective, data.item_counts[clusters.members(k)], device) for k in range(len(clusters))
            ]
            batches = DivideBatches(
                Histories.from_dataset(data, device),
                clusters.labels,
                len(clusters),
                length=config.length,
                batch_size=training.batch_size,
                tasks_per_user=config.tasks_per_user,
                seed=training.seed,
                times=config.inputs.reads_times,
            )
            self.report = train(
                fabric,
                _Task(network, objectives),
                batches,
                training,
                Identity(f"{self.kind}:{config_identity(config)}", self._fingerprint, data.checksum()),
                validate=None if validate is None else lambda: self._validated(validate),
                checkpoint=checkpoint,
                resume=resume,
            )
        self._indexes = {}
        return self

    def _validated(self, validate: Callable[[Self], float]) -> float:
        self._indexes = {}  # of weights that have moved since
        return validate(self)

    def _adopt(self, network: DivideNetwork, catalogue: Catalogue, names: tuple[str, ...], fingerprint: str) -> None:
        self._network, self._catalogue, self._names, self._fingerprint = network, catalogue, names, fingerprint
        self._indexes = {}

    # -- retrieval

    @torch.inference_mode()
    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """At most k items, of each cluster as many as the merge gives it. Raises `ValueError` where k is not positive.

        With quotas, a cluster's item at place p (from 0) stands in the list by p_k^α / (p + 1/2), so that every
        beginning of the list is shared out in about the same proportions, and a score says the place in the list.
        Calibrated, it is log p(cluster | user) + log p(item | cluster, user).
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        network, config = self.network, self.config
        histories = Histories.from_queries(queries, len(network.labels), network.labels.device)
        masks = ClusterMasks.of(allowed, network.labels.cpu().numpy(), len(self._names), len(queries))
        log_chances = self._log_chances(histories)
        is_known, rooms = histories.lengths > 0, masks.rooms()
        asked = np.where(is_known[:, None], np.minimum(rooms, k), 0)
        if config.merge == "quota":
            asked[is_known] = quotas(np.exp(log_chances[is_known]), rooms[is_known], k, config.alpha)
        parts = []
        for cluster in range(len(self._names)):
            rows = np.flatnonzero(asked[:, cluster])
            if len(rows):
                found = self._search(histories, cluster, rows, asked[rows, cluster], masks.within(cluster, rows))
                parts.append((rows[found.rows], np.full(len(found.rows), cluster), found.items, found.scores))
        self.passes = Passes(np.exp(log_chances), asked, int((asked > 0).sum()))
        if not parts:
            return Candidates.empty(self.name, len(queries))
        rows, clusters, items, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        chances, scores = log_chances[rows, clusters], scores.astype(np.float64)
        if config.merge == "quota":
            scores = config.alpha * chances - np.log(_places(rows * len(self._names) + clusters) + 0.5)
        else:
            scores += chances
        order = np.lexsort((items, -scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        places = _places(rows)
        if config.merge == "quota":
            scores = 1 / (1.0 + places)
        kept = places < k
        return Candidates.single(self.name, len(queries), rows[kept], items[kept], scores[kept])

    def _log_chances(self, histories: Histories) -> NDArray[np.float64]:
        """(n, K) log p(cluster | user); -inf for a history without a known item."""
        found = np.full((len(histories.lengths), len(self._names)), -np.inf)
        known = np.flatnonzero(histories.lengths)
        for rows in self._blocks(histories, known):
            found[rows] = self.network.intents(histories, rows).double().cpu().numpy()
        return found

    def _blocks(self, histories: Histories, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        widest = int(np.minimum(histories.lengths, self.config.length).max(initial=1))
        size = max(1, TOKENS_AT_ONCE.get(histories.device.type, 1 << 14) // widest)
        return [rows[at : at + size] for at in range(0, len(rows), size)]

    def _search(
        self, histories: Histories, cluster: int, rows: NDArray[np.int64], asked: NDArray[np.int64], allowed: Mask
    ) -> Found:
        """The best items of one cluster for some rows, as many of each as are asked; `Found.rows` count these rows."""
        network = self.network
        members = network.members(cluster)
        states = torch.cat(
            [
                network.encode_for(histories, block, torch.full((len(block),), cluster, device=histories.device))
                for block in self._blocks(histories, rows)
            ]
        )
        if self.config.merge == "calibrated":
            found = _log_chances_within(states, network.items.table()[members], int(asked.max()), allowed)
        else:
            index = self._indexes.get(cluster)
            if index is None:
                index = VectorIndex(network.items.table()[members], method=self.config.search)
                self._indexes[cluster] = index
            found = index.search(states, int(asked.max()), allowed=allowed)
        kept = _places(found.rows) < asked[found.rows]
        codes = members.cpu().numpy()[found.items[kept]].astype(np.int32)
        return Found(found.rows[kept], codes, found.scores[kept])

    # -- why

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The cluster that each candidate is of, and how likely it was that the user wants it."""
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        labels = self.network.labels.cpu().numpy()
        with torch.inference_mode():
            histories = Histories.from_queries(queries, len(labels), self.network.labels.device)
            chances = np.exp(self._log_chances(histories))
        for at in mine.tolist():
            cluster = int(labels[candidates.items[at]])
            chance = float(chances[candidates.rows[at], cluster])
            reasons[at] = (Reason(self.name, cluster=self._names[cluster], chance=chance),)
        return reasons

    # -- files

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        if self._catalogue is not None:
            tensors |= self._catalogue.tensors()
        tensors["clusters.names"] = np.frombuffer(json.dumps(self._names).encode(), np.uint8)
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Uses a GPU where there is one."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)
        catalogue = Catalogue.restore(n_items, config.inputs, tensors)
        names = tuple(json.loads(tensors["clusters.names"].tobytes()))
        with torch.random.fork_rng(devices=[]):
            network = DivideNetwork(config, catalogue, tensors["network.labels"], len(names))
        weights = below(tensors, "network.")
        network.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()})
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        channel._adopt(network.eval().to(device), catalogue, names, vocabulary.fingerprint(n_items))
        return channel


def _places(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """(m,) the place of each entry among those of its row, from 0; equal rows stand together."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1) != 0)
    sizes = np.diff(starts, append=len(rows))
    return np.arange(len(rows)) - np.repeat(starts, sizes)


def _log_chances_within(states: Tensor, vectors: Tensor, k: int, allowed: Mask) -> Found:
    """The k best of a cluster with log p(item | cluster, user) for scores, what is not allowed left out of the sum."""
    size = max(1, LOGITS_AT_ONCE // max(len(vectors), 1))
    parts = []
    for start in range(0, len(states), size):
        scores = (states[start : start + size] @ vectors.T).float()
        stop = start + len(scores)
        rows, items = listed_pairs(allowed, start, stop, len(vectors))
        is_left_out = torch.full(scores.shape, allowed.is_allowlist, dtype=torch.bool, device=scores.device)
        is_left_out[
            torch.from_numpy(rows).to(scores.device), torch.from_numpy(items).to(scores.device)
        ] = not allowed.is_allowlist
        scores = scores.masked_fill(is_left_out, -torch.inf)
        if allowed.catalogue is not None:
            scores[:, torch.from_numpy(~allowed.catalogue).to(scores.device)] = -torch.inf
        parts.append(best_of(scores.log_softmax(1), k, start=start))
    return Found(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
