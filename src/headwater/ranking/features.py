"""What rankers know of items, users and requests before they are built: codes of their attributes. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data.impressions import UNSEEN, Impressions
from headwater.errors import ConfigError
from headwater.retrieval.artefact import below
from headwater.retrieval.paths.features import field_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.ranking.config import NetworkConfig

NOBODY = 0
"""The row of an unknown item, user or padding, in every table; codes stand from row 1 on."""


@dataclass(frozen=True)
class RankingFeatures:
    """Tables by row: 0 is unknown, 1 + code is known.

    Attributes
    ----------
    items : str
        Fingerprint of the items.
    users : str
        Fingerprint of the users; empty where nothing is read of them.
    item_fields, user_fields : dict of str to (rows, values) int32
        Codes of each attribute from 1; 0 pads, and stands for no value.
    user_keys : (users,) int64
        The users' keys, by code, ascending nowhere.
    context_levels : dict of str to tuple of str
        Names of the levels of each feature of the request; level 0 is whatever was not seen in training.
    tasks : tuple of str
    """

    items: str
    users: str
    item_fields: dict[str, NDArray[np.int32]]
    user_fields: dict[str, NDArray[np.int32]]
    user_keys: NDArray[np.int64]
    context_levels: dict[str, tuple[str, ...]]
    tasks: tuple[str, ...]
    n_items: int

    @classmethod
    def of(cls, impressions: Impressions, config: NetworkConfig) -> RankingFeatures:
        """Read what `config` asks for. Raises `ConfigError` where an attribute, context or task is not there."""
        missing = [name for name in config.context if name not in impressions.context]
        if missing:
            known = ", ".join(impressions.context) or "none"
            raise ConfigError(f"{impressions.name} has no context {missing[0]!r}; it has {known}")
        if config.serves not in impressions.tasks:
            raise ConfigError(
                f"{impressions.name} has no label {config.serves!r} to serve; it has {', '.join(impressions.tasks)}"
            )
        reads_users = bool(config.user_dimension or config.user_attributes)
        return cls(
            items=impressions.items.fingerprint(),
            users=impressions.users.fingerprint() if reads_users else "",
            item_fields={
                name: _with_unknown(field_codes(impressions.item_attributes, name, "items", config.bins))
                for name in config.item_attributes
            },
            user_fields={
                name: _with_unknown(field_codes(impressions.user_attributes, name, "users", config.bins))
                for name in config.user_attributes
            },
            user_keys=impressions.users.keys if reads_users else np.zeros(0, np.int64),
            context_levels={name: impressions.context_levels[name] for name in config.context},
            tasks=impressions.tasks,
            n_items=len(impressions.items),
        )

    @property
    def vocabulary(self) -> str:
        """What the rows of a network mean: fingerprints of items and, where they are read, of users."""
        return f"{self.items} {self.users}".strip()

    def require_lineage(self, impressions: Impressions, what: str) -> None:
        """Raise `LineageError`, which names `what`, unless codes of `impressions` mean what they do here."""
        impressions.items.require_lineage(self.items, f"{what} (items)")
        if self.users:
            impressions.users.require_lineage(self.users, f"{what} (users)")

    def item_rows(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of item codes; `NOBODY` for those that came later or are unknown."""
        return np.where((codes >= 0) & (codes < self.n_items), codes.astype(np.int64) + 1, NOBODY)

    def user_rows(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of user codes, likewise."""
        return np.where((codes >= 0) & (codes < len(self.user_keys)), codes.astype(np.int64) + 1, NOBODY)

    def user_rows_of_keys(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of users by their 64-bit keys."""
        ordered, rows = self._sorted_keys
        if not len(ordered):
            return np.full(len(keys), NOBODY, np.int64)
        at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        return np.where(ordered[at] == keys, rows[at], NOBODY)

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.user_keys)
        return self.user_keys[order], order + 1

    def context_rows(self, impressions: Impressions) -> dict[str, NDArray[np.int64]]:
        """Levels of each feature of the request as they were numbered in training, matched by name."""
        found = {}
        for name, levels in self.context_levels.items():
            if name not in impressions.context:
                raise ConfigError(f"{impressions.name} has no context {name!r}, which this ranker reads")
            place = {level: at for at, level in enumerate(levels)}
            moved = np.array([place.get(level, UNSEEN) for level in impressions.context_levels[name]], np.int64)
            found[name] = moved[impressions.context[name]]
        return found

    def first_values(self, attribute: str) -> NDArray[np.int32]:
        """(items + 1,) the first code of an item attribute; 0 where there is none."""
        return np.ascontiguousarray(self.item_fields[attribute][:, 0])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays for an artefact, from which `restore` makes the same."""
        items = {f"items.{name}": codes for name, codes in self.item_fields.items()}
        users = {f"users.{name}": codes for name, codes in self.user_fields.items()}
        words = {f"levels.{name}": _bytes_of(levels) for name, levels in self.context_levels.items()}
        return {**items, **users, **words, "user_keys": self.user_keys, "words": _bytes_of((self.users, *self.tasks))}

    @classmethod
    def restore(
        cls, config: NetworkConfig, items: str, n_items: int, tensors: Mapping[str, NDArray[Any]]
    ) -> RankingFeatures:
        """What `tensors` wrote."""
        users, *tasks = _words_of(tensors["words"])
        levels = below(tensors, "levels.")
        return cls(
            items=items,
            users=users,
            item_fields={name: tensors[f"items.{name}"] for name in config.item_attributes},
            user_fields={name: tensors[f"users.{name}"] for name in config.user_attributes},
            user_keys=tensors["user_keys"],
            context_levels={name: tuple(_words_of(levels[name])) for name in config.context},
            tasks=tuple(tasks),
            n_items=n_items,
        )


def _with_unknown(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros((1, codes.shape[1]), np.int32), codes])


def _bytes_of(words: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(words).encode(), np.uint8)


def _words_of(raw: NDArray[np.uint8]) -> list[str]:
    return raw.tobytes().decode().split("\0")
