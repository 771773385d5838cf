"""What every channel over a trained network does around it: fit, retrieve, explain, save, load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.index.vector import VectorIndex
from headwater.nn.batches import Batches
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import prepared, resolve_device
from headwater.nn.inputs import Catalogue, EventInputs, InputConfig
from headwater.nn.objective import ItemVectors, Objective, ObjectiveConfig
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingConfig, TrainingReport, config_identity, train
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates, ChannelSettings, Mask, Reason, Reasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENS_AT_ONCE = {"cpu": 1 << 14, "cuda": 1 << 19}
"""Events encoded at a time when retrieving, by device: memory stays bounded whatever is asked."""


class LearnedConfig(ChannelSettings):
    """Settings of every channel over a trained network."""

    length: int = Field(default=200, ge=2)
    """Events read of a history: the latest ones; what is older is not seen. 50 does for short histories; ML-1M
    (165 on average) gains up to 200."""

    dimension: int = Field(default=128, ge=1)
    """d, of items and states (64..256)."""

    inputs: InputConfig = InputConfig()
    """What is read of an event beside item and position."""

    objective: ObjectiveConfig = ObjectiveConfig()
    """What training minimises."""

    training: TrainingConfig = TrainingConfig()
    """How."""

    search: Literal["auto", "exact", "ivf", "hnsw"] = "auto"
    """How items are found; see `headwater.index.vector`."""

    explained_events: int = Field(default=10, ge=1)
    """Latest events that a reason can name: explaining encodes the history once without each of them."""


C = TypeVar("C", bound=LearnedConfig)


class LearnedNetwork(nn.Module, ABC):
    """Reads histories through `inputs` and gives states whose inner products with items' vectors are scores."""

    inputs: EventInputs

    @property
    def items(self) -> ItemVectors:
        """The vectors that states are compared with: the inputs' own, unless a model has others."""
        return self.inputs.items

    @property
    def core(self) -> nn.Module:
        """The part that `is_compiled` compiles."""
        return self

    @abstractmethod
    def loss(self, batch: Any, objective: Objective) -> Tensor:
        """Sum of the losses of the positives of a batch, of the kind that the channel's batches are."""

    @abstractmethod
    def encode(self, histories: Histories, rows: NDArray[np.int64]) -> Tensor:
        """What each history, of at least one event, leaves for the next item: (b, d), or (b, v, d) for v vectors."""


