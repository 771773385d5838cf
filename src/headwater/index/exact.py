"""Exact search: one matrix product and a top-k, on whatever device the vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORES_AT_ONCE = 1 << 26
"""Scores held at a time (256 MB), whatever the number of queries is."""


class Allowed(Protocol):
    """Which items may be found: what `headwater.retrieval.Mask` is, seen from here.

    CSR over the query rows: listed items may not be found or, with `is_allowlist`, they alone may. `catalogue`
    (items,) says what anybody may be given.
    """

    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def items(self) -> NDArray[np.int32]: ...
    @property
    def is_allowlist(self) -> bool: ...
    @property
    def catalogue(self) -> NDArray[np.bool_] | None: ...


class Found(NamedTuple):
    """What a search found: sorted by query row, best first within it, equal scores by item.

    Attributes
    ----------
    rows, items : (m,) int32
    scores : (m,) float32
    """

    rows: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]


def exact_search(
    queries: Tensor, vectors: Tensor, k: int, *, allowed: Allowed | None = None, has_vector: Tensor | None = None
) -> Found:
    """The k items of highest inner product with each query, all of them exact.

    Parameters
    ----------
    queries : (n, v, d)
        v vectors of each query; an item's score is its highest over them.
    vectors : (items, d)
    k : int
    allowed : Allowed, optional
    has_vector : (n, v) bool, optional
        Which of the v vectors a query has, where not all have as many; at least one each.
    """
    n, v, _ = queries.shape
    n_items = len(vectors)
    rows = max(1, SCORES_AT_ONCE // max(v * n_items, 1))
    parts: list[Found] = []
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        scores = queries[start:stop].flatten(0, 1) @ vectors.T
        if v > 1:
            scores = scores.view(stop - start, v, n_items)
            if has_vector is not None:
                scores = scores.masked_fill(~has_vector[start:stop, :, None], -torch.inf)
            scores = scores.amax(1)
        parts.append(best_of(scores, k, allowed=allowed, start=start))
    return joined(parts)


def joined(parts: Sequence[Found]) -> Found:
    """What was found for one block of rows after the other."""
    none = Found(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    return Found(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))  # type: ignore[arg-type]


def best_of(scores: Tensor, k: int, *, allowed: Allowed | None = None, start: int = 0) -> Found:
    """The k highest finite entries of dense scores, (n, items), whose rows are `start`, … of `allowed` and of what
    is found."""
    if allowed is not None:
        scores = _restrict(scores, allowed, start, start + len(scores))
    return _top(scores, k, start)


def listed_pairs(allowed: Allowed, start: int, stop: int, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row - start, item) of what rows start..stop list, without items that this index does not hold."""
    begin, end = allowed.offsets[start], allowed.offsets[stop]
    rows = np.repeat(np.arange(stop - start), np.diff(allowed.offsets[start : stop + 1]))
    items = allowed.items[begin:end].astype(np.int64)
    is_held = (items >= 0) & (items < n_items)
    return rows[is_held], items[is_held]


def in_catalogue(allowed: Allowed, n_items: int) -> NDArray[np.bool_] | None:
    """(items,) the catalogue as this index sees it: an item that it does not mention is not in it."""
    if allowed.catalogue is None:
        return None
    catalogue = np.zeros(n_items, bool)
    known = min(n_items, len(allowed.catalogue))
    catalogue[:known] = allowed.catalogue[:known]
    return catalogue


def _restrict(scores: Tensor, allowed: Allowed, start: int, stop: int) -> Tensor:
    n_items = scores.shape[1]
    rows, items = listed_pairs(allowed, start, stop, n_items)
    places = torch.from_numpy(rows * n_items + items).to(scores.device)
    flat = scores.reshape(-1)
    if allowed.is_allowlist:
        kept = torch.full_like(flat, -torch.inf)
        kept[places] = flat[places]
        flat = kept
    else:
        flat = flat.index_fill(0, places, -torch.inf)
    scores = flat.view_as(scores)
    catalogue = in_catalogue(allowed, n_items)
    if catalogue is not None:
        scores = scores.masked_fill(~torch.from_numpy(catalogue).to(scores.device), -torch.inf)
    return scores


def _top(scores: Tensor, k: int, first_row: int) -> Found:
    k = min(k, scores.shape[1])
    best, items = scores.topk(k, dim=1)
    # topk takes any of the items that tie at the cut; those of lowest code are wanted.
    is_cut = ((scores >= best[:, -1:]).sum(1) > k) & best[:, -1].isfinite()
    cut = is_cut.nonzero()[:, 0]
    if len(cut):
        ordered, order = scores[cut].sort(dim=1, descending=True, stable=True)
        best[cut], items[cut] = ordered[:, :k], order[:, :k]
    items, order = items.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order)
    scores_found, items_found = best.cpu().numpy(), items.cpu().numpy()
    rows, columns = np.nonzero(np.isfinite(scores_found))
    return Found(
        (rows + first_row).astype(np.int32),
        items_found[rows, columns].astype(np.int32),
        scores_found[rows, columns].astype(np.float32),
    )
