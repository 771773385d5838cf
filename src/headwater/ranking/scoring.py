"""Scoring candidates from arrays alone, in one thread: no torch.

User, context and history parts are computed once a request and item parts are looked up, so what is left for each
candidate is its activation unit over the events and the tower behind the first layer.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from headwater.data.impressions import UNSEEN
from headwater.data.levels import CLOCK, clock_context
from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.ranking.config import SERVICE_CONTEXT, NetworkConfig
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.scoring_kernels import add_and_rectify, target_matrices, unit_outputs
from headwater.ranking.weights import ActivationWeights, RankerWeights, UnitWeights
from headwater.ranking.windows_kernels import fill_searched
from headwater.retrieval.artefact import below, map_tensors, write_tensors
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

SERVED = "served.safetensors"
"""What a request reads of weights and features."""

CANDIDATES_AT_ONCE = 32
"""Candidates whose activation units are computed at a time: their hidden layers stay in the cache."""

PRODUCTS_AT_ONCE = 1 << 18
"""Multiplications of one matrix product: up to so many OpenBLAS, which numpy brings, does alone."""


class Scorer:
    """A trained ranker in the form that serves.

    Parameters
    ----------
    config : NetworkConfig
    features : RankingFeatures
    weights : RankerWeights

    Raises
    ------
    ConfigError
        The ranker reads a feature that no request has.
    """

    def __init__(self, config: NetworkConfig, features: RankingFeatures, weights: RankerWeights) -> None:
        self.config, self.features, self.weights = config, features, weights
        self._values = None if config.search is None else features.first_values(config.search.attribute)

    def score(
        self, queries: Queries, candidates: Candidates, knowledge: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """(len(candidates),) logits; `knowledge` is what a plug reads of each candidate, (len(candidates), k)."""
        events = self.features.item_rows(queries.items)
        users = self.features.user_rows_of_keys(queries.user_keys)
        context = self._context(queries)
        targets = self.features.item_rows(candidates.items)
        found = np.empty(len(candidates), np.float32)
        # One by one: products of another shape may round otherwise, and a batch is to answer as its queries do.
        for row in np.unique(candidates.rows).tolist():
            own = slice(*np.searchsorted(candidates.rows, [row, row + 1]))
            history = events[queries.offsets[row] : queries.offsets[row + 1]]
            known = None if knowledge is None else knowledge[own]
            found[own] = self.score_one(int(users[row]), context[row], history, targets[own], known)
        return found

    def score_one(
        self,
        user: int,
        context: NDArray[np.int64],
        history: NDArray[np.int64],
        targets: NDArray[np.int64],
        knowledge: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Logits (m,) of one request.

        Parameters
        ----------
        user : int
            Row of `RankingFeatures`, as are the others.
        context : (features,) int64
            Levels, in the order of the config.
        history : (n,) int64
            All events, oldest first.
        targets : (m,) int64
        knowledge : (m, k) float32, optional
            What the plug reads, of a ranker that has one.
        """
        weights = self.weights
        added, after = self._added(knowledge), int(weights.plugged[0])
        hidden = weights.first_items.take(targets, axis=0)
        request = weights.first_bias + weights.users[user] @ weights.first_users
        for level, table in zip(context.tolist(), weights.first_context.values(), strict=True):
            request += table[level]
        latest = history[-self.config.length :]
        latest = latest[latest != NOBODY]
        events = weights.items.take(latest, axis=0)
        if len(latest):
            first = events @ weights.first_interest  # of each event, so that interest itself is never needed
            hidden += _product(self._interest(weights.unit, events, targets), first)
        if weights.search_unit is not None:
            hidden += _product(self._searched(weights.search_unit, history, targets), weights.first_searched)
        if weights.coactions is not None:
            hidden += _product(self._coactions(user, latest, targets), weights.first_coactions)
        _activate(hidden, request, weights.first_activation)
        if after == 1:
            hidden += added
        for at, layer in enumerate(weights.layers, start=2):
            hidden = _product(hidden, layer.weight)
            _activate(hidden, layer.bias, layer.activation)
            if after == at:
                hidden += added
        return hidden @ weights.output + weights.output_bias[0]

    def _added(self, knowledge: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(m, w) what the plug adds (eq. 5 of KEEP); raises `ConfigError` where knowledge and plug do not fit."""
        plug = self.weights.plug
        if plug is None:
            return np.zeros(0, np.float32)
        if knowledge is None or knowledge.shape[1] != len(plug.mean):
            given = "none" if knowledge is None else f"{knowledge.shape[1]} wide"
            raise ConfigError(f"{self.config.name} reads knowledge {len(plug.mean)} wide, and what is given is {given}")
        hidden = _product((knowledge - plug.mean) / plug.scale, plug.project)
        add_and_rectify(hidden, plug.bias, plug.slope)
        return _product(hidden, plug.output) + plug.output_bias

    def _interest(
        self, unit: UnitWeights, events: NDArray[np.float32], targets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """a(q, k) of each target and event, (m, n); `events` (n, d) are all targets', or (m, n, d) each one's own."""
        n, (width, units) = events.shape[-2], unit.key.shape
        found = np.empty((len(targets), n), np.float32)
        rows = max(1, PRODUCTS_AT_ONCE // (width * units))
        for start in range(0, len(targets), CANDIDATES_AT_ONCE):
            some = slice(start, min(start + CANDIDATES_AT_ONCE, len(targets)))
            own = targets[some]
            matrices = np.empty((len(own), width, units), np.float32)
            target_matrices(own, self.weights.items, unit.key, unit.product, matrices)
            hidden = np.empty((len(own), n, units), np.float32)
            theirs = events if events.ndim == 2 else events[some]
            for first in range(0, n, rows):
                np.matmul(theirs[..., first : first + rows, :], matrices, out=hidden[:, first : first + rows])
            if len(unit.activation.mean):
                hidden += unit.constants[own][:, None]
                found[some] = _dice(hidden, unit.activation) @ unit.output + unit.bias[0]
            else:
                unit_outputs(own, hidden, unit.constants, unit.activation.slope, unit.output, unit.bias[0], found[some])
        return found

    def _searched(
        self, unit: UnitWeights, history: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """(m, d) interest in the events that share the target's attribute."""
        search = self.config.search
        assert search is not None
        assert self._values is not None
        latest = (history[-search.length :] - 1).astype(np.int32)
        ends = np.full(len(targets), len(latest), np.int64)
        rows = np.empty((len(targets), search.kept), np.int64)
        fill_searched(np.zeros_like(ends), ends, latest, targets, self._values, rows)
        rows = rows[:, : max(int((rows != NOBODY).sum(1).max(initial=0)), 1)]
        events = self.weights.items.take(rows, axis=0)
        shares = self._interest(unit, events, targets)
        return np.matmul(shares[:, None], events)[:, 0]

    def _coactions(self, user: int, latest: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, ·) co-actions of each target with the user's fields, and with the events."""
        coactions, config = self.weights.coactions, self.config
        assert coactions is not None
        widths: tuple[int, ...] = config.coaction_widths  # type: ignore[attr-defined]
        orders: int = config.coaction_orders  # type: ignore[attr-defined]
        parameters = coactions.items.take(targets, axis=0)
        layers, at = [], 0
        for width_in, width in pairwise(widths):
            weight = parameters[:, at : at + width_in * width].reshape(-1, width_in, width)
            at += width_in * width
            layers.append((weight, parameters[:, at : at + width]))
            at += width
        partners = [field[None] for field in coactions.users[user].reshape(-1, widths[0])]
        partners.append(coactions.events.take(latest, axis=0))
        *inner, (last_weight, last_bias) = layers
        found = []
        for several in partners:
            for order in range(1, orders + 1):
                hidden = np.broadcast_to(several[:, None] ** order, (len(several), len(targets), widths[0]))
                for at, (weight, bias) in enumerate(inner):
                    if at:
                        hidden = np.matmul(hidden.transpose(1, 0, 2), weight).transpose(1, 0, 2)
                    else:  # one product for all targets
                        beside = weight.transpose(1, 0, 2).reshape(widths[0], -1)
                        hidden = _product(several**order, beside).reshape(len(several), *bias.shape)
                    hidden = np.tanh(hidden + bias)
                total = np.ascontiguousarray(hidden.sum(0))
                found.append(np.matmul(total[:, None], last_weight)[:, 0] + last_bias * np.float32(len(several)))
        return np.concatenate(found, 1)

    def _context(self, queries: Queries) -> NDArray[np.int64]:
        """(n, features) levels of each request."""
        found = np.full((len(queries), len(self.features.context_levels)), UNSEEN, np.int64)
        for at, (name, levels) in enumerate(self.features.context_levels.items()):
            place = {level: number for number, level in enumerate(levels)}
            found[:, at] = [place.get(value, UNSEEN) for value in _said(queries, name)]
        return found

    # -- files

    def write(self, path: Path) -> str:
        """Write what `load` reads, for `save_artefact`; its checksum."""
        features = {f"features.{name}": values for name, values in self.features.tensors().items()}
        return write_tensors(path, {**self.weights.tensors(), **features})

    @classmethod
    def load(cls, path: Path, checksum: str, config: NetworkConfig, items: str, n_items: int) -> Self:
        """Map what `write` wrote; `items` is the fingerprint of the n items. Raises `ArtefactError` if altered."""
        tensors = map_tensors(path, checksum)
        features = RankingFeatures.restore(config, items, n_items, below(tensors, "features."))
        return cls(config, features, RankerWeights.restore(tensors, config.context))


def _said(queries: Queries, name: str) -> list[str]:
    """What each request says of itself, as impressions name the levels."""
    if name == "scenario":
        return list(queries.scenarios)
    if name in CLOCK:
        return [CLOCK[name][level] for level in clock_context(queries.request_times, 0)[name].tolist()]
    raise ConfigError(f"a request has no {name!r}; a ranker that serves may read {', '.join(SERVICE_CONTEXT)}")


def _activate(hidden: NDArray[np.float32], bias: NDArray[np.float32], activation: ActivationWeights) -> None:
    if len(activation.mean):
        hidden += bias
        hidden[:] = _dice(hidden, activation)
    else:
        add_and_rectify(hidden, bias, activation.slope)


def _dice(hidden: NDArray[np.float32], activation: ActivationWeights) -> NDArray[np.float32]:
    one = np.float32(1)
    with np.errstate(over="ignore"):  # e^x of a unit far below its mean: its share is 0
        share = one / (one + np.exp((activation.mean - hidden) * activation.scale))
    return (hidden * (share + (one - share) * activation.slope)).astype(np.float32, copy=False)


def _product(hidden: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """hidden @ weight, some rows at a time, so that no product is shared out among threads."""
    found = np.empty((len(hidden), weight.shape[1]), np.float32)
    size = max(1, PRODUCTS_AT_ONCE // max(weight.size, 1))
    for start in range(0, len(hidden), size):
        np.matmul(hidden[start : start + size], weight, out=found[start : start + size])
    return found
