"""The Path-based Deep Network (Li et al., SIGIR 2021): two hops, a direct path, and a bias that only training sees.

The first layer of every net is linear in a concatenation, so each part of it is projected alone and the projections
are added: an item once, not once for every pair that it stands in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.inputs import EMBEDDING_STD, GAP_LEVELS, gap_levels
from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower
from headwater.retrieval.paths.features import COUNT_LEVELS, LENGTH_LEVELS, PathFeatures, UserFeatures
from headwater.retrieval.paths.sums import sum_of_paths

if TYPE_CHECKING:
    from headwater.retrieval.paths.batches import PathBatch, SharedNegatives
    from headwater.retrieval.paths.config import PathsConfig

HOURS = 25
"""Hours of the day from 1; 0 where the data have no clock."""

ROWS_AT_ONCE = 1 << 19
"""Pairs whose levels are spread out at a time, in the gradient."""


class ItemField(nn.Module):
    """E(x): an item's own embedding and the mean of each attribute's values, side by side (section 4.2)."""

    def __init__(self, features: PathFeatures, dimension: int, attribute_dimension: int) -> None:
        super().__init__()
        catalogue = features.catalogue
        self.own = nn.Parameter(torch.randn(catalogue.n_items, dimension) * EMBEDDING_STD)
        self.values = nn.ModuleList()
        for at, codes in enumerate(catalogue.attributes.values()):
            values = nn.EmbeddingBag(int(codes.max(initial=0)) + 1, attribute_dimension, mode="mean", padding_idx=0)
            nn.init.normal_(values.weight, std=EMBEDDING_STD)
            with torch.no_grad():
                values.weight[0] = 0
            self.values.append(values)
            self.register_buffer(f"codes_{at}", torch.from_numpy(codes.copy()), persistent=False)
        self.width = dimension + attribute_dimension * len(self.values)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(…, width) of item codes (…), or (items, width) of all."""
        flat = None if items is None else items.reshape(-1)
        parts = [self.own if flat is None else functional.embedding(flat, self.own)]
        for at, values in enumerate(self.values):
            codes: Tensor = getattr(self, f"codes_{at}")
            parts.append(values(codes if flat is None else codes[flat]))
        joined = torch.cat(parts, -1)
        return joined if items is None else joined.view(*items.shape, self.width)

    def projected(self, layer: nn.Module, items: Tensor) -> Tensor:
        """(…, h) what a layer makes of items (…): of each item of the catalogue once, where that is less work."""
        if items.numel() < len(self.own):
            return layer(self(items))
        return functional.embedding(items, layer(self()))


