"""Decomposition: two towers, so that what is known of a pair is a product of what is stored of each (section 5.2.1)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from headwater.knowledge.config import DecompositionConfig, ExtractionConfig
from headwater.knowledge.extract import Extraction
from headwater.ranking.config import Activation
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.networks.din import RankingInputs
from headwater.ranking.networks.layers import FieldTable, Hidden, TaskTower


class Tower(nn.Module):
    """Hidden layers, the last one without an activation: entries of a product need both signs.

    Parameters
    ----------
    width_in : int
    hidden : tuple of int
    activation : "prelu" or "dice"
    """

    def __init__(self, width_in: int, hidden: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        *inner, last = pairwise((width_in, *hidden))
        self.layers = nn.Sequential(*(Hidden(*widths, activation) for widths in inner), nn.Linear(*last))

    def forward(self, vectors: Tensor) -> Tensor:
        """(b, hidden[-1]) of (b, width_in)."""
        return self.layers(vectors)


class TwoTowers(nn.Module):
    """s_t = w_t · (K̂_u ∘ K̂_i) + b_t: embeddings and towers are shared, each task weighs the product itself.

    A user is read by their id and the mean of the events before the impression, an item by itself and its attributes.

    Parameters
    ----------
    config : DecompositionConfig
    features : RankingFeatures
    """

    def __init__(self, config: ExtractionConfig, features: RankingFeatures) -> None:
        super().__init__()
        self.items = FieldTable(features.n_items, config.item_dimension, features.item_fields, config.dimension)
        n_users = len(features.user_keys)
        self.users = FieldTable(n_users, config.user_dimension, features.user_fields, config.dimension)
        self.user_tower = Tower(self.users.width + self.items.width, config.hidden, config.activation)
        self.item_tower = Tower(self.items.width, config.hidden, config.activation)
        self.tasks = nn.ModuleDict(
            {task: TaskTower(config.hidden[-1], (), config.activation) for task in features.tasks}
        )

    def of_users(self, inputs: RankingInputs) -> Tensor:
        """(b, width) K̂_u."""
        events, is_event = self.items(inputs.history), (inputs.history != NOBODY)[..., None]
        mean = (events * is_event).sum(1) / is_event.sum(1).clamp(min=1)
        return self.user_tower(torch.cat([self.users(inputs.users), mean], 1))

    def of_items(self, rows: Tensor) -> Tensor:
        """(b, width) K̂_i."""
        return self.item_tower(self.items(rows))

    def forward(self, inputs: RankingInputs) -> dict[str, Tensor]:
        """(b,) logits of each task."""
        product = self.of_users(inputs) * self.of_items(inputs.items)
        return {task: output(product) for task, output in self.tasks.items()}


class Decomposition(Extraction):
    """[K̂_u, K̂_i, K̂_u ∘ K̂_i], of which the first two are stored and the product is taken on read (eq. 6).

    Parameters
    ----------
    config : DecompositionConfig
    """

    kind: ClassVar[str] = "decomposition"
    config_class: ClassVar[type[ExtractionConfig]] = DecompositionConfig

    def new_network(self, features: RankingFeatures) -> Any:
        """See `NetworkRanker`."""
        return TwoTowers(self.config, features)

    @property
    def parts(self) -> dict[str, int]:
        """See `Extraction`."""
        width = self.config.hidden[-1]
        return {"user": width, "item": width, "product": width}

    def _of_inputs(self, network: Any, inputs: RankingInputs) -> Tensor:
        of_user, of_item = network.of_users(inputs), network.of_items(inputs.items)
        return torch.cat([of_user, of_item, of_user * of_item], 1)
