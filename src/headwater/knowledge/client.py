"""What asks for knowledge, in process or over HTTP: one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from headwater.data.impressions import Impressions
from headwater.data.vocabulary import UNKNOWN, Vocabulary
from headwater.errors import ConfigError, LineageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOBODY_KEY = -(1 << 63)
"""Asks for what is said of somebody or something unknown."""

ROWS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Answer:
    """K̃(u, i, c, v) of a batch.

    Attributes
    ----------
    version : int
        Which all rows are of.
    values : (n, width) float32
    flags : (n,) uint8
        Sum of `USER_UNKNOWN`, `ITEM_UNKNOWN`, `PAIR_UNKNOWN` of `headwater.knowledge.records`: what is a default.
    """

    version: int
    values: NDArray[np.float32]
    flags: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer as it is stored and travels: half precision, without the product.

    Attributes
    ----------
    version : int
    width : int
        Of what is known of a user, and of an item.
    halves : (n, 2 * width + pairs) uint16
        Bits of [K̂_u, K̂_i, K̂_uc].
    flags : (n,) uint8
        As of `Answer`.
    """

    version: int
    width: int
    halves: NDArray[np.uint16]
    flags: NDArray[np.uint8]

    def widened(self) -> Answer:
        """[K̂_u, K̂_i, K̂_u ∘ K̂_i, K̂_uc] (eq. 6) in single precision: the same bits wherever it is done."""
        from headwater.knowledge.records import HALVES, widen

        values = np.empty((len(self.halves), self.halves.shape[1] + self.width), np.float32)
        widen(self.halves, HALVES, values)
        return Answer(self.version, values, self.flags)


@dataclass(frozen=True, slots=True)
class Held:
    """One version of a center.

    Attributes
    ----------
    version : int
    is_current : bool
    pins : tuple of str
    about : dict
        See `Built.about`; with `checksum`, `published` and the numbers of `n_users`, `n_items`, `n_pairs`.
    """

    version: int
    is_current: bool
    pins: tuple[str, ...]
    about: dict[str, Any]


class KnowledgeClient(Protocol):
    """Asks a center."""

    def get(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        categories: NDArray[np.int64] | None = None,
        *,
        version: int | None = None,
    ) -> Answer:
        """Knowledge of n pairs, all of one version, by 64-bit keys.

        Without `categories`, each item's own; without `version`, the served one. Raises `VersionGone` where the
        version is not there.
        """
        ...

    def held(self) -> list[Held]:
        """The versions that are there, oldest first."""
        ...


class CenterSource:
    """A version of a center as what plugged rankers read: training and serving ask alike, and get the same bytes.

    Parameters
    ----------
    client : KnowledgeClient
    version : int, optional
        The served one without; from then on it stays the same.
    """

    def __init__(self, client: KnowledgeClient, version: int | None = None) -> None:
        held = {one.version: one for one in client.held()}
        current = [one.version for one in held.values() if one.is_current]
        if version is None and not current:
            raise ConfigError("the center serves no version of knowledge; publish one")
        self.version = current[0] if version is None else version
        if self.version not in held:
            there = ", ".join(map(str, held)) or "none"
            raise ConfigError(f"the center has no version {self.version} of knowledge; it has {there}")
        self._client, self._about = client, held[self.version].about

    @property
    def identity(self) -> str:
        """Of the version's content, wherever it is served from."""
        return f"center:{self._about['checksum']}"

    @property
    def parts(self) -> dict[str, int]:
        """Name and width of each part, in order."""
        return dict(self._about["parts"])

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """(n, width) of every impression's user and item. Raises `LineageError` where it was built on other ids."""
        for side, vocabulary in (("users", impressions.users), ("items", impressions.items)):
            if not vocabulary.accepts(self._about[side]):
                raise LineageError(
                    f"version {self.version} of knowledge was built on other {side} ({self._about[side]}) than those "
                    f"of {impressions.name} ({vocabulary.fingerprint()}); name the version that was built on these"
                )
        users = _keys(impressions.users.keys, impressions.user_codes)
        return self.of_pairs(users, _keys(impressions.items.keys, impressions.item_codes))

    def require_items(self, items: Vocabulary) -> None:
        """Raise `LineageError` where the version was built on other items."""
        if not items.accepts(self._about["items"]):
            raise LineageError(
                f"version {self.version} of knowledge was built on other items ({self._about['items']}) than these "
                f"({items.fingerprint()}); name the version that was built on these"
            )

    def of_pairs(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, width) of users and items by their keys; the bytes that `knowledge` gives of the same pairs."""
        found = np.empty((len(users), sum(self.parts.values())), np.float32)
        for start in range(0, len(found), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            found[some] = self._client.get(users[some], items[some], version=self.version).values
        return found


def source_of(client: KnowledgeClient, identity: str, what: str) -> CenterSource:
    """The version of a center whose content is the one that `what` was trained with.

    Raises `LineageError`, which says what there is, where it has none.
    """
    held = client.held()
    for one in reversed(held):
        source = CenterSource(client, one.version)
        if source.identity == identity:
            return source
    there = ", ".join(f"{one.version} (center:{one.about['checksum']})" for one in held) or "none"
    raise LineageError(
        f"{what} was trained with knowledge of {identity}, which no version of the center is; it has {there}. "
        "Publish and pin that version, or train with one that is there"
    )


def _keys(keys: NDArray[np.int64], codes: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.where(codes == UNKNOWN, NOBODY_KEY, np.append(keys, NOBODY_KEY)[codes])