class UserField(nn.Module):
    """E(z_u): attributes, how many events there are, and how many of them have each value of the items' attributes.

    Counts are in levels (1, 2, 4, … events or more), each of which adds a vector of its own. They come from the
    window that is given, so from events before the target only.
    """

    def __init__(self, features: PathFeatures, dimension: int) -> None:
        super().__init__()
        self.lengths = _embedding(LENGTH_LEVELS, dimension)
        self.attributes = nn.ModuleList()
        for at, codes in enumerate(features.user_codes.values()):
            values = nn.EmbeddingBag(int(codes.max(initial=0)) + 1, dimension, mode="mean")
            nn.init.normal_(values.weight, std=EMBEDDING_STD)  # row 0, of nobody's value, is learned like another
            self.attributes.append(values)
            self.register_buffer(f"users_{at}", torch.from_numpy(codes.copy()), persistent=False)
        self.counts = nn.ParameterList()
        for at, codes in enumerate(features.catalogue.attributes.values()):
            n_values = int(codes.max(initial=0)) + 1
            self.counts.append(nn.Parameter(torch.randn(COUNT_LEVELS * n_values, dimension) * EMBEDDING_STD))
            self.register_buffer(f"codes_{at}", torch.from_numpy(codes.copy()), persistent=False)
        self.width = dimension * (1 + len(self.attributes) + len(self.counts))

    def forward(self, users: UserFeatures, windows: Windows) -> Tensor:
        """(b, width)."""
        parts = [self.lengths(users.lengths)]
        for at, values in enumerate(self.attributes):
            parts.append(values(getattr(self, f"users_{at}")[users.rows]))
        for at, table in enumerate(self.counts):
            levels = count_levels(windows, getattr(self, f"codes_{at}"), len(table) // COUNT_LEVELS)
            parts.append(levels.to(table.dtype) @ table)
        return torch.cat(parts, -1)


def count_levels(windows: Windows, codes: Tensor, n_values: int) -> Tensor:
    """(b, levels · values) bool whether a row has 1, 2, 4, … events or more of each value; the value 0 is none."""
    b = len(windows.items)
    found = codes[windows.items]  # (b, w, values of an item)
    is_value = (found > 0) & windows.is_event[..., None]
    row = torch.arange(b, device=found.device)[:, None, None]
    counts = torch.zeros(b * n_values, device=found.device)
    counts.index_add_(0, (row * n_values + found).reshape(-1), is_value.reshape(-1).float())
    steps = 2.0 ** torch.arange(COUNT_LEVELS, device=found.device)
    return (counts.view(b, 1, n_values) >= steps[:, None]).flatten(1)


class BehaviourField(nn.Module):
    """E(a_uj): how recent the event is, its rating, the time before it and until the request, as they are asked."""

    def __init__(self, config: PathsConfig, features: PathFeatures) -> None:
        super().__init__()
        catalogue, inputs, dimension = features.catalogue, config.inputs, config.field_dimension
        self.positions = _embedding(config.length, dimension)
        self.ratings = _embedding(len(catalogue.rating_borders) + 2, dimension) if inputs.ratings else None
        self.gaps = _embedding(GAP_LEVELS, dimension) if inputs.gaps else None
        self.request_gaps = _embedding(GAP_LEVELS, dimension) if inputs.request_time else None
        self.periods = _embedding(len(catalogue.period_borders) + 2, dimension) if inputs.periods else None
        self.register_buffer("rating_borders", torch.from_numpy(catalogue.rating_borders.copy()), persistent=False)
        self.register_buffer("period_borders", torch.from_numpy(catalogue.period_borders.copy()), persistent=False)

    def tables(self) -> dict[str, nn.Embedding]:
        """The embeddings there are, in the order in which they stand side by side."""
        found = {name: getattr(self, name) for name in ("positions", "ratings", "gaps", "request_gaps", "periods")}
        return {name: table for name, table in found.items() if table is not None}

    @property
    def width(self) -> int:
        return sum(table.embedding_dim for table in self.tables().values())

    def levels(self, windows: Windows) -> dict[str, Tensor]:
        """(b, w) the row of each table that an event reads."""
        found = {"positions": windows.positions}
        if self.ratings is not None:
            found["ratings"] = torch.zeros_like(windows.items)
            if windows.ratings is not None:
                borders: Tensor = self.rating_borders  # type: ignore[assignment]
                levels = torch.bucketize(windows.ratings, borders, right=True) + 1
                found["ratings"] = torch.where(windows.ratings.isfinite(), levels, 0)
        if self.gaps is not None and windows.gaps is not None:
            found["gaps"] = gap_levels(windows.gaps)
        if self.request_gaps is not None and windows.request_gaps is not None:
            found["request_gaps"] = gap_levels(windows.request_gaps)
        if self.periods is not None and windows.times is not None:
            borders = self.period_borders  # type: ignore[assignment]
            found["periods"] = torch.bucketize(windows.times, borders, right=True) + 1
        return found

    def forward(self, windows: Windows) -> Tensor:
        """(b, w, width)."""
        levels = self.levels(windows)
        return torch.cat([table(levels[name]) for name, table in self.tables().items()], -1)


class Layers(nn.Module):
    """What follows a first layer: an activation before each further one; the last one's biases begin at `bias`."""

    def __init__(self, hidden: tuple[int, ...], width_out: int, leak: float, bias: float) -> None:
        super().__init__()
        self.leak = leak
        self.linears = nn.ModuleList(
            nn.Linear(width_in, width) for width_in, width in zip(hidden, (*hidden[1:], width_out), strict=True)
        )
        for linear in self.linears:
            nn.init.kaiming_normal_(linear.weight, a=leak)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.linears[-1].bias, bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, width_out)."""
        for linear in self.linears:
            hidden = linear(functional.leaky_relu(hidden, self.leak))
        return hidden


class TriggerNet(nn.Module):
    """t_uj = MLP(CAT(E(z_u), E(a_uj), E(x_j))), eq. 8."""

    def __init__(self, config: PathsConfig, user: int, behaviour: int, item: int, bias: float) -> None:
        super().__init__()
        width = config.trigger_hidden[0]
        self.user = nn.Linear(user, width)
        nn.init.zeros_(self.user.bias)  # else chance moves the start away from the prior
        self.behaviour = nn.Linear(behaviour, width, bias=False)
        self.item = nn.Linear(item, width, bias=False)
        self.layers = Layers(config.trigger_hidden, config.path_dimension, config.leak, bias)

    def forward(self, user: Tensor, behaviour: Tensor, items: Tensor) -> Tensor:
        """(b, w, path dimension) of (b, ·), (b, w, ·) and the projected items (b, w, h)."""
        return self.layers(self.user(user)[:, None] + self.behaviour(behaviour) + items)


class SimilarityNet(nn.Module):
    """s_ji = MLP(CAT(E(x_j), E(c_ji), E(x_i))), eq. 9."""

    def __init__(self, config: PathsConfig, item: int, sizes: tuple[int, ...], bias: float) -> None:
        super().__init__()
        width = config.similarity_hidden[0]
        self.trigger = nn.Linear(item, width)
        nn.init.zeros_(self.trigger.bias)
        self.target = nn.Linear(item, width, bias=False)
        self.levels = nn.ModuleList(_embedding(size, config.field_dimension) for size in sizes)
        self.pair = nn.Linear(config.field_dimension * len(sizes), width, bias=False) if sizes else None
        self.layers = Layers(config.similarity_hidden, config.path_dimension, config.leak, bias)

    def tables(self) -> list[Tensor]:
        """For each measure, (levels, h): what each level adds to the first layer."""
        if self.pair is None:
            return []
        parts = self.pair.weight.split([table.embedding_dim for table in self.levels], 1)  # type: ignore[misc]
        return [table.weight @ part.T for table, part in zip(self.levels, parts, strict=True)]  # type: ignore[operator]

    def forward(self, triggers: Tensor, targets: Tensor, levels: Tensor) -> Tensor:
        """(…, path dimension) of projected triggers and targets, (…, h) that broadcast, and levels (…, measures)."""
        hidden = triggers + targets
        for at, table in enumerate(self.tables()):
            hidden = hidden + spread(table, levels[..., at])
        return self.layers(hidden)


class _Spread(torch.autograd.Function):
    """table[levels], with a gradient that is a matrix product: millions of pairs collide in a few dozen rows."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, levels: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(levels)
        ctx.shape, ctx.kind = table.shape, table.dtype
        device = levels.device.type
        if torch.is_autocast_enabled(device):
            table = table.to(torch.get_autocast_dtype(device))
        return table[levels.int()]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (levels,) = ctx.saved_tensors
        n, width = ctx.shape
        flat, of = levels.reshape(-1), gradient.reshape(-1, width)
        known = torch.arange(n, device=flat.device, dtype=flat.dtype)[:, None]
        total = torch.zeros(n, width, device=flat.device, dtype=torch.promote_types(ctx.kind, torch.float32))
        for start in range(0, len(flat), ROWS_AT_ONCE):
            is_level = known == flat[start : start + ROWS_AT_ONCE]
            total += (is_level.to(of.dtype) @ of[start : start + ROWS_AT_ONCE]).to(total.dtype)
        return total.to(ctx.kind), None


