"""The Deep Interest Network (Zhou et al., KDD 2018): what a user wants depends on what they are asked about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from headwater.ranking.config import Activation, NetworkConfig
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.networks.layers import FieldTable, TaskTower, activation_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class RankingInputs(NamedTuple):
    """b impressions as a network reads them; rows of `RankingFeatures` tables.

    Attributes
    ----------
    users : (b,) int64
    items : (b,) int64
    history : (b, w) int64
        The latest events before the impression, 0 behind them.
    searched : (b, v) int64, or None
        The latest events that a search found, likewise.
    context : (b, features) int64
    knowledge : (b, width) float32, or None
        What a plug reads, of a network that has one.
    """

    users: Tensor
    items: Tensor
    history: Tensor
    searched: Tensor | None
    context: Tensor
    knowledge: Tensor | None = None


class ActivationUnit(nn.Module):
    """a(q, k) = w · f(W [q, k, q − k, q ∘ k] + b) + c, and Σ_j a(q, k_j) k_j: section 4.3 of DIN, no softmax.

    The first layer is linear in its concatenation: W₁q + W₂k + W₃(q − k) + W₄(q ∘ k)
    = (W₁ + W₃) q + [(W₂ − W₃) + W₄ diag(q)] k. One matrix of each target then meets the events themselves: neither
    the four parts nor the events' products are ever laid out.

    Parameters
    ----------
    width : int
        Of q and k.
    hidden : int
    activation : "prelu" or "dice"
    """

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, width, hidden))
        """W₁ … W₄, transposed."""
        self.bias = nn.Parameter(torch.zeros(hidden))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (4 * width)))
        self.activation = activation_of(activation, hidden)
        self.output = nn.Linear(hidden, 1)
        # Interest begins as the mean of about fifty events, not as their sum.
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.constant_(self.output.bias, 0.02)

    def forward(self, target: Tensor, events: Tensor, is_event: Tensor) -> Tensor:
        """(b, width) interest of targets (b, width) in events (b, w, width); where `is_event` is false, k is 0."""
        return torch.bmm(self.weights(target, events, is_event)[:, None], events)[:, 0]

    def weights(self, target: Tensor, events: Tensor, is_event: Tensor) -> Tensor:
        """(b, w) a(q, k_j)."""
        of_query, of_key, of_difference, of_product = self.weight
        matrix = target[:, :, None] * of_product + (of_key - of_difference)
        constant = torch.addmm(self.bias, target, of_query + of_difference)
        hidden = torch.baddbmm(constant[:, None], events, matrix)
        return self.output(self.activation(hidden, is_event))[..., 0]


class DINNetwork(nn.Module):
    """Embeddings that all tasks share, target attention, and for each task a tower of its own.

    The towers' input stands side by side: user, target item, interest, interest by search, context, and what a
    subclass adds. Hidden layers are modules named `tasks.<task>.hidden_<m>`; see `hidden_layers`.

    Parameters
    ----------
    config : NetworkConfig
    features : RankingFeatures
    extra : int
        Width of what a subclass adds to `parts`.
    """

    def __init__(self, config: NetworkConfig, features: RankingFeatures, extra: int = 0) -> None:
        super().__init__()
        self.config = config
        self.items = FieldTable(features.n_items, config.item_dimension, features.item_fields, config.dimension)
        self.users = None
        if config.user_dimension or features.user_fields:
            n_users = len(features.user_keys)
            self.users = FieldTable(n_users, config.user_dimension, features.user_fields, config.dimension)
        self.context = nn.ModuleDict(
            {name: nn.Embedding(len(levels), config.dimension) for name, levels in features.context_levels.items()}
        )
        for embedding in self.context.values():
            nn.init.normal_(embedding.weight, std=0.02)  # type: ignore[arg-type]
        self.unit = ActivationUnit(self.items.width, config.unit_hidden, config.activation)
        self.search_unit = None
        if config.search is not None:
            self.search_unit = ActivationUnit(self.items.width, config.unit_hidden, config.activation)
        width = 0 if self.users is None else self.users.width
        width += self.items.width * (2 + (self.search_unit is not None)) + len(self.context) * config.dimension + extra
        self.tasks = nn.ModuleDict(
            {task: TaskTower(width, config.hidden, config.activation) for task in features.tasks}
        )

    def parts(self, inputs: RankingInputs) -> list[Tensor]:
        """What stands side by side at the towers' input, each (b, ·)."""
        rows = [inputs.items[:, None], inputs.history]
        if self.search_unit is not None:
            assert inputs.searched is not None
            rows.append(inputs.searched)
        # One gather for all: a catalogue of a few thousand items is then laid out, and its gradient taken, once.
        target, events, *searched = self.items(torch.cat(rows, 1)).split([part.shape[1] for part in rows], 1)
        target = target[:, 0]
        found = [] if self.users is None else [self.users(inputs.users)]
        found += [target, self.unit(target, events, inputs.history != NOBODY)]
        if self.search_unit is not None:
            found.append(self.search_unit(target, searched[0], rows[2] != NOBODY))
        found += [embedding(inputs.context[:, at]) for at, embedding in enumerate(self.context.values())]
        return found

    def forward(self, inputs: RankingInputs) -> dict[str, Tensor]:
        """(b,) logits of each task."""
        vectors = torch.cat(self.parts(inputs), 1)
        return {task: tower(vectors) for task, tower in self.tasks.items()}

    def last_hidden(self, inputs: RankingInputs) -> dict[str, Tensor]:
        """(b, width) what each task's last hidden layer says."""
        vectors = torch.cat(self.parts(inputs), 1)
        return {task: tower.last_hidden(vectors) for task, tower in self.tasks.items()}  # type: ignore[operator]

    def hidden_layers(self, task: str | None = None) -> tuple[str, ...]:
        """Names of hidden layers, first to last, of one task or of all: `get_submodule` takes them.

        A layer's output is after its activation; a forward hook there may add to it, as a plug does.
        """
        towers: Mapping[str, TaskTower] = dict(self.tasks.items())  # type: ignore[arg-type]
        return tuple(
            f"tasks.{name}.{layer}" for name, tower in towers.items() if task in (None, name) for layer in tower.layers
        )
