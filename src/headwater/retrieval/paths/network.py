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

from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower
from headwater.retrieval.paths.features import LENGTH_LEVELS, PathFeatures, UserFeatures
from headwater.retrieval.paths.fields import BehaviourField, ItemField, UserField, level_embedding
from headwater.retrieval.paths.sums import sum_of_paths

if TYPE_CHECKING:
    from headwater.retrieval.paths.batches import PathBatch, SharedNegatives
    from headwater.retrieval.paths.config import PathsConfig

HOURS = 25
"""Hours of the day from 1; 0 where the data have no clock."""

ROWS_AT_ONCE = 1 << 19
"""Pairs whose levels are spread out at a time, in the gradient."""


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
        self.levels = nn.ModuleList(level_embedding(size, config.field_dimension) for size in sizes)
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
            triggers = self._triggers(batch.windows.items)
            total = self._weights(t, user, batch.windows, batch.targets, batch.levels, triggers).total()
        else:
            triggers = self._triggers(batch.shared.triggers)
            of_windows = functional.embedding(batch.shared.at, triggers)
            own = self._weights(t, user, batch.windows, batch.targets, batch.levels, of_windows).total()
            total = torch.cat([own, self._totals(t, user, batch.windows, batch.shared, triggers)], 1)
        if self.bias is not None:
            total = total + functional.softplus(self.bias(batch.places, batch.hours))
        return total

    def weights(self, users: UserFeatures, windows: Windows, targets: Tensor, levels: Tensor) -> Weights:
        """Weights of targets (b, m), levels (b, m, w, measures); no bias, as when serving (eq. 14)."""
        user = None if self.direct is None else self.direct.vectors(users, windows)
        triggers = self._triggers(windows.items)
        return self._weights(self.interests(users, windows), user, windows, targets, levels, triggers)

    def _triggers(self, items: Tensor) -> Tensor:
        """(…, h) what triggers (…) add to SimNet's first layer."""
        return self.dropout(self.items.projected(self.similarity.trigger, items))

    def _weights(
        self,
        t: Tensor,
        user: Tensor | None,
        windows: Windows,
        targets: Tensor,
        levels: Tensor,
        triggers: Tensor,
    ) -> Weights:
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
        self.places = level_embedding(LENGTH_LEVELS, config.field_dimension)
        self.hours = level_embedding(HOURS, config.field_dimension)
        self.tower = Tower(2 * config.field_dimension, (16,), 1, leak=config.leak)
        nn.init.constant_(self.tower.layers[-1].bias, prior)  # type: ignore[arg-type]

    def forward(self, places: Tensor, hours: Tensor) -> Tensor:
        """(b, 1) for all candidates of a row."""
        return self.tower(torch.cat([self.places(places), self.hours(hours)], -1)).float()


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
