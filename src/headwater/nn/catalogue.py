"""What sequence models are told of the data before they are built: settings, attributes, borders. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

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
