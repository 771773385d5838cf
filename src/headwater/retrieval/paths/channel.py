"""Paths as a channel: training, exact retrieval, and the paths that a candidate owes its score to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError
from headwater.index.exact import Found, best_of
from headwater.nn.checkpoint import Identity
from headwater.nn.devices import numerics, open_fabric, resolve_device
from headwater.nn.negatives import Popularity
from headwater.nn.sequences import Histories, Windows
from headwater.nn.training import TrainingReport, config_identity, train
from headwater.retrieval.artefact import load_artefact, save_artefact
from headwater.retrieval.base import Candidates, Mask, Reason, Reasons
from headwater.retrieval.paths.batches import PathBatch, PathBatches, joined_levels
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.cooccurrence import user_folds
from headwater.retrieval.paths.features import PathFeatures, UserFeatures, length_levels, request_windows
from headwater.retrieval.paths.levels import PairLevels, pair_levels
from headwater.retrieval.paths.losses import candidate_cross_entropy, click_cross_entropy
from headwater.retrieval.paths.network import PathNetwork, Weights
from headwater.retrieval.paths.weights import PathWeights, exported

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRS_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 22}
"""Pairs that SimNet scores at a time, by device."""

WEIGHTS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}
"""Path weights of exact retrieval held at a time, by device."""

KEPT_SIMILARITIES = 1 << 28
"""Similarities of all pairs of items are kept between requests up to so many (1 GiB); else those that are asked."""


class _Task(nn.Module):
    """The network with its loss."""

    def __init__(self, network: PathNetwork) -> None:
        super().__init__()
        self.network = network
        self._loss = candidate_cross_entropy if network.config.loss == "softmax" else click_cross_entropy

    def forward(self, batch: PathBatch) -> Tensor:
        """Mean loss of the whole batch's positives; this process's part of it, times the processes."""
        return self._loss(self.network(batch), batch.is_candidate) * (batch.n_processes / batch.n_positives)


class Paths:
    """User → trigger → item (Li et al., "Path-based Deep Network for Candidate Item Matching", SIGIR 2021).

    score(u, i) = softplus(p_u · q_i) + Σ_j softplus(t_uj + s_ji) over the history (eq. 14 with all triggers and
    all items: exact mode). Inductive: no user needs to be known; a history without a known item is served by the
    direct path alone.

    Parameters
    ----------
    config : PathsConfig
    """

    kind: ClassVar[str] = "paths"
    config_class: ClassVar = PathsConfig

    def __init__(self, config: PathsConfig | None = None) -> None:
        self.config = config or PathsConfig()
        self.report: TrainingReport | None = None
        self._network: PathNetwork | None = None
        self._features: PathFeatures | None = None
        self._pairs: list[PairLevels] = []
        self._fingerprint = ""
        self._similarities: Tensor | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the item vocabulary that it was trained on; empty before `fit`."""
        return self._fingerprint

    @property
    def network(self) -> PathNetwork:
        """The trained network; raises `ConfigError` before `fit` or `load`."""
        if self._network is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._network

    @property
    def features(self) -> PathFeatures:
        """What the network reads of items and users; raises `ConfigError` before `fit` or `load`."""
        if self._features is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._features

    @property
    def _device(self) -> torch.device:
        return self.network.items.own.device

    # -- training

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Count co-occurrence and train on all histories of `data`; `report` then says how it went.

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
        config, training = self.config, self.config.training
        if config.session_gap is not None and data.time_unit != "seconds":
            raise ConfigError(f"{data.name} has positions, not times: leave session_gap out")
        device = resolve_device(training.device)
        with numerics(device, training.precision, is_deterministic=training.is_deterministic):
            fabric = open_fabric(training.device, training.precision)
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
            served = [of_some.served(device) for of_some in pairs]
            self._adopt(network.to(device), features, served, data.items.fingerprint())
            identity = Identity(f"{self.kind}:{config_identity(config)}", self._fingerprint, data.checksum())
            self.report = train(
                fabric,
                _Task(network),
                batches,
                training,
                identity,
                validate=None if validate is None else lambda: self._validated(validate),
                checkpoint=checkpoint,
                resume=resume,
            )
        self._similarities = None
        return self

    def _validated(self, validate: Callable[[Self], float]) -> float:
        self._similarities = None  # of weights that have moved since
        value = validate(self)
        self._similarities = None
        return value

    def _adopt(self, network: PathNetwork, features: PathFeatures, pairs: list[PairLevels], fingerprint: str) -> None:
        self._network, self._features, self._pairs, self._fingerprint = network, features, pairs, fingerprint
        self._similarities = None

    # -- retrieval

    @torch.inference_mode()
    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The k items of highest score, all items scored. Raises `ValueError` where k is not positive.

        Without a Direct Net, a history without a known item has no candidates.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        parts: list[Found] = []
        for start, scores in self._scores(queries):
            parts.append(best_of(scores, k, allowed=allowed, start=start))
        if not parts:
            return Candidates.empty(self.name, len(queries))
        rows, items, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Candidates.single(self.name, len(queries), rows, items, scores)

    def _scores(self, queries: Queries) -> Iterator[tuple[int, Tensor]]:
        """(first row, (b, items) scores) of successive queries."""
        network, device = self.network, self._device
        histories = Histories.from_queries(queries, self.features.catalogue.n_items, device)
        everything = torch.arange(self.features.catalogue.n_items, device=device)
        widest = int(np.minimum(histories.lengths, self.config.length).max(initial=1))
        width = len(everything) * max(widest, 1) * self.config.path_dimension
        size = max(1, WEIGHTS_AT_ONCE.get(device.type, 1 << 23) // max(width, 1))
        vectors = None if network.direct is None else network.direct.item(network.direct.items())
        for start in range(0, len(queries), size):
            rows = np.arange(start, min(start + size, len(queries)))
            users, windows = self._requests(queries, histories, rows)
            t = network.interests(users, windows)
            s = self._rows_of_similarities(windows.items, everything)
            scores = network.merged(t[:, :, None], s, windows.is_event[..., None]).sum(1)
            if network.direct is not None and vectors is not None:
                scores += functional.softplus(network.direct.vectors(users, windows) @ vectors.T)
            else:
                scores[windows.counts == 0] = -torch.inf
            yield start, scores

    def _requests(
        self, queries: Queries, histories: Histories, rows: NDArray[np.int64]
    ) -> tuple[UserFeatures, Windows]:
        windows = request_windows(histories, rows, self.config.length, times=self.config.inputs.reads_times)
        of_users = self.features.user_rows(queries.user_keys[rows])
        users = UserFeatures(
            torch.from_numpy(of_users).to(self._device),
            torch.from_numpy(length_levels(histories.lengths[rows])).to(self._device),
        )
        return users, windows

    def _rows_of_similarities(self, triggers: Tensor, everything: Tensor) -> Tensor:
        """(b, w, items, path dimension) of triggers (b, w)."""
        if len(everything) ** 2 * self.config.path_dimension <= KEPT_SIMILARITIES:
            if self._similarities is None:
                self._similarities = self._similarities_of(everything, everything)
            return self._similarities[triggers]
        some, at = triggers.unique(return_inverse=True)
        return self._similarities_of(some, everything)[at]

    def _similarities_of(self, triggers: Tensor, targets: Tensor) -> Tensor:
        """(m, n, path dimension) s of every trigger with every target."""
        network = self.network
        left = network.similarity.trigger(network.items(triggers))
        right = network.similarity.target(network.items(targets))
        size = max(1, PAIRS_AT_ONCE.get(self._device.type, 1 << 17) // max(len(targets), 1))
        parts = []
        for start in range(0, len(triggers), size):
            some = slice(start, start + size)
            levels = joined_levels(self._pairs, -1, triggers[some, None], targets[None])
            parts.append(network.similarity(left[some, None], right[None], levels).float())
        return torch.cat(parts)

    @torch.inference_mode()
    def score_pairs(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(m,) s_ji of each (trigger, target) pair, eq. 9: what an item-to-item index is built of.

        Raises `ConfigError` where hops are vectors: they have no similarity without a user.
        """
        if self.config.is_vector:
            raise ConfigError("vectors of a path have no similarity of their own; train with path_dimension = 1")
        network, size = self.network, PAIRS_AT_ONCE.get(self._device.type, 1 << 17)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(triggers), size):
            left, right = (
                torch.from_numpy(codes[start : start + size].astype(np.int64)).to(self._device)
                for codes in (triggers, targets)
            )
            projected = (
                network.items.projected(network.similarity.trigger, left),
                network.items.projected(network.similarity.target, right),
            )
            levels = joined_levels(self._pairs, -1, left, right)
            parts.append(network.similarity(*projected, levels)[..., 0].float().cpu().numpy())
        return np.concatenate(parts)

    @property
    def n_items(self) -> int:
        """Items that it was trained on; codes above are unknown to it."""
        return self.features.catalogue.n_items

    @torch.inference_mode()
    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """softplus(s_ji), SimNet alone; see `headwater.retrieval.item_to_item.HasSimilarities`.

        Raises `ConfigError` where hops are vectors: they have no similarity without a user.
        """
        if self.config.is_vector:
            raise ConfigError("vectors of a path have no similarity of their own; train with path_dimension = 1")
        left = torch.from_numpy(np.asarray(triggers, np.int64)).to(self._device)
        everything = torch.arange(self.n_items, device=self._device)
        if targets is None:
            s = self._rows_of_similarities(left, everything)
        else:
            s = self._similarities_of(left, torch.from_numpy(np.asarray(targets, np.int64)).to(self._device))
        return functional.softplus(s[..., 0]).cpu().numpy()

    @torch.inference_mode()
    def latest_interests(self, queries: Queries) -> NDArray[np.float32]:
        """(n,) t_uj, eq. 8, of each query's latest known event; nan where there is none.

        Raises `ConfigError` where hops are vectors.
        """
        if self.config.is_vector:
            raise ConfigError("vectors of a path are no weights; train with path_dimension = 1")
        histories = Histories.from_queries(queries, self.n_items, self._device)
        size = max(1, PAIRS_AT_ONCE.get(self._device.type, 1 << 17) // self.config.length)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(queries), size):
            rows = np.arange(start, min(start + size, len(queries)))
            users, windows = self._requests(queries, histories, rows)
            t = self.network.interests(users, windows)[..., 0]
            latest = t.gather(1, (windows.counts - 1).clamp(min=0)[:, None])[:, 0]
            parts.append(latest.masked_fill(windows.counts == 0, torch.nan).cpu().numpy())
        return np.concatenate(parts)

    # -- why

    @torch.inference_mode()
    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """Every path that leads to a candidate, strongest first; share times score is the path's weight.

        A trigger that stands in the history several times has the sum of its paths. The direct path has no
        trigger; where there is no history, it is all.
        """
        reasons: Reasons = [() for _ in range(len(candidates))]
        mine = np.flatnonzero(candidates.found_by(self.name))
        if not len(mine):
            return reasons
        histories = Histories.from_queries(queries, self.features.catalogue.n_items, self._device)
        size = max(1, PAIRS_AT_ONCE.get(self._device.type, 1 << 17) // self.config.length)
        for start in range(0, len(mine), size):
            some = mine[start : start + size]
            items = torch.from_numpy(candidates.items[some].astype(np.int64)).to(self._device)[:, None]
            users, windows = self._requests(queries, histories, candidates.rows[some].astype(np.int64))
            levels = joined_levels(self._pairs, -1, windows.items[:, None], items[:, :, None])
            weights = self.network.weights(users, windows, items, levels)
            for at, found in zip(some.tolist(), self._reasons(windows, weights), strict=True):
                reasons[at] = found
        return reasons

    def _reasons(self, windows: Windows, weights: Weights) -> Iterator[tuple[Reason, ...]]:
        paths = weights.paths[:, 0].double().cpu().numpy()
        direct = np.zeros(len(paths)) if weights.direct is None else weights.direct[:, 0].double().cpu().numpy()
        for triggers, of_paths, of_direct in zip(windows.items.cpu().numpy(), paths, direct, strict=True):
            of: dict[int | None, float] = {None: float(of_direct)}
            for trigger, weight in zip(triggers.tolist(), of_paths.tolist(), strict=True):
                of[trigger] = of.get(trigger, 0.0) + weight
            total = sum(of.values())
            found = [Reason(self.name, weight / total, trigger) for trigger, weight in of.items() if weight > 0]
            yield tuple(sorted(found, key=lambda reason: -reason.share)) or (Reason(self.name),)

    # -- files

    def export(self) -> PathWeights:
        """Plain arrays for retrieval without torch; see `PathWeights`."""
        return exported(self.network, self.features)

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        tensors |= {f"features.{name}": values for name, values in self.features.tensors().items()}
        for at, pairs in enumerate(self._pairs):
            tensors |= {f"pairs.{at}.{name}": values for name, values in pairs.tensors().items()}
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._fingerprint, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Uses a GPU where there is one."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        channel = cls(config)
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        features = PathFeatures.restore(n_items, config.inputs, config.user_attributes, _below(tensors, "features."))
        n_pairs = len({name.split(".")[1] for name in tensors if name.startswith("pairs.")})
        pairs = [PairLevels.restore(_below(tensors, f"pairs.{at}."), device) for at in range(n_pairs)]
        with torch.random.fork_rng(devices=[]):
            network = PathNetwork(config, features, tuple(size for of_some in pairs for size in of_some.sizes))
        weights = _below(tensors, "network.")
        network.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
        channel._adopt(network.eval().to(device), features, pairs, vocabulary.fingerprint(n_items))
        return channel


def _below(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _mean_triggers(lengths: NDArray[np.int64], length: int) -> float:
    """Triggers of a training example, over all positions: of a user's n events the p-th has min(p, length)."""
    n = np.maximum(lengths - 1, 0)
    short = np.minimum(n, length)
    total = (short * (short + 1) // 2 + (n - short) * length).sum()
    return float(total / max(int(n.sum()), 1))