def spread(table: Tensor, levels: Tensor) -> Tensor:
    """(…, h) rows of (levels, h); fast both ways where there are few levels and many places."""
    found: Any = _Spread.apply(table, levels)
    return found


class Weights(NamedTuple):
    """Parts of ŷ (eq. 12) of b users and m targets: softplus of each path, and of the direct one.

    Attributes
    ----------
    paths : (b, m, w)
        0 in padding.
    direct : (b, m), or None
        None where the model has no Direct Net.
    """

    paths: Tensor
    direct: Tensor | None

    def total(self) -> Tensor:
        """(b, m) their sum."""
        total = self.paths.sum(-1)
        return total if self.direct is None else total + self.direct


class PathNetwork(nn.Module):
    """All nets together.

    Parameters
    ----------
    config : PathsConfig
    features : PathFeatures
    sizes : tuple of int
        Levels of each measure of co-occurrence.
    mean_triggers : float
        Of a training example; biases begin where that many give the share of positives among the candidates, else
        200 triggers begin at ŷ ≈ 200 ln 2.
    """

    def __init__(
        self, config: PathsConfig, features: PathFeatures, sizes: tuple[int, ...], mean_triggers: float = 1.0
    ) -> None:
        super().__init__()
        self.config = config
        n = min(config.negatives, features.catalogue.n_items)
        prior = -math.log1p(-1 / (1 + n))  # ŷ of p = 1 / (1 + n), eq. 13
        share = prior / (1 + config.has_direct_net + config.has_bias_net)
        path = _inverse_softplus(share / max(mean_triggers, 1.0))
        self.items = ItemField(features, config.dimension, config.field_dimension)
        self.users = UserField(features, config.field_dimension)
        self.behaviours = BehaviourField(config, features)
        # t + s begins at s; of vectors the inner product does, from entries of opposite sign.
        trigger = math.sqrt(abs(path) / config.path_dimension) if config.is_vector else 0.0
        similarity = math.copysign(trigger, path) if config.is_vector else path
        self.trigger = TriggerNet(config, self.users.width, self.behaviours.width, self.items.width, trigger)
        self.similarity = SimilarityNet(config, self.items.width, sizes, similarity)
        self.dropout = nn.Dropout(config.dropout)
        self.direct = DirectNet(config, features, _inverse_softplus(share)) if config.has_direct_net else None
        self.bias = BiasNet(config, _inverse_softplus(share)) if config.has_bias_net else None

    def forward(self, batch: PathBatch) -> Tensor:
        """(b, 1 + n) ŷ of the candidates of each row, the bias included (eq. 12)."""
        t = self.interests(batch.users, batch.windows)
        user = None if self.direct is None else self.direct.vectors(batch.users, batch.windows)
        if batch.shared is None:
            total = self._weights(t, user, batch.windows, batch.targets, batch.levels).total()
        else:
            triggers = self.dropout(self.items.projected(self.similarity.trigger, batch.shared.triggers))
            of_windows = functional.embedding(batch.shared.at, triggers)
            own = self._weights(t, user, batch.windows, batch.targets, batch.levels, of_windows).total()
            total = torch.cat([own, self._totals(t, user, batch.windows, batch.shared, triggers)], 1)
        if self.bias is not None:
            total = total + functional.softplus(self.bias(batch.places, batch.hours))
        return total

    def weights(self, users: UserFeatures, windows: Windows, targets: Tensor, levels: Tensor) -> Weights:
        """Weights of targets (b, m), levels (b, m, w, measures); no bias, as when serving (eq. 14)."""
        user = None if self.direct is None else self.direct.vectors(users, windows)
        return self._weights(self.interests(users, windows), user, windows, targets, levels)

    def _weights(
        self,
        t: Tensor,
        user: Tensor | None,
        windows: Windows,
        targets: Tensor,
        levels: Tensor,
        triggers: Tensor | None = None,
    ) -> Weights:
        if triggers is None:
            triggers = self.dropout(self.items.projected(self.similarity.trigger, windows.items))
        candidates = self.dropout(self.items.projected(self.similarity.target, targets))
        s = self.similarity(triggers[:, None], candidates[:, :, None], levels).float()
        direct = None
        if self.direct is not None and user is not None:
            direct = functional.softplus(torch.einsum("bd,bmd->bm", user, self.direct.item_vectors(targets)).float())
        return Weights(self.merged(t[:, None], s, windows.is_event[:, None]), direct)

    def _totals(
        self, t: Tensor, user: Tensor | None, windows: Windows, shared: SharedNegatives, triggers: Tensor
    ) -> Tensor:
        """(b, n) the same sums for candidates that all rows share, of scalar weights."""
        candidates = self.dropout(self.items.projected(self.similarity.target, shared.items))
        s = self.similarity(triggers[:, None], candidates[None], shared.levels)[..., 0].float()
        total = sum_of_paths(t[..., 0], s, shared.at, windows.is_event)
        if self.direct is not None and user is not None:
            total = total + functional.softplus((user @ self.direct.item_vectors(shared.items).T).float())
        return total

    def interests(self, users: UserFeatures, windows: Windows) -> Tensor:
        """(b, w, path dimension) t of every trigger."""
        items = self.dropout(self.items.projected(self.trigger.item, windows.items))
        return self.trigger(self.users(users, windows), self.behaviours(windows), items).float()

    def merged(self, t: Tensor, s: Tensor, is_event: Tensor) -> Tensor:
        """softplus(t + s), eq. 10, or softplus(⟨t, s⟩) of vectors; 0 where there is no event."""
        merged = (t * s).sum(-1) if self.config.is_vector else (t + s)[..., 0]
        return functional.softplus(merged).masked_fill(~is_event, 0.0)


