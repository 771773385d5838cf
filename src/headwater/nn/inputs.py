"""What a sequence model reads of an event: the item with its attributes, the rating, the gaps, the position."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.nn.sequences import Windows

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

EMBEDDING_STD = 0.02
"""Standard deviation of every embedding at the start, as in BERT and in both sequence papers' code."""

MOST_RATING_LEVELS = 20
"""Ratings of more distinct values are cut into this many bins of nearly equal size."""

GAP_LEVELS = 34
"""0: the first event; 1: no time; then one level for each doubling, up to 2^31 s (68 years) and beyond."""

PERIODS = 64
"""Periods of equally many events that a data set's time is cut into."""


class InputConfig(Settings):
    """What a sequence model reads beside item and position. Everything is off by default."""

    attributes: tuple[str, ...] = ()
    """Columns of the item attributes, of text, integers, or lists of them (`category`, `genres`). Their embeddings
    are added to the item's own, at the input and at the output, so that a rare item starts near its like."""

    ratings: bool = False
    """Read the rating of each event of the history; an event without one has a level of its own."""

    gaps: bool = False
    """Read the time since the event before, one level for each doubling. Needs real event times."""

    request_time: bool = False
    """Read the time from each event to the next and from the last to the request. Only a list that is made at
    the moment of the request knows it; on sets with bursts of equal times (ML-1M) it gives away much, so figures
    with it stand in a column of their own. Needs real event times."""

    periods: bool = False
    """Read in which of 64 periods of the data set, of equally many events each, an event falls: what is new and
    what is in fashion then. Later events fall in the last period. Needs real event times."""

    @property
    def reads_times(self) -> bool:
        """Whether any input is computed from event times."""
        return self.gaps or self.request_time or self.periods


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that a sequence model must know of the data to be built.

    Attributes
    ----------
    n_items : int
    attributes : dict of str to (items, values) int32
        Value codes of each attribute from 1, padded with 0 to the most values that an item has.
    rating_borders : (levels - 1,) float32
        A rating's level is the number of borders at or below it.
    period_borders : (periods - 1,) int64
        Times at which periods begin; as with ratings.
    """

    n_items: int
    attributes: dict[str, NDArray[np.int32]]
    rating_borders: NDArray[np.float32]
    period_borders: NDArray[np.int64]

    @classmethod
    def of(cls, data: Dataset, inputs: InputConfig) -> Catalogue:
        """Read what `inputs` asks for.

        Raises
        ------
        ConfigError
            An attribute or the ratings are not there, or times are asked of a data set that has positions.
        """
        if inputs.reads_times and data.time_unit != "seconds":
            raise ConfigError(f"{data.name} has positions, not times: gaps, request_time and periods must be false")
        if inputs.ratings and data.event_ratings is None:
            raise ConfigError(f"{data.name} has no ratings: inputs.ratings must be false")
        return cls(
            n_items=len(data.items),
            attributes={name: attribute_codes(data.item_attributes, name) for name in inputs.attributes},
            rating_borders=_borders(data.event_ratings)
            if inputs.ratings and data.event_ratings is not None
            else np.zeros(0, np.float32),
            period_borders=np.unique(np.quantile(data.event_times, np.arange(1, PERIODS) / PERIODS).astype(np.int64))
            if inputs.periods
            else np.zeros(0, np.int64),
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays for an artefact, from which `restore` builds the same catalogue."""
        return {
            "catalogue.rating_borders": self.rating_borders,
            "catalogue.period_borders": self.period_borders,
            **{f"catalogue.attributes.{name}": codes for name, codes in self.attributes.items()},
        }

    @classmethod
    def restore(cls, n_items: int, inputs: InputConfig, tensors: dict[str, NDArray[Any]]) -> Catalogue:
        """What `tensors` wrote."""
        attributes = {name: tensors[f"catalogue.attributes.{name}"] for name in inputs.attributes}
        return cls(n_items, attributes, tensors["catalogue.rating_borders"], tensors["catalogue.period_borders"])


def attribute_codes(table: pa.Table, name: str) -> NDArray[np.int32]:
    """(items, values) int32 codes of a column from 1, in order of first appearance; 0 pads and stands for null.

    Raises
    ------
    ConfigError
        No such column (the nearest is named), or one of neither text, integers nor lists of them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        nearest = get_close_matches(name, table.column_names, 1, 0.0)
        raise ConfigError(f"items have no attribute {name!r}; did you mean {nearest[0]!r}?")
    column = table.column(name).combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_list:
        sizes = np.array([len(values or ()) for values in column.to_pylist()], np.int64)
        values = column.flatten()  # leaves out what stands behind a null
    else:
        sizes = np.ones(len(column), np.int64)
        values = column
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ConfigError(f"attribute {name!r} holds {kind}; text, integers or lists of them can be read")
    indices = values.dictionary_encode().indices
    flat = pc.fill_null(pc.cast(indices, pa.int32()), -1).to_numpy(zero_copy_only=False) + 1
    codes = np.zeros((len(sizes), max(int(sizes.max(initial=0)), 1)), np.int32)
    codes[np.arange(codes.shape[1]) < sizes[:, None]] = flat
    return codes


def _borders(ratings: NDArray[np.float32]) -> NDArray[np.float32]:
    known = ratings[np.isfinite(ratings)]
    levels = np.unique(known)
    if len(levels) > MOST_RATING_LEVELS:
        levels = np.unique(np.quantile(known, np.arange(MOST_RATING_LEVELS) / MOST_RATING_LEVELS))
    return levels[1:].astype(np.float32)


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

    def forward(self, windows: Windows, is_hidden: Tensor | None = None) -> Tensor:
        """(b, w, d) vectors of the windows' events; those that `is_hidden` marks show no item and no rating."""
        vectors = self.items(windows.items)
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
