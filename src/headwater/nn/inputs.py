"""What a sequence model reads of an event: the item with its attributes, the rating, the gaps, the position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headwater.nn.catalogue import GAP_LEVELS, Catalogue, InputConfig
from headwater.nn.sequences import Windows

EMBEDDING_STD = 0.02
"""Standard deviation of every embedding at the start, as in BERT and in both sequence papers' code."""


class ItemEmbedding(nn.Module):
    """One vector for each item, its own plus the mean of its attributes' values'; input and output share it.

    Parameters
    ----------
    catalogue : Catalogue
    dimension : int
    """

    def __init__(self, catalogue: Catalogue, dimension: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(catalogue.n_items, dimension) * EMBEDDING_STD)
        self.names = list(catalogue.attributes)
        self.attributes = nn.ModuleList()
        for at, codes in enumerate(catalogue.attributes.values()):
            values = nn.EmbeddingBag(int(codes.max(initial=0)) + 1, dimension, mode="mean", padding_idx=0)
            nn.init.normal_(values.weight, std=EMBEDDING_STD)
            with torch.no_grad():
                values.weight[0] = 0
            self.attributes.append(values)
            self.register_buffer(f"codes_{at}", torch.from_numpy(codes.copy()), persistent=False)

    @property
    def n_items(self) -> int:
        return len(self.own)

    def forward(self, items: Tensor) -> Tensor:
        """(…, d) vectors of item codes (…): of each item of the catalogue once, where that is less work."""
        if len(self.attributes) and items.numel() >= self.n_items:
            return nn.functional.embedding(items, self.table())
        vectors = nn.functional.embedding(items, self.own)
        flat = items.reshape(-1)
        for at, values in enumerate(self.attributes):
            codes: Tensor = getattr(self, f"codes_{at}")
            vectors = vectors + values(codes[flat]).view_as(vectors)
        return vectors

    def table(self) -> Tensor:
        """(items, d) the vectors of all items."""
        vectors: Tensor = self.own
        for at, values in enumerate(self.attributes):
            vectors = vectors + values(getattr(self, f"codes_{at}"))
        return vectors


class EventInputs(nn.Module):
    """The sum of what is known of each event, as a vector, with dropout.

    Parameters
    ----------
    catalogue : Catalogue
    inputs : InputConfig
    dimension : int
    length : int, or None
        Positions; None where the order of events is not to be read.
    dropout : float
    is_cloze : bool
        Whether items can be hidden: then one more vector stands for a hidden item, and `request_time` shows the
        gap *before* a hidden item, which for a request is the time since the last event.
    """

    rating_borders: Tensor
    period_borders: Tensor

    def __init__(
        self,
        catalogue: Catalogue,
        inputs: InputConfig,
        dimension: int,
        length: int | None,
        dropout: float,
        *,
        is_cloze: bool = False,
    ) -> None:
        super().__init__()
        self.config = inputs
        self.items = ItemEmbedding(catalogue, dimension)
        self.positions = None if length is None else _embedding(length, dimension)
        self.hidden = nn.Parameter(torch.randn(dimension) * EMBEDDING_STD) if is_cloze else None
        self.ratings = _embedding(len(catalogue.rating_borders) + 2, dimension) if inputs.ratings else None
        has_gaps = inputs.gaps or (is_cloze and inputs.request_time)
        self.gaps = _embedding(GAP_LEVELS, dimension) if has_gaps else None
        self.request_gaps = _embedding(GAP_LEVELS, dimension) if inputs.request_time and not is_cloze else None
        self.periods = _embedding(len(catalogue.period_borders) + 2, dimension) if inputs.periods else None
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("rating_borders", torch.from_numpy(catalogue.rating_borders.copy()), persistent=False)
        self.register_buffer("period_borders", torch.from_numpy(catalogue.period_borders.copy()), persistent=False)

    def forward(self, windows: Windows, is_hidden: Tensor | None = None, *, scale: Tensor | None = None) -> Tensor:
        """(b, w, d) vectors of the windows' events; those that `is_hidden` marks show no item and no rating.

        With `scale`, (b, d), the items' vectors of each row are multiplied by it before anything is added to them.
        """
        vectors = self.items(windows.items)
        if scale is not None:
            vectors = vectors * scale[:, None]
        if is_hidden is not None and self.hidden is not None:
            vectors = torch.where(is_hidden[..., None], self.hidden, vectors)
        if self.positions is not None:
            vectors = vectors + self.positions(windows.positions)
        if self.ratings is not None:
            vectors = vectors + self.ratings(self._rating_levels(windows, is_hidden))
        if self.gaps is not None and windows.gaps is not None:
            levels = gap_levels(windows.gaps)
            if is_hidden is not None:
                is_shown = is_hidden if self.config.request_time else torch.zeros_like(is_hidden)
                is_shown = is_shown | ~is_hidden if self.config.gaps else is_shown
                levels = torch.where(is_shown, levels, 0)
            vectors = vectors + self.gaps(levels)
        if self.request_gaps is not None and windows.request_gaps is not None:
            vectors = vectors + self.request_gaps(gap_levels(windows.request_gaps))
        if self.periods is not None and windows.times is not None:
            periods = torch.bucketize(windows.times, self.period_borders, right=True) + 1
            vectors = vectors + self.periods(periods if is_hidden is None else torch.where(is_hidden, 0, periods))
        return self.dropout(vectors)

    def _rating_levels(self, windows: Windows, is_hidden: Tensor | None) -> Tensor:
        if windows.ratings is None:
            return torch.zeros_like(windows.items)
        levels = torch.bucketize(windows.ratings, self.rating_borders, right=True) + 1
        is_known = windows.ratings.isfinite() if is_hidden is None else windows.ratings.isfinite() & ~is_hidden
        return torch.where(is_known, levels, 0)


def gap_levels(gaps: Tensor) -> Tensor:
    """Levels of int64 gaps: 0 where there is none (negative), 1 of no time, 2 + floor(log2 g) of g."""
    powers = 2 ** torch.arange(GAP_LEVELS - 2, dtype=torch.int64, device=gaps.device)  # exact
    levels = torch.bucketize(gaps, powers, right=True) + 1
    return torch.where(gaps < 0, 0, levels)


def _embedding(n: int, dimension: int) -> nn.Embedding:
    embedding = nn.Embedding(n, dimension)
    nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    return embedding
