"""The Channel seam: what a source of candidates is asked, what it returns, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ChannelSettings(Settings):
    """Settings that every trained channel has; its own class adds to them."""

    kind: str
    """Names the channel class in a recipe."""

    name: str
    """Name in candidates and reasons; one channel of a name in a service."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Which items may be returned, decided once by the caller, obeyed by every channel.

    Attributes
    ----------
    offsets : (n + 1,) int64
        CSR over the query rows.
    items : int32
        Row r's listed item codes: those that may not be returned, or with `is_allowlist` those that alone may.
    is_allowlist : bool
    catalogue : (items,) bool, or None
        Items that may be returned to anybody; None allows all.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    is_allowlist: bool = False
    catalogue: NDArray[np.bool_] | None = None

    @classmethod
    def seen(cls, queries: Queries, *, catalogue: NDArray[np.bool_] | None = None) -> Mask:
        """Refuse every item of each query's own history."""
        return cls(queries.offsets, queries.items, catalogue=catalogue)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slice(self, start: int, stop: int) -> Mask:
        """The mask of query rows start..stop."""
        begin, end = self.offsets[start], self.offsets[stop]
        return Mask(self.offsets[start : stop + 1] - begin, self.items[begin:end], self.is_allowlist, self.catalogue)

    def apply(self, scores: NDArray[np.float32]) -> None:
        """Set what may not be returned to -inf in dense scores, (rows, items), in place."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        if self.is_allowlist:
            listed = scores[rows, self.items].copy()
            scores[:] = -np.inf
            scores[rows, self.items] = listed
        else:
            scores[rows, self.items] = -np.inf
        if self.catalogue is not None:
            scores[:, ~self.catalogue] = -np.inf

    def allows(self, rows: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each (query row, item code) pair may be returned."""
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        width = int(max(self.items.max(initial=0), items.max(initial=0))) + 1
        # Sorted and searched: np.isin hashes the listed pairs first, which took 100 times as long for a million.
        pairs = np.sort(owners * width + self.items)
        asked = rows.astype(np.int64) * width + items
        at = np.searchsorted(pairs, asked)
        listed = np.zeros(len(asked), bool)
        inside = at < len(pairs)
        listed[inside] = pairs[at[inside]] == asked[inside]
        allowed = listed if self.is_allowlist else ~listed
        return allowed if self.catalogue is None else allowed & self.catalogue[items]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items for each query, columnar; sorted by query row, best first within it.

    Equal scores stand in ascending item code, so that one input has one answer.

    Attributes
    ----------
    n_queries : int
        Query rows, of which some may have no candidate.
    rows : (m,) int32
    items : (m,) int32
    scores : (m,) float32
        Comparable within one query and one channel only.
    channels : (m,) uint32
        Bit b is set where `names[b]` retrieved the item for that query: a merge keeps every source.
    names : tuple of str
        At most 32 channel names.
    """

    n_queries: int
    rows: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    channels: NDArray[np.uint32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(n_queries + 1,) CSR offsets of the rows."""
        return np.searchsorted(self.rows, np.arange(self.n_queries + 1)).astype(np.int64)

    def ranks(self) -> NDArray[np.int64]:
        """(m,) the place of each candidate in its query's list, from 0."""
        return np.arange(len(self)) - self.offsets[self.rows]

    def of(self, row: int) -> NDArray[np.int32]:
        """Item codes of one query row, best first."""
        start, stop = np.searchsorted(self.rows, [row, row + 1])
        return self.items[start:stop]

    def channels_at(self, at: int) -> tuple[str, ...]:
        """Names of the channels that retrieved candidate `at`."""
        return tuple(name for bit, name in enumerate(self.names) if int(self.channels[at]) >> bit & 1)

    def found_by(self, name: str) -> NDArray[np.bool_]:
        """(m,) whether channel `name` retrieved each candidate."""
        if name not in self.names:
            return np.zeros(len(self), bool)
        return (self.channels >> np.uint32(self.names.index(name)) & np.uint32(1)).astype(bool)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.integer]) -> Candidates:
        """The marked candidates (a boolean mask, or positions in ascending row order)."""
        return Candidates(
            self.n_queries,
            self.rows[keep],
            self.items[keep],
            self.scores[keep],
            self.channels[keep],
            self.names,
        )

    @classmethod
    def from_scores(cls, name: str, scores: NDArray[np.float32], k: int) -> Candidates:
        """The k best finite entries of each row of dense scores, (queries, items); ties by item code.

        Raises `ValueError` where k is not positive. Where fewer entries are finite, fewer are returned.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        k = min(k, scores.shape[1])
        if not k:
            return cls.empty(name, len(scores))
        threshold = np.partition(scores, -k, axis=1)[:, -k]
        rows, items = np.nonzero((scores >= threshold[:, None]) & np.isfinite(scores))
        best = scores[rows, items]
        order = np.lexsort((items, -best, rows))
        rows, items, best = rows[order], items[order], best[order]
        starts = np.searchsorted(rows, np.arange(len(scores)))
        kept = np.arange(len(rows)) - starts[rows] < k
        return cls.single(name, len(scores), rows[kept], items[kept], best[kept])

    @classmethod
    def single(
        cls,
        name: str,
        n_queries: int,
        rows: NDArray[np.integer],
        items: NDArray[np.integer],
        scores: NDArray[np.floating],
    ) -> Candidates:
        """Candidates of one channel from columns that are sorted already."""
        return cls(
            n_queries,
            rows.astype(np.int32),
            items.astype(np.int32),
            scores.astype(np.float32),
            np.ones(len(rows), np.uint32),
            (name,),
        )

    @classmethod
    def empty(cls, name: str, n_queries: int) -> Candidates:
        """No candidate for any of `n_queries` queries."""
        none = np.zeros(0, np.int32)
        return cls.single(name, n_queries, none, none, np.zeros(0, np.float32))

    @classmethod
    def stack(cls, parts: list[tuple[int, Candidates]]) -> Candidates:
        """Join (first row, candidates) of successive batches of queries; all of one channel list."""
        first = parts[0][1]
        return cls(
            sum(part.n_queries for _, part in parts),
            np.concatenate([part.rows + np.int32(start) for start, part in parts]),
            np.concatenate([part.items for _, part in parts]),
            np.concatenate([part.scores for _, part in parts]),
            np.concatenate([part.channels for _, part in parts]),
            first.names,
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why an item is a candidate.

    Attributes
    ----------
    channel : str
        Name of the channel that gives the reason.
    share : float
        The part of that channel's score that this reason carries, 0..1.
    trigger : int or None
        Item code of the history that led here.
    scenario, visit, rank : str, str, int, or None
        Where a nearline candidate was ranked: the surface, the visit's request id, the rank from 0.
    age_seconds : int or None
        How long before the request that visit was.
    cluster : str or None
        The cluster that gave the item.
    chance : float or None
        How likely it was that the user wants an item of that cluster, 0..1.
    is_direct : bool
        What is known of the user led here at once, and not over an item of the history; with a share of 1 there is
        no such item.
    """

    channel: str
    share: float = 1.0
    trigger: int | None = None
    scenario: str | None = None
    visit: str | None = None
    rank: int | None = None
    age_seconds: int | None = None
    cluster: str | None = None
    chance: float | None = None
    is_direct: bool = False


Reasons = list[tuple[Reason, ...]]
"""One tuple for each candidate, in the candidates' order; strongest reason first; empty where it is not theirs."""


@runtime_checkable
class Channel(Protocol):
    """One source of candidates; all that the service needs to know."""

    @property
    def name(self) -> str: ...

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """At most k candidates for each query, best first, none that `allowed` refuses."""
        ...

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """Why each of the (few, final) candidates is one of this channel's."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """What a learned channel or ranker also is."""

    kind: ClassVar[str]
    """Names its class in recipes and releases."""

    def fit(self, data: Dataset, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Learn from `data`; `validate` returns the figure that early stopping maximises."""
        ...

    def save(self, path: Path) -> None:
        """Write safetensors and JSON into the folder `path`."""
        ...

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; raises `LineageError` under another item vocabulary."""
        ...
