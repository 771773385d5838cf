"""The embedded fields of the network: E(x) of items, E(z) of users, E(a) of behaviours (section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.inputs import EMBEDDING_STD, GAP_LEVELS, gap_levels
from headwater.nn.sequences import Windows
from headwater.retrieval.paths.features import COUNT_LEVELS, LENGTH_LEVELS, PathFeatures, UserFeatures

if TYPE_CHECKING:
    from headwater.retrieval.paths.config import PathsConfig


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
        self.lengths = level_embedding(LENGTH_LEVELS, dimension)
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
        self.positions = level_embedding(config.length, dimension)
        self.ratings = level_embedding(len(catalogue.rating_borders) + 2, dimension) if inputs.ratings else None
        self.gaps = level_embedding(GAP_LEVELS, dimension) if inputs.gaps else None
        self.request_gaps = level_embedding(GAP_LEVELS, dimension) if inputs.request_time else None
        self.periods = level_embedding(len(catalogue.period_borders) + 2, dimension) if inputs.periods else None
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


def level_embedding(n: int, dimension: int) -> nn.Embedding:
    """Embeddings of n levels, small at the start."""
    embedding = nn.Embedding(n, dimension)
    nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    return embedding
