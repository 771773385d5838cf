"""A trained path network with what it reads: scores of all items, similarities of pairs, weights of paths. Torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.index.exact import Found, best_of
from headwater.nn.devices import resolve_device
from headwater.nn.sequences import Histories, Windows
from headwater.retrieval.artefact import below
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.paths.batches import joined_levels
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.export import exported
from headwater.retrieval.paths.features import PathFeatures, UserFeatures, length_levels, request_windows
from headwater.retrieval.paths.levels import PairLevels
from headwater.retrieval.paths.network import PathNetwork
from headwater.retrieval.paths.reasons import path_reasons
from headwater.retrieval.paths.weights import PathWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRS_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 22}
"""Pairs that SimNet scores at a time, by device."""

WEIGHTS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}
"""Path weights of exact retrieval held at a time, by device."""

KEPT_SIMILARITIES = 1 << 28
"""Similarities of all pairs of items are kept between requests up to so many (1 GiB); else those that are asked."""


class PathModel:
    """The network, the features of items and users, and the co-occurrence of pairs, on one device.

    Parameters
    ----------
    config : PathsConfig
    network : PathNetwork
    features : PathFeatures
    pairs : list of PairLevels
        What serving reads: counts of all users.
    """

    def __init__(
        self, config: PathsConfig, network: PathNetwork, features: PathFeatures, pairs: list[PairLevels]
    ) -> None:
        self.config, self.network, self.features, self.pairs = config, network, features, pairs
        self._similarities: Tensor | None = None

    def under(self, config: PathsConfig) -> PathModel:
        """The same model under other settings of serving."""
        return PathModel(config, self.network, self.features, self.pairs)

    @property
    def device(self) -> torch.device:
        return self.network.items.own.device

    def has_moved(self) -> None:
        """Forget what was computed of weights that have changed since."""
        self._similarities = None

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
            return Candidates.empty(self.config.name, len(queries))
        rows, items, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Candidates.single(self.config.name, len(queries), rows, items, scores)

    def _scores(self, queries: Queries) -> Iterator[tuple[int, Tensor]]:
        """(first row, (b, items) scores) of successive queries."""
        network, device = self.network, self.device
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
            torch.from_numpy(of_users).to(self.device),
            torch.from_numpy(length_levels(histories.lengths[rows])).to(self.device),
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
        size = max(1, PAIRS_AT_ONCE.get(self.device.type, 1 << 17) // max(len(targets), 1))
        parts = []
        for start in range(0, len(triggers), size):
            some = slice(start, start + size)
            levels = joined_levels(self.pairs, -1, triggers[some, None], targets[None])
            parts.append(network.similarity(left[some, None], right[None], levels).float())
        return torch.cat(parts)

    @torch.inference_mode()
    def score_pairs(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(m,) s_ji of each (trigger, target) pair, eq. 9: what an item-to-item index is built of.

        Raises `ConfigError` where hops are vectors: they have no similarity without a user.
        """
        if self.config.is_vector:
            raise ConfigError("vectors of a path have no similarity of their own; train with path_dimension = 1")
        network, size = self.network, PAIRS_AT_ONCE.get(self.device.type, 1 << 17)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(triggers), size):
            left, right = (
                torch.from_numpy(codes[start : start + size].astype(np.int64)).to(self.device)
                for codes in (triggers, targets)
            )
            projected = (
                network.items.projected(network.similarity.trigger, left),
                network.items.projected(network.similarity.target, right),
            )
            levels = joined_levels(self.pairs, -1, left, right)
            parts.append(network.similarity(*projected, levels)[..., 0].float().cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def similarities(
        self, triggers: NDArray[np.integer], targets: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """(triggers, targets) softplus(s_ji); all items are targets where none are given. See `Paths.similarities`."""
        if self.config.is_vector:
            raise ConfigError("vectors of a path have no similarity of their own; train with path_dimension = 1")
        left = torch.from_numpy(np.asarray(triggers, np.int64)).to(self.device)
        if targets is None:
            s = self._rows_of_similarities(left, torch.arange(self.features.catalogue.n_items, device=self.device))
        else:
            s = self._similarities_of(left, torch.from_numpy(np.asarray(targets, np.int64)).to(self.device))
        return functional.softplus(s[..., 0]).cpu().numpy()

    @torch.inference_mode()
    def latest_interests(self, queries: Queries) -> NDArray[np.float32]:
        """(n,) t of each query's latest known event; see `Paths.latest_interests`."""
        if self.config.is_vector:
            raise ConfigError("vectors of a path are no weights; train with path_dimension = 1")
        histories = Histories.from_queries(queries, self.features.catalogue.n_items, self.device)
        size = max(1, PAIRS_AT_ONCE.get(self.device.type, 1 << 17) // self.config.length)
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
        mine = np.flatnonzero(candidates.found_by(self.config.name))
        if not len(mine):
            return reasons
        histories = Histories.from_queries(queries, self.features.catalogue.n_items, self.device)
        size = max(1, PAIRS_AT_ONCE.get(self.device.type, 1 << 17) // self.config.length)
        for start in range(0, len(mine), size):
            some = mine[start : start + size]
            items = torch.from_numpy(candidates.items[some].astype(np.int64)).to(self.device)[:, None]
            users, windows = self._requests(queries, histories, candidates.rows[some].astype(np.int64))
            levels = joined_levels(self.pairs, -1, windows.items[:, None], items[:, :, None])
            weights = self.network.weights(users, windows, items, levels)
            triggers, paths = windows.items.tolist(), weights.paths[:, 0].double().tolist()
            direct = [0.0] * len(some) if weights.direct is None else weights.direct[:, 0].double().tolist()
            for row, at in enumerate(some.tolist()):
                reasons[at] = path_reasons(self.config.name, triggers[row], paths[row], direct[row])
        return reasons

    # -- arrays

    def export(self) -> PathWeights:
        """Plain arrays for retrieval without torch; see `PathWeights`."""
        return exported(self.network, self.features)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays for an artefact, from which `restore` builds the same model."""
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        tensors |= {f"features.{name}": values for name, values in self.features.tensors().items()}
        for at, pairs in enumerate(self.pairs):
            tensors |= {f"pairs.{at}.{name}": values for name, values in pairs.tensors().items()}
        return tensors

    @classmethod
    def restore(cls, config: PathsConfig, tensors: dict[str, NDArray[Any]], n_items: int) -> Self:
        """What `tensors` wrote; on a GPU where there is one."""
        device = resolve_device("cpu" if config.training.device == "cpu" else "auto")
        features = PathFeatures.restore(n_items, config.inputs, config.user_attributes, below(tensors, "features."))
        n_pairs = len({name.split(".")[1] for name in tensors if name.startswith("pairs.")})
        pairs = [PairLevels.restore(below(tensors, f"pairs.{at}."), device) for at in range(n_pairs)]
        with torch.random.fork_rng(devices=[]):
            network = PathNetwork(config, features, tuple(size for of_some in pairs for size in of_some.sizes))
        weights = below(tensors, "network.")
        network.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
        return cls(config, network.eval().to(device), features, pairs)
