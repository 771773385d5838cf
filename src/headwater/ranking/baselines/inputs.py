"""Impressions as a table of numbers and levels, in which no row knows what happened on its own day or later.

Numbers: rates and counts of ids and pairs of ids from earlier days, how the item fits the history before the
impression, and numeric attributes. Levels: ids, attributes and context as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from headwater.data.impressions import UNSEEN, Impressions
from headwater.errors import ConfigError
from headwater.ranking.baselines.config import BaselineConfig
from headwater.ranking.baselines.matches import Windows, matches, mean_before, seconds_since
from headwater.ranking.baselines.rates import Counts, PastCounts
from headwater.retrieval.artefact import below
from headwater.retrieval.paths.features import field_codes

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Inputs:
    """n impressions as a model reads them.

    Attributes
    ----------
    numbers : {name: (n,) float32}
        NaN where there is nothing, such as the time since the last event of an empty history.
    levels : {name: (n, w) int32}
        Level 0 is unseen, or pads a list.
    sizes : {name: int}
        Levels that each has, level 0 included.
    """

    numbers: dict[str, NDArray[np.float32]]
    levels: dict[str, NDArray[np.int32]]
    sizes: dict[str, int]


@dataclass(frozen=True)
class InputTables:
    """What must be kept of the training days to read later impressions in the same way.

    Attributes
    ----------
    config : BaselineConfig
    item_fields, user_fields : {name: (codes + 1, w) int32}
        Levels of each attribute by code; the last row is for ids that were not known in training.
    item_numbers, user_numbers : {name: (codes + 1,) float64}
        Of attributes that are numbers.
    context_levels : {name: levels}
    counts : {name: PastCounts}
    """

    config: BaselineConfig
    item_fields: dict[str, NDArray[np.int32]]
    user_fields: dict[str, NDArray[np.int32]]
    item_numbers: dict[str, NDArray[np.float64]]
    user_numbers: dict[str, NDArray[np.float64]]
    context_levels: dict[str, tuple[str, ...]]
    counts: dict[str, PastCounts]

    @classmethod
    def learn(cls, impressions: Impressions, task: str, config: BaselineConfig) -> tuple[Self, Inputs]:
        """Count the samples of `task`, and give them as inputs, each with what was known before its day.

        Raises `ConfigError` where the impressions lack an attribute or a context that `config` names.
        """
        lacking = [name for name in config.context if name not in impressions.context]
        if lacking:
            known = ", ".join(impressions.context) or "none"
            raise ConfigError(f"{impressions.name} has no context {lacking[0]!r}; it has {known}")
        tables = cls(
            config=config,
            item_fields=_fields(impressions.item_attributes, config.item_attributes, "items", config.bins),
            user_fields=_fields(impressions.user_attributes, config.user_attributes, "users", config.bins),
            item_numbers=_numbers(impressions.item_attributes, config.item_attributes),
            user_numbers=_numbers(impressions.user_attributes, config.user_attributes),
            context_levels={name: impressions.context_levels[name] for name in config.context},
            counts={},
        )
        levels = tables._levels(impressions)
        labels = impressions.labels[task]
        before: dict[str, Counts] = {}
        for name, keys in tables._keys(impressions, levels).items():
            tables.counts[name], before[name] = PastCounts.learn(keys, impressions.days, labels)
        return tables, tables._inputs(impressions, levels, before)

    def read(self, impressions: Impressions) -> Inputs:
        """Later impressions as inputs; their labels are not read."""
        missing = [name for name in self.context_levels if name not in impressions.context]
        if missing:
            raise ConfigError(f"{impressions.name} has no context {missing[0]!r}, which this model reads")
        levels = self._levels(impressions)
        keys = self._keys(impressions, levels)
        return self._inputs(impressions, levels, {name: self.counts[name].look_up(keys[name]) for name in keys})

    # -- levels

    def _levels(self, impressions: Impressions) -> dict[str, NDArray[np.int32]]:
        users, items = self._known(impressions.user_codes, "user"), self._known(impressions.item_codes, "item")
        levels = {"user": (users + 1)[:, None], "item": (items + 1)[:, None]}
        levels |= {f"user.{name}": table[users] for name, table in self.user_fields.items()}
        levels |= {f"item.{name}": table[items] for name, table in self.item_fields.items()}
        for name, known in self.context_levels.items():
            place = {level: at for at, level in enumerate(known)}
            moved = np.array([place.get(level, UNSEEN) for level in impressions.context_levels[name]], np.int32)
            levels[name] = moved[impressions.context[name]][:, None]
        return levels

    def _known(self, codes: NDArray[np.int32], side: str) -> NDArray[np.int32]:
        """Codes, -1 where training did not have them: the last row of every table, and level 0."""
        return np.where(codes < self._size(side), codes, -1).astype(np.int32)

    def _size(self, side: str) -> int:
        return len((self.item_numbers if side == "item" else self.user_numbers)[ID]) - 1

    # -- numbers

    def _keys(self, impressions: Impressions, levels: dict[str, NDArray[np.int32]]) -> dict[str, NDArray[np.int64]]:
        """Name -> (n,) key, of whatever is counted: all, each level, the user with the item's, the item with his."""
        first = {name: codes[:, 0].astype(np.int64) for name, codes in levels.items()}
        keys = {ALL: np.zeros(len(impressions), np.int64), **first}
        for name in self.item_fields:
            keys[f"user*item.{name}"] = first["user"] << 32 | first[f"item.{name}"]
        for name in self.user_fields:
            keys[f"item*user.{name}"] = first["item"] << 32 | first[f"user.{name}"]
        return keys

    def _inputs(
        self, impressions: Impressions, levels: dict[str, NDArray[np.int32]], before: Mapping[str, Counts]
    ) -> Inputs:
        numbers: dict[str, NDArray[np.float64]] = {}
        overall = before[ALL].rate(0.5, 2.0)
        for name, counts in before.items():
            if name != ALL:
                numbers[f"rate({name})"] = counts.rate(overall, self.config.smoothing)
                numbers[f"shown({name})"] = np.log1p(counts.shown)
        items = self._known(impressions.item_codes, "item")
        users = self._known(impressions.user_codes, "user")
        numbers |= {f"value(user.{name})": values[users] for name, values in self.user_numbers.items() if name != ID}
        numbers |= {f"value(item.{name})": values[items] for name, values in self.item_numbers.items() if name != ID}
        numbers |= self._fit_to_history(impressions, items)
        sizes = {"user": self._size("user") + 1, "item": self._size("item") + 1}
        sizes |= {f"user.{name}": int(table.max(initial=0)) + 1 for name, table in self.user_fields.items()}
        sizes |= {f"item.{name}": int(table.max(initial=0)) + 1 for name, table in self.item_fields.items()}
        sizes |= {name: len(known) for name, known in self.context_levels.items()}
        return Inputs({name: values.astype(np.float32) for name, values in numbers.items()}, levels, sizes)

    def _fit_to_history(self, impressions: Impressions, items: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        windows = Windows.of(impressions, self.config.length)
        events = windows.stop - windows.start
        some = np.maximum(events, 1)
        n_items = self._size("item")
        # Events may hold items that training did not know; they match nothing but fill the history.
        itself = np.arange(1, len(impressions.items) + 2, dtype=np.int32)[:, None]
        itself[-1] = 0
        found = {
            "history": np.log1p(events),
            "since last": seconds_since(impressions, np.where(events > 0, windows.stop - 1, -1)),
        }
        for name, table in {"item": itself, **self.item_fields}.items():
            values = table if name == "item" else _grown(table, len(impressions.items), n_items)
            match = matches(impressions, windows, values)
            found[f"matches({name})"] = np.log1p(match.whole)
            found[f"since({name})"] = seconds_since(impressions, match.last)
            if name != "item":
                found[f"share({name})"] = match.whole / some
                found[f"recent share({name})"] = match.recent / np.maximum(windows.stop - windows.recent, 1)
        for name, values in self.item_numbers.items():
            if name != ID:
                of_items = np.append(values[:-1], np.full(len(impressions.items) - n_items, np.nan))
                found[f"above history({name})"] = values[items] - mean_before(impressions, windows, of_items)
        return found

    # -- artefacts

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays for an artefact, from which `restore` makes the same."""
        found: dict[str, NDArray[Any]] = {}
        for part in ("item_fields", "user_fields", "item_numbers", "user_numbers"):
            found |= {f"{part}.{name}": values for name, values in getattr(self, part).items()}
        for name, levels in self.context_levels.items():
            found[f"context_levels.{name}"] = np.frombuffer("\0".join(levels).encode(), np.uint8)
        for name, counts in self.counts.items():
            found |= {f"counts.{name}/{part}": getattr(counts, part) for part in ("keys", "shown", "positive")}
        return found

    @classmethod
    def restore(cls, config: BaselineConfig, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """What `tensors` wrote."""
        words = below(tensors, "context_levels.")
        counts = below(tensors, "counts.")
        names = {name.rpartition("/")[0] for name in counts}
        return cls(
            config=config,
            item_fields={name: tensors[f"item_fields.{name}"] for name in config.item_attributes},
            user_fields={name: tensors[f"user_fields.{name}"] for name in config.user_attributes},
            item_numbers=below(tensors, "item_numbers."),
            user_numbers=below(tensors, "user_numbers."),
            context_levels={name: tuple(words[name].tobytes().decode().split("\0")) for name in config.context},
            counts={
                name: PastCounts(counts[f"{name}/keys"], counts[f"{name}/shown"], counts[f"{name}/positive"])
                for name in names
            },
        )


ALL = "all"
"""What is counted over every impression: the rate that others are drawn to."""

ID = ""
"""Names a column of zeros that says how many codes there are, also where no attribute is read."""


def _fields(table: pa.Table, names: tuple[str, ...], whose: str, bins: int) -> dict[str, NDArray[np.int32]]:
    """Levels by code, with a row of zeros at the end, which -1 indexes."""
    found = {}
    for name in names:
        codes = field_codes(table, name, whose, bins)
        found[name] = np.concatenate([codes, np.zeros((1, codes.shape[1]), np.int32)])
    return found


def _numbers(table: pa.Table, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Values by code of those columns that are numbers, with NaN at the end; see `ID`."""
    import pyarrow as pa

    found = {ID: np.zeros(table.num_rows + 1)}
    for name in names:
        kind = table.schema.field(name).type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            values = table.column(name).cast(pa.float64()).to_numpy()
            found[name] = np.append(values, np.nan)
    return found


def _grown(table: NDArray[np.int32], n_items: int, n_known: int) -> NDArray[np.int32]:
    """A table of `n_known` items and the unknown row as one of `n_items`, later ones without any value."""
    return np.concatenate([table[:-1], np.zeros((n_items - n_known + 1, table.shape[1]), np.int32)])
