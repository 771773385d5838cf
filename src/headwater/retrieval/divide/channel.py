"""Divide as a channel: trained within clusters, searched within clusters, merged by quotas or by calibrated chances."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from headwater.config import parse
from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.splits import HeldOut
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError, LineageError
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import prepared, resolve_device
from headwater.nn.inputs import Catalogue
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.retrieval.artefact import below, load_artefact, save_artefact
from headwater.retrieval.base import Candidates, Mask, Reason, Reasons
from headwater.retrieval.divide.batches import DivideBatch, DivideBatches
from headwater.retrieval.divide.calibration import Calibration, fit_calibration, likeliest
from headwater.retrieval.divide.clusters import Clusters, clusters_of, clusters_of_values, neighbour_means
from headwater.retrieval.divide.config import DivideConfig
from headwater.retrieval.divide.intent import Intent, IntentNetwork, JointIntentNetwork
from headwater.retrieval.divide.lists import ClusterIndexes, Passes, StatesOf, by_quota
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.network import DivideNetwork
from headwater.retrieval.divide.objective import WithinObjective
from headwater.retrieval.learned import blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WithinClusters(nn.Module):
    """The network with its objective: called with a batch, gives its mean loss (eq. 3)."""

    def __init__(self, network: DivideNetwork, objective: WithinObjective) -> None:
        super().__init__()
        self.network = network
        self._objective = objective

    def forward(self, batch: DivideBatch) -> Tensor:
        """Mean over the batch's positives."""
        return self.network.loss(batch, self._objective) / batch.n_positives


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
        How training within clusters went; `intent.report` says it of the intent.
    passes : Passes or None
        Of the latest `retrieve`.
    calibration : Calibration
        Of the calibrated merge; see `calibrated_on`.
    """

    kind: ClassVar[str] = "divide"
    config_class: ClassVar = DivideConfig

    def __init__(self, config: DivideConfig | None = None) -> None:
        self.config = config or DivideConfig()
        self.report: TrainingReport | None = None
        self.passes: Passes | None = None
        self.calibration = Calibration()
        self._network: DivideNetwork | None = None
        self._intent: Intent | None = None
        self._catalogue: Catalogue | None = None
        self._clusters: Clusters | None = None
        self._fingerprint = ""
        self._indexes: ClusterIndexes | None = None

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
    def intent(self) -> Intent:
        """The model of p(cluster | user); raises as `network` does."""
        if self._intent is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._intent

    @property
    def clusters(self) -> Clusters:
        """How items are cut; raises as `network` does."""
        if self._clusters is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._clusters

    @property
    def _device(self) -> torch.device:
        return self.network.items.own.device

    def with_merge(self, merge: str, alpha: float = 1.0) -> Divide:
        """The same trained channel under another merge; raises `ConfigError` where these do not go together."""
        values = self.config.model_dump() | {"merge": merge, "alpha": alpha}
        other = Divide(parse(DivideConfig, values, self.name))
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name != "config"})
        return other

    # -- training

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Cut the items, learn the intent, then train within clusters, on all histories of `data`.

        Parameters
        ----------
        validate : callable, optional
            Returns the figure that early stopping maximises; without it training runs all epochs.
        checkpoint : Path, optional
            Folder for checkpoints: `intent` and `within` in it.
        resume : bool
            Go on from the checkpoints there, to the same result; begin anew where there are none.

        Raises
        ------
        ConfigError
            No user has two interactions; an input is asked that `data` does not have; see also `clusters_of`, `train`.
        """
        config, training = self.config, self.config.training
        clusters = clusters_of(data, config.clusters)
        below_it = {name: None if checkpoint is None else checkpoint / name for name in ("intent", "within")}
        intent = None
        if not config.intent.is_joint:
            intent = Intent.fit(
                data, clusters, config, stops_early=validate is not None, checkpoint=below_it["intent"], resume=resume
            )
        with prepared(training) as fabric:
            device = fabric.device
            catalogue = Catalogue.of(data, config.inputs)
            torch.manual_seed(training.seed)
            network = DivideNetwork(config, catalogue, len(clusters)).to(device)
            if training.is_compiled:
                network.compile_encoders()
            self._adopt(network, intent or _joint(network, config), catalogue, clusters, data.items.fingerprint())
            self.report = train(
                fabric,
                WithinClusters(network, WithinObjective(config.objective, clusters, data.item_counts, device)),
                DivideBatches(
                    Histories.from_dataset(data, device),
                    clusters,
                    length=config.length,
                    batch_size=training.batch_size,
                    tasks_per_user=None if config.adaptation == "output" else config.tasks_per_user,
                    seed=training.seed,
                    times=config.inputs.reads_times,
                ),
                training,
                Identity(f"{self.kind}:{config_identity(config)}", self._fingerprint, data.checksum()),
                validate=None if validate is None else lambda: self._validated(validate),
                checkpoint=below_it["within"],
                resume=resume,
            )
        self._indexes = None
        return self

    def _validated(self, validate: Callable[[Self], float]) -> float:
        self._indexes = None  # of weights that have moved since
        return validate(self)

    def _adopt(
        self, network: DivideNetwork, intent: Intent, catalogue: Catalogue, clusters: Clusters, fingerprint: str
    ) -> None:
        self._network, self._intent, self._catalogue = network, intent, catalogue
        self._clusters, self._fingerprint, self._indexes = clusters, fingerprint, None

    def with_new_items(self, data: Dataset) -> Divide:
        """The same channel serving the items that `data` has beyond those it was trained on, without training.

        A new item lies where what was chosen just before and after it lies: its vectors are the means of these
        neighbours'. It joins the nearest cluster or, where clusters are of a column, the one of its value. An item that
        no event of `data` has beside a known one keeps a vector of 0, and is seldom found.

        Raises
        ------
        LineageError
            The items of `data` are no continuation of those that the channel was trained on.
        ConfigError
            Items are read with attributes, whose values are codes of the data that it was trained on; or clusters were
            given as labels alone.
        """
        clusters, n_old = self.clusters, len(self.clusters.labels)
        if data.items.fingerprint(n_old) != self._fingerprint:
            raise LineageError(f"{data.name}: its items do not continue those that {self.name} was trained on")
        if self.config.inputs.attributes or self._catalogue is None:
            raise ConfigError(f"{self.name} reads attributes of items: train it again for new ones")
        near = neighbour_means(data, n_old)
        if self.config.clusters.source == "column":
            labels = clusters_of_values(data, self.config.clusters.column, clusters.names)[n_old:]
            grown = clusters.grown(labels, None)
        else:
            placed = near @ (np.zeros((n_old, 1), np.float32) if clusters.vectors is None else clusters.vectors)
            grown = clusters.grown(clusters.nearest(placed), placed)
        other = self.with_merge(self.config.merge, self.config.alpha)
        catalogue = dataclasses.replace(self._catalogue, n_items=len(data.items))
        network, intent = _networks(self.config, catalogue, len(grown))
        olds, news = _saved(self.network, self.intent), _saved(network, intent)
        for (_, old), (_, new) in zip(olds, news, strict=True):
            weights = old.state_dict()
            own = weights["inputs.items.own"].cpu()
            weights["inputs.items.own"] = torch.cat([own, torch.from_numpy((near @ own.numpy()).astype(np.float32))])
            new.load_state_dict(weights)
            new.eval().to(self._device)
        other._adopt(network, intent, catalogue, grown, data.items.fingerprint())
        return other

    # -- retrieval

    @torch.inference_mode()
    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """At most k items, of each cluster as many as the merge gives it. Raises `ValueError` where k is not positive.

        With quotas, see `by_quota`. Calibrated, a score is log p(cluster | user) + log p(item | cluster, user): of all
        items of the cluster under `softmax`, otherwise of all that the history does not hold.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        clusters, indexes, states_of = self.clusters, self.indexes, self.states_of(queries)
        masks = ClusterMasks.of(allowed, clusters, len(queries))
        log_chances = self.intent.of_histories(self._histories(queries))
        if self.config.merge == "quota":
            found, self.passes = by_quota(
                self.name, log_chances, masks, indexes, states_of, k=k, alpha=self.config.alpha
            )
            return found
        log_chances = self.calibration.of_intent(log_chances)
        # Every cluster is encoded and scored whole: none has a quota.
        is_known = np.any(np.isfinite(log_chances), axis=1, keepdims=True)
        asked = np.where(is_known, np.minimum(masks.rooms(), k), 0)
        self.passes = Passes(np.exp(log_chances), asked, int(is_known.sum()) * len(clusters))
        found = likeliest(
            log_chances,
            clusters,
            states_of,
            indexes.vectors,
            k,
            allowed,
            self._left_out(queries),
            self.calibration.items,
        )
        return Candidates.single(self.name, len(queries), found.rows, found.items, found.scores)

    @torch.inference_mode()
    def calibrated_on(self, held_out: HeldOut) -> Divide:
        """The same trained channel with the calibrated merge, its exponents those under which the held-out targets are
        likeliest: chances that are too sure of themselves are made flatter. What is held out must not be trained on."""
        queries = held_out.queries
        log_chances = self.intent.of_histories(self._histories(queries))
        other = self.with_merge("calibrated")
        other.calibration = fit_calibration(
            held_out,
            log_chances,
            self.clusters,
            self.states_of(queries),
            self.indexes.vectors,
            self._left_out(queries),
        )
        return other

    @property
    def indexes(self) -> ClusterIndexes:
        """Of each cluster's items."""
        if self._indexes is None:
            self._indexes = ClusterIndexes(self.network.items.table(), self.clusters, self.config.search)
        return self._indexes

    def states_of(self, queries: Queries) -> StatesOf:
        """Encodes the histories of some rows of `queries`, each for a cluster."""
        histories = self._histories(queries)
        return lambda rows, tasks: self._encode(histories, rows, tasks)

    def _left_out(self, queries: Queries) -> ClusterMasks | None:
        """What has no chance within its cluster, as in training: all that the windows hold, but for `softmax`."""
        if self.config.objective.loss == "softmax":
            return None
        return ClusterMasks.of(Mask.seen(queries.latest(self.config.length)), self.clusters, len(queries))

    def _histories(self, queries: Queries) -> Histories:
        return Histories.from_queries(queries, len(self.clusters.labels), self._device)

    def _encode(self, histories: Histories, rows: NDArray[np.int64], tasks: NDArray[np.int64]) -> Tensor:
        """(m, d) states of some rows, each for a cluster, in as few calls of the encoder as memory allows."""
        asked = torch.from_numpy(tasks).to(histories.device)
        states, is_late = [], self.config.adaptation == "output"
        encoded, of_row = np.unique(rows, return_inverse=True) if is_late else (rows, None)
        for block in blocks_of(histories, np.arange(len(encoded)), self.config.length):
            prompts = None if is_late else asked[torch.from_numpy(block).to(asked.device)]
            states.append(self.network.encode_for(histories, encoded[block], prompts))
        found = torch.cat(states) if states else torch.zeros(0, self.config.dimension, device=histories.device)
        if of_row is not None:
            found = self.network.prompted(found[torch.from_numpy(of_row).to(found.device)], asked)
        return found

    # -- why

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The cluster that each candidate is of, and how likely it was that the user wants it."""
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        rows, row_of = np.unique(candidates.rows[mine], return_inverse=True)
        chances = np.exp(self.intent.of_histories(self._histories(queries.take(rows))))
        labels, names = self.clusters.labels, self.clusters.names
        for at, row in zip(mine.tolist(), row_of.tolist(), strict=True):
            cluster = int(labels[candidates.items[at]])
            reasons[at] = (Reason(self.name, cluster=names[cluster], chance=float(chances[row, cluster])),)
        return reasons

    # -- files

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        tensors: dict[str, NDArray[np.generic]] = {}
        for part, module in _saved(self.network, self.intent):
            weights = module.state_dict()
            tensors |= {f"{part}.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        if self._catalogue is not None:
            tensors |= self._catalogue.tensors()
        clusters = self.clusters
        tensors["clusters.labels"] = clusters.labels
        tensors["clusters.names"] = np.frombuffer(json.dumps(clusters.names).encode(), np.uint8)
        if clusters.vectors is not None:
            tensors["clusters.vectors"] = clusters.vectors
        tensors["calibration"] = np.array(self.calibration, np.float32)
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Uses a GPU where there is one."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)
        catalogue = Catalogue.restore(n_items, config.inputs, tensors)
        names = tuple(json.loads(tensors["clusters.names"].tobytes()))
        clusters = Clusters(np.array(tensors["clusters.labels"]), names, tensors.get("clusters.vectors"))
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        with torch.random.fork_rng(devices=[]):
            network, intent = _networks(config, catalogue, len(clusters))
        for part, module in _saved(network, intent):
            weights = below(tensors, f"{part}.")
            module.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()})
            module.eval().to(device)
        channel._adopt(network, intent, catalogue, clusters, vocabulary.fingerprint(n_items))
        if "calibration" in tensors:
            channel.calibration = Calibration(*tensors["calibration"].tolist())
        return channel


def _joint(network: DivideNetwork, config: DivideConfig) -> Intent:
    return Intent(JointIntentNetwork(network), config)


def _networks(config: DivideConfig, catalogue: Catalogue, n_clusters: int) -> tuple[DivideNetwork, Intent]:
    """Untrained."""
    network = DivideNetwork(config, catalogue, n_clusters)
    if config.intent.is_joint:
        return network, _joint(network, config)
    return network, Intent(IntentNetwork(config, catalogue, n_clusters), config)


def _saved(network: DivideNetwork, intent: Intent) -> list[tuple[str, nn.Module]]:
    """Modules with weights of their own, by name: a joint intent has none."""
    is_joint = isinstance(intent.network, JointIntentNetwork)
    return [("network", network)] if is_joint else [("network", network), ("intent", intent.network)]
