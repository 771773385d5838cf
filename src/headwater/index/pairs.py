"""Which pairs of items are worth scoring: those that occur together, and those that share an attribute."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import xxhash

from headwater.index.pairs_kernels import collect_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Counts(Protocol):
    """A square matrix of co-occurrences, (items, items): `scipy.sparse.csr_array`, seen from here."""

    @property
    def indptr(self) -> NDArray[np.integer]: ...
    @property
    def indices(self) -> NDArray[np.integer]: ...
    @property
    def data(self) -> NDArray[np.generic]: ...


class Block(NamedTuple):
    """Candidates of some items, as CSR over them.

    Attributes
    ----------
    offsets : (n + 1,) int64
    candidates : (m,) int32
    digests : (n,) uint64
        Of each item's candidates, and of their counts where similarities read them: another digest means that either
        is another.
    """

    offsets: NDArray[np.int64]
    candidates: NDArray[np.int32]
    digests: NDArray[np.uint64]


class CandidatePairs:
    """The items that each item may be similar to, about ten times as many as an index keeps (section 5.2).

    An item's candidates are those that occur together with it, most often first; where they are fewer than
    `per_item`, the most popular items of its attributes' values follow, value by value. So an item that nobody has
    acted on yet has neighbours too.

    Parameters
    ----------
    cooccurrence : csr_array, (items, items)
        Row j: how often others occur together with j. Symmetric or not; what is not positive does not count.
    attributes : sequence of (items,) or (items, values) int32, or one (items, columns) array, optional
        Codes of attributes such as brand, category and genres, the most telling first; negative where an item has
        none. An attribute with several values is an array with a column for each that an item may have; columns of
        one array that is given alone are attributes of one value each.
    popularity : (items,), optional
        Orders the items of one value; their co-occurrences by default.
    per_item : int
        k̂.
    of_counts : bool
        Whether similarities read the counts, so that a row is stale when one of them changed. Where counts only say
        which pairs are scored, a row is stale when its candidates are others.

    Raises
    ------
    ValueError
        The parts are not of the same items.
    """

    def __init__(
        self,
        cooccurrence: Counts,
        attributes: NDArray[np.integer] | Sequence[NDArray[np.integer]] = (),
        popularity: NDArray[np.generic] | None = None,
        *,
        per_item: int = 1000,
        of_counts: bool = True,
    ) -> None:
        offsets = np.asarray(cooccurrence.indptr, np.int64)
        others = np.asarray(cooccurrence.indices, np.int32)
        counts = np.asarray(cooccurrence.data, np.float32)
        n_items = len(offsets) - 1
        falls = np.diff(others) <= 0
        starts = offsets[1:-1]
        falls[starts[(starts > 0) & (starts < len(others))] - 1] = False  # a row may begin below the last one's end
        if falls.any():
            order = np.lexsort((others, np.repeat(np.arange(n_items), np.diff(offsets))))
            others, counts = others[order], counts[order]
        columns = list(attributes.T) if isinstance(attributes, np.ndarray) else attributes
        each = [codes[:, None] if codes.ndim == 1 else codes for codes in columns]
        if popularity is None:
            total = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
            popularity = total[offsets[1:]] - total[offsets[:-1]]
        of_others = [len(codes) for codes in each if len(codes) != n_items]
        if of_others or len(popularity) != n_items:
            described = of_others[0] if of_others else n_items
            raise ValueError(
                f"co-occurrence is of {n_items} items, attributes of {described}, popularity of {len(popularity)}"
            )
        if per_item < 1:
            raise ValueError(f"an item needs at least one candidate, not {per_item}")
        if len(others) and not 0 <= others.min() <= others.max() < n_items:
            raise ValueError(f"co-occurrence must be square: {n_items} rows, and a column {others.max()}")
        self.n_items = n_items
        self.per_item = per_item
        self._of_counts = of_counts
        self._offsets, self._others, self._counts = offsets, np.ascontiguousarray(others), np.ascontiguousarray(counts)
        self._groups, self._group_offsets, self._members = _by_value(each, popularity)

    def of(self, items: NDArray[np.int32]) -> Block:
        """The candidates of `items`, never the item itself, none twice."""
        found = np.empty((len(items), min(self.per_item, self.n_items)), np.int32)
        sizes, digests = np.zeros(len(items), np.int64), np.zeros(len(items), np.uint64)
        collect_candidates(
            np.ascontiguousarray(items, np.int32),
            self._offsets,
            self._others,
            self._counts,
            self._groups,
            self._group_offsets,
            self._members,
            self._of_counts,
            found,
            sizes,
            digests,
        )
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Block(offsets, found[np.arange(found.shape[1]) < sizes[:, None]], digests)

    @cached_property
    def fingerprint(self) -> str:
        """Of all that the candidates follow from."""
        digest = xxhash.xxh3_128(f"{self.per_item} {self._of_counts}".encode())
        for part in (
            *(self._offsets, self._others, self._counts),
            *(self._groups, self._group_offsets, self._members),
        ):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def _by_value(
    attributes: Sequence[NDArray[np.integer]], popularity: NDArray[np.generic]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Each item's groups (items, columns), and the groups' members as CSR, the most popular first."""
    columns: list[NDArray[np.int64]] = [np.zeros((len(popularity), 0), np.int64)]
    sizes, members = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    n_groups = 0
    for codes in attributes:
        items, places = np.nonzero(codes >= 0)
        distinct, values = np.unique(codes[items, places], return_inverse=True)
        groups: NDArray[np.int64] = np.full(codes.shape, -1, np.int64)
        groups[items, places] = n_groups + values
        columns.append(groups)
        members.append(items[np.lexsort((items, -popularity[items].astype(np.float64), values))].astype(np.int32))
        sizes.append(np.bincount(values, minlength=len(distinct)))
        n_groups += len(distinct)
    return (
        np.ascontiguousarray(np.concatenate(columns, 1)),
        np.cumsum(np.concatenate(sizes)).astype(np.int64),
        np.concatenate(members),
    )