class DirectNet(nn.Module):
    """d_ui = MLP(E(z_u)) MLP(E(x_i))ᵀ over embeddings of its own, eq. 11."""

    def __init__(self, config: PathsConfig, features: PathFeatures, prior: float) -> None:
        super().__init__()
        self.items = ItemField(features, config.dimension, config.field_dimension)
        self.users = UserField(features, config.field_dimension)
        towers = [
            Tower(width, config.direct_hidden, config.dimension, dropout=config.dropout, leak=config.leak)
            for width in (self.users.width, self.items.width)
        ]
        self.user, self.item = towers
        # The inner product of the last biases is the prior's.
        start = math.sqrt(abs(prior) / config.dimension)
        nn.init.constant_(self.user.layers[-1].bias, start)  # type: ignore[arg-type]
        nn.init.constant_(self.item.layers[-1].bias, math.copysign(start, prior))  # type: ignore[arg-type]

    def item_vectors(self, targets: Tensor) -> Tensor:
        """(…, d) q of targets (…)."""
        return self.items.projected(self.item, targets)

    def vectors(self, users: UserFeatures, windows: Windows) -> Tensor:
        """(b, d) p of the users."""
        return self.user(self.users(users, windows))


class BiasNet(nn.Module):
    """y_bias of the place in the history and the hour, which a negative shares with its positive (section 4.5)."""

    def __init__(self, config: PathsConfig, prior: float) -> None:
        super().__init__()
        self.places = _embedding(LENGTH_LEVELS, config.field_dimension)
        self.hours = _embedding(HOURS, config.field_dimension)
        self.tower = Tower(2 * config.field_dimension, (16,), 1, leak=config.leak)
        nn.init.constant_(self.tower.layers[-1].bias, prior)  # type: ignore[arg-type]

    def forward(self, places: Tensor, hours: Tensor) -> Tensor:
        """(b, 1) for all candidates of a row."""
        return self.tower(torch.cat([self.places(places), self.hours(hours)], -1)).float()


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))


def _embedding(n: int, dimension: int) -> nn.Embedding:
    embedding = nn.Embedding(n, dimension)
    nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    return embedding