class Task(nn.Module):
    """A network with its objective: called with a batch, gives its loss."""

    def __init__(self, network: LearnedNetwork, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self._objective = objective

    def forward(self, batch: Any) -> Tensor:
        """Mean loss of the whole batch's positives; this process's part of it, times the processes."""
        return self.network.loss(batch, self._objective) * (batch.n_processes / batch.n_positives)


class LearnedChannel(ABC, Generic[C]):
    """A channel over a network that reads histories. Inductive: no user needs to be known.

    A history without a known item has no candidates. Scores are the network's logits; of several vectors of a user
    the best one counts.

    Parameters
    ----------
    config : LearnedConfig
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[LearnedConfig]]

    def __init__(self, config: C | None = None) -> None:
        self.config: C = config or self.config_class()  # type: ignore[assignment,call-arg]
        self.report: TrainingReport | None = None
        self._network: LearnedNetwork | None = None
        self._catalogue: Catalogue | None = None
        self._fingerprint = ""
        self._index: VectorIndex | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def network(self) -> LearnedNetwork:
        """The trained network; raises `ConfigError` before `fit` or `load`."""
        if self._network is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._network

    @abstractmethod
    def _new_network(self, catalogue: Catalogue) -> LearnedNetwork: ...

    @abstractmethod
    def _batches(self, histories: Histories) -> Batches: ...

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on all histories of `data`; `report` then says how it went.

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
            No user has two interactions; an input is asked that `data` does not have; see also `train`.
        """
        training = self.config.training
        with prepared(training) as fabric:
            device = fabric.device
            catalogue = Catalogue.of(data, self.config.inputs)
            torch.manual_seed(training.seed)
            network = self._new_network(catalogue)
            if training.is_compiled:
                network.core.compile()
            self._adopt(network.to(device), catalogue, data.items.fingerprint())
            histories = Histories.from_dataset(data, device)
            identity = Identity(f"{self.kind}:{config_identity(self.config)}", self._fingerprint, data.checksum())
            self.report = train(
                fabric,
                Task(network, Objective(self.config.objective, data.item_counts, device)),
                self._batches(histories),
                training,
                identity,
                validate=None if validate is None else lambda: self._validated(validate),
                checkpoint=checkpoint,
                resume=resume,
            )
        self._index = None
        return self

    def _validated(self, validate: Callable[[Self], float]) -> float:
        self._index = None  # of weights that have moved since
        return validate(self)

    def _adopt(self, network: LearnedNetwork, catalogue: Catalogue, fingerprint: str) -> None:
        self._network, self._catalogue, self._fingerprint, self._index = network, catalogue, fingerprint, None

    @torch.inference_mode()
    def encode(self, queries: Queries) -> tuple[NDArray[np.int64], Tensor]:
        """States of the queries that have a known item.

        Returns
        -------
        rows : (m,) int64
            Those queries.
        states : (m, d) or (m, v, d)
            On the network's device.
        """
        items = self.network.inputs.items
        histories = Histories.from_queries(queries, items.n_items, items.own.device)
        rows = np.flatnonzero(histories.lengths)
        states = [self.network.encode(histories, block) for block in blocks_of(histories, rows, self.config.length)]
        return rows, torch.cat(states) if states else torch.zeros(0, self.config.dimension, device=items.own.device)

    @torch.inference_mode()
    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k items that the network expects next. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if self._index is None:
            self._index = VectorIndex(self.network.items.table(), method=self.config.search)
        rows, states = self.encode(queries)
        if not len(rows):
            return Candidates.empty(self.name, len(queries))
        found = self._index.search(states, k, allowed=None if allowed is None else _rows_of(allowed, rows))
        return Candidates.single(self.name, len(queries), rows[found.rows], found.items, found.scores)

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it."""
        return self.network.inputs.items.n_items

    @torch.inference_mode()
    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """Inner products of the items' vectors; see `headwater.retrieval.item_to_item.HasSimilarities`."""
        vectors = self.network.items.table().float()
        left = vectors[torch.from_numpy(np.asarray(triggers, np.int64)).to(vectors.device)]
        if targets is not None:
            vectors = vectors[torch.from_numpy(np.asarray(targets, np.int64)).to(vectors.device)]
        return (left @ vectors.T).cpu().numpy()

    @torch.inference_mode()
    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """The events that a candidate owes its score to: how far it falls when the history is read without each.

        Leave-one-out over the `explained_events` latest events, so a reason is a counterfactual of the network
        itself and not a guess from attention. A trigger's share is its fall over the sum of all falls; events
        whose absence raises the score are left out. Where no event's absence lowers it, the reason has no trigger.
        Meant for the few final candidates: it encodes each of their histories that often.
        """
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        if not len(mine):
            return reasons
        rows, row_of = np.unique(candidates.rows[mine], return_inverse=True)
        variants, triggers, starts = without_each(queries, rows, self.network.inputs.items.n_items, self.config)
        kept, states = self.encode(variants)
        vectors = self.network.items.table()
        whole = torch.zeros(len(variants), *states.shape[1:], device=states.device)
        whole[torch.from_numpy(kept).to(states.device)] = states
        for at, row in zip(mine.tolist(), row_of.tolist(), strict=True):
            products = whole[starts[row] : starts[row + 1]] @ vectors[int(candidates.items[at])]
            scores = products.reshape(len(products), -1).amax(1).double().cpu().numpy()
            falls: dict[int, float] = {}
            for trigger, fall in zip(triggers[row], (scores[0] - scores[1:]).tolist(), strict=True):
                falls[trigger] = falls.get(trigger, 0.0) + fall
            total = sum(fall for fall in falls.values() if fall > 0)
            found = [Reason(self.name, fall / total, trigger) for trigger, fall in falls.items() if fall > 0]
            found.sort(key=lambda reason: -reason.share)
            reasons[at] = tuple(found) or (Reason(self.name),)
        return reasons

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        if self._catalogue is not None:
            tensors |= self._catalogue.tensors()
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Uses a GPU where there is one."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)  # type: ignore[arg-type]
        catalogue = Catalogue.restore(n_items, config.inputs, tensors)
        with torch.random.fork_rng(devices=[]):
            network = channel._new_network(catalogue)
        weights = {
            name.removeprefix("network."): torch.from_numpy(np.array(tensor))
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
        network.load_state_dict(weights)
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        channel._adopt(network.eval().to(device), catalogue, vocabulary.fingerprint(n_items))
        return channel


def blocks_of(histories: Histories, rows: NDArray[np.int64], length: int) -> list[NDArray[np.int64]]:
    """The rows in blocks whose windows of `length` events can be encoded at a time; see `TOKENS_AT_ONCE`."""
    widest = int(np.minimum(histories.lengths, length).max(initial=1))
    size = max(1, TOKENS_AT_ONCE.get(histories.device.type, 1 << 14) // widest)
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def without_each(
    queries: Queries, rows: NDArray[np.integer], n_items: int, config: LearnedConfig
) -> tuple[Queries, list[list[int]], NDArray[np.int64]]:
    """Each row's window, then the window without each of its latest events.

    Returns
    -------
    variants : Queries
        Row r's are starts[r]:starts[r + 1], the whole window first.
    triggers : list of lists of int
        The item left out of each variant but the first.
    starts : (rows + 1,) int64
    """
    owners: list[NDArray[np.int64]] = []
    triggers: list[list[int]] = []
    sources: list[int] = []
    for row in rows.tolist():
        events = np.arange(int(queries.offsets[row]), int(queries.offsets[row + 1]))
        events = events[(queries.items[events] >= 0) & (queries.items[events] < n_items)][-config.length :]
        dropped = range(len(events) - 1, max(-1, len(events) - 1 - config.explained_events), -1)
        owners += [events, *(np.delete(events, at) for at in dropped)]
        triggers.append([int(queries.items[events[at]]) for at in dropped])
        sources += [row] * (1 + len(triggers[-1]))
    at = np.concatenate([np.zeros(0, np.int64), *owners])
    variants = Queries(
        users=queries.users[sources],
        user_keys=queries.user_keys[sources],
        offsets=np.concatenate([[0], np.cumsum([len(events) for events in owners])]).astype(np.int64),
        items=queries.items[at],
        times=queries.times[at],
        behaviours=queries.behaviours[at],
        request_times=queries.request_times[sources],
        scenarios=tuple(queries.scenarios[row] for row in sources),
        ratings=None if queries.ratings is None else queries.ratings[at],
    )
    starts = np.concatenate([[0], np.cumsum([1 + len(listed) for listed in triggers])]).astype(np.int64)
    return variants, triggers, starts


def _rows_of(allowed: Mask, rows: NDArray[np.int64]) -> Mask:
    """The mask of some of its rows, ascending."""
    if len(rows) == len(allowed):
        return allowed
    sizes = np.diff(allowed.offsets)
    is_kept = np.zeros(len(allowed), bool)
    is_kept[rows] = True
    begin, end = allowed.offsets[0], allowed.offsets[-1]
    return Mask(
        np.concatenate([[0], np.cumsum(sizes[rows])]).astype(np.int64),
        allowed.items[begin:end][np.repeat(is_kept, sizes)],
        allowed.is_allowlist,
        allowed.catalogue,
    )
