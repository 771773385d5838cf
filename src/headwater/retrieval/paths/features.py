"""What the network reads of items, users and requests, as codes: attributes, popularity, what was chosen before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.nn.catalogue import Catalogue, InputConfig, attribute_codes
from headwater.retrieval.paths.bins import bin_levels, quantile_borders

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from headwater.nn.sequences import Histories, Windows

POPULARITY = "(popularity)"
"""The items' number of interactions, in bins, beside the attributes that columns give."""

COUNT_LEVELS = 6
"""Levels of how often a value stands in a history: 1, 2, 4, 8, 16, 32 events or more."""


@dataclass(frozen=True, slots=True)
class PathFeatures:
    """All that the network must know of the data to be built, and of users to serve them.

    Attributes
    ----------
    catalogue : Catalogue
        Items' attributes, popularity among them; borders of ratings and periods.
    user_keys : (users,) int64
        Ascending. By key and not by code: another vocabulary's codes would mean other people.
    user_codes : dict of str to (users + 1, values) int32
        Value codes of each attribute from 1, padded with 0; the last row is for whom nobody knows.
    """

    catalogue: Catalogue
    user_keys: NDArray[np.int64]
    user_codes: dict[str, NDArray[np.int32]]

    @classmethod
    def of(cls, data: Dataset, inputs: InputConfig, user_attributes: tuple[str, ...], bins: int) -> PathFeatures:
        """Read what is asked for; raises `ConfigError` where the data do not have it."""
        catalogue = Catalogue.of(data, inputs.model_copy(update={"attributes": ()}))
        attributes = {name: field_codes(data.item_attributes, name, "items", bins) for name in inputs.attributes}
        counts = data.item_counts.astype(np.float64)
        borders = quantile_borders(counts[counts > 0], bins)
        attributes[POPULARITY] = bin_levels(counts, borders).astype(np.int32)[:, None]
        order = np.argsort(data.users.keys, kind="stable")
        users: dict[str, NDArray[np.int32]] = {}
        for name in user_attributes:
            codes = field_codes(data.user_attributes, name, "users", bins)[order]
            users[name] = np.concatenate([codes, np.zeros((1, codes.shape[1]), np.int32)])
        return cls(replace(catalogue, attributes=attributes), data.users.keys[order], users)

    def user_rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of `user_codes`; the last one for a stranger."""
        at = np.searchsorted(self.user_keys, keys)
        found = np.minimum(at, max(len(self.user_keys) - 1, 0))
        is_known = self.user_keys[found] == keys if len(self.user_keys) else np.zeros(len(keys), bool)
        return np.where(is_known, found, len(self.user_keys))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays for an artefact, from which `restore` builds the same."""
        items = {f"items.{name}": codes for name, codes in self.catalogue.attributes.items()}
        users = {f"users.{name}": codes for name, codes in self.user_codes.items()}
        borders = {"borders.ratings": self.catalogue.rating_borders, "borders.periods": self.catalogue.period_borders}
        return items | users | borders | {"user_keys": self.user_keys}

    @classmethod
    def restore(
        cls, n_items: int, inputs: InputConfig, user_attributes: tuple[str, ...], tensors: dict[str, NDArray[Any]]
    ) -> PathFeatures:
        """What `tensors` wrote."""
        attributes = {name: tensors[f"items.{name}"] for name in (*inputs.attributes, POPULARITY)}
        catalogue = Catalogue(n_items, attributes, tensors["borders.ratings"], tensors["borders.periods"])
        return cls(catalogue, tensors["user_keys"], {name: tensors[f"users.{name}"] for name in user_attributes})


def field_codes(table: pa.Table, name: str, whose: str, bins: int) -> NDArray[np.int32]:
    """(rows, values) codes of a column from 1, 0 where there is none; decimals in bins, see `bin_levels`."""
    import pyarrow as pa

    if name not in table.column_names:
        nearest = get_close_matches(name, table.column_names, 1, 0.0)
        raise ConfigError(f"{whose} have no attribute {name!r}; did you mean {nearest[0]!r}?")
    column = table.column(name)
    if not pa.types.is_floating(column.type):
        return attribute_codes(table, name)
    values = column.to_numpy().astype(np.float64)
    largest = float(np.finfo(np.float32).max)  # borders are float32
    values = np.where(np.isfinite(values), np.clip(values, -largest, largest), np.nan)
    return bin_levels(values, quantile_borders(values, bins)).astype(np.int32)[:, None]


class UserFeatures(NamedTuple):
    """Users as the network reads them, one row a request.

    Attributes
    ----------
    rows : (b,) int64
        Of `PathFeatures.user_codes`.
    lengths : (b,) int64
        Level of the number of events before the request: 0 none, 1 + floor(log2 n).
    """

    rows: Tensor
    lengths: Tensor


def length_levels(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 of no event, 1 + floor(log2 n) of n."""
    return np.searchsorted(2 ** np.arange(LENGTH_LEVELS - 1), lengths, "right").astype(np.int64)


LENGTH_LEVELS = 20
"""Up to 2^18 events, and more."""


def request_windows(histories: Histories, rows: NDArray[np.int64], length: int, *, times: bool) -> Windows:
    """Windows of all rows, those without any event among them: all padding, which `Histories.windows` has not."""
    import torch

    from headwater.nn.sequences import Windows

    some = histories.lengths[rows] > 0
    if some.all() and len(rows):
        return histories.windows(rows, length, times=times)
    device = histories.device
    width = int(np.minimum(histories.lengths[rows], length).max(initial=1))
    filled = histories.windows(rows[some], length, times=times) if some.any() else None
    place = torch.from_numpy(np.flatnonzero(some)).to(device)

    def spread(part: Tensor | None, kind: torch.dtype, tail: tuple[int, ...] = (width,)) -> Tensor:
        whole = torch.zeros(len(rows), *tail, dtype=kind, device=device)
        if part is not None:
            whole[place] = part
        return whole

    def column(name: str) -> Tensor | None:
        return None if filled is None else getattr(filled, name)

    return Windows(
        items=spread(column("items"), torch.int64),
        counts=spread(column("counts"), torch.int64, ()),
        is_event=spread(column("is_event"), torch.bool),
        positions=spread(column("positions"), torch.int64),
        ratings=None if histories.ratings is None else spread(column("ratings"), torch.float32),
        times=spread(column("times"), torch.int64) if times else None,
        gaps=spread(column("gaps"), torch.int64) if times else None,
        request_gaps=spread(column("request_gaps"), torch.int64) if times else None,
    )
