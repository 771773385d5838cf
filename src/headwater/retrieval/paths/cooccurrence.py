"""How often two items come together, counted so that a training user's own events can be left out.

A count that includes the very pair to be predicted gives the label away, and leaving out exactly that one gives it
away in reverse: positives would see c - 1, negatives c. So users are dealt into folds, every count is kept by fold,
and the features of a user come from the other folds, scaled up to all of them. How popular the items are is not
corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headwater.data.dataset import Dataset
from headwater.retrieval.classic.additive import packed
from headwater.retrieval.classic.incidence import Incidence

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

PAIRS_AT_ONCE = 1 << 22
"""Pairs that the counting buffer holds, or one row where the catalogue is larger; 24 bytes each with 5 folds."""

MEASURES = ("count", "cosine", "lift", "conditional")
"""What can be made of a pair's count."""

Measure = Literal["count", "cosine", "lift", "conditional", "window-count", "window-cosine", "window-lift",
                  "window-conditional", "swing"]  # fmt: skip
"""What SimNet can read of a pair: of whole histories or sessions, or (`window-`) of what follows soon."""


@dataclass(frozen=True, slots=True)
class Cooccurrence:
    """Counts of item pairs as CSR by trigger, ascending by target; no pair of an item with itself.

    Attributes
    ----------
    offsets : (items + 1,) int64
    targets : (pairs,) int32
    counts : (pairs, folds) int32
        What the users of each fold contribute.
    trigger_totals, target_totals : (items,) float64
        How often an item is there to begin a pair, and to end one; over all folds.
    total : float
        Of what: sets for counts of sets, pairs for counts of windows.
    """

    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    counts: NDArray[np.int32]
    trigger_totals: NDArray[np.float64]
    target_totals: NDArray[np.float64]
    total: float

    @property
    def n_items(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_folds(self) -> int:
        return self.counts.shape[1]

    def count(self, without: int | None = None) -> NDArray[np.float32]:
        """(pairs,) counts of all users, or of those outside a fold, scaled by what that leaves out of all counts."""
        everything = np.zeros(len(self.targets), np.int64)
        for fold in range(self.n_folds):
            everything += self.counts[:, fold]
        if without is None:
            return everything.astype(np.float32)
        others = everything - self.counts[:, without]
        return others.astype(np.float32) * np.float32(everything.sum() / max(int(others.sum()), 1))

    def factor(self, measure: str) -> NDArray[np.float32]:
        """(pairs,) what a pair's count is multiplied by; one of `MEASURES`. Of all users, whoever is left out."""
        if measure == "count":
            return np.ones(len(self.targets), np.float32)
        triggers, targets = np.maximum(self.trigger_totals, 1), np.maximum(self.target_totals, 1)
        if measure == "cosine":
            of_trigger, of_target = triggers**-0.5, targets**-0.5
        elif measure == "lift":
            of_trigger, of_target = self.total / triggers, 1 / targets
        else:
            of_trigger, of_target = 1 / triggers, np.ones(self.n_items)
        of_pair = np.repeat(of_trigger.astype(np.float32), np.diff(self.offsets))
        return of_pair * of_target.astype(np.float32)[self.targets]

    def cosine(self, without: int | None = None) -> NDArray[np.float32]:
        """(pairs,) c_ji / √(n_j n_i)."""
        return self.count(without) * self.factor("cosine")

    def lift(self, without: int | None = None) -> NDArray[np.float32]:
        """(pairs,) n c_ji / (n_j n_i): how many times more often than by chance."""
        return self.count(without) * self.factor("lift")

    def conditional(self, without: int | None = None) -> NDArray[np.float32]:
        """(pairs,) c_ji / n_j: the chance of the target where the trigger is."""
        return self.count(without) * self.factor("conditional")

    def matrix(self, values: NDArray[np.float32]) -> sp.csr_array:
        """triggers × targets with one of the measures above."""
        import scipy.sparse as sp

        return sp.csr_array((values, self.targets, self.offsets), shape=(self.n_items, self.n_items))


def user_folds(n_users: int, n_folds: int, seed: int) -> NDArray[np.int64]:
    """(users,) a fold for each user, at random, of sizes that differ by one at most."""
    return np.random.default_rng([seed, n_folds]).permutation(np.arange(n_users) % n_folds).astype(np.int64)


def count_sets(
    data: Dataset,
    folds: NDArray[np.int64],
    *,
    session_gap: int | None = None,
    folder: Path | None = None,
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> Cooccurrence:
    """In how many histories, or sessions, two items stand together; once each, however often they come.

    Parameters
    ----------
    folds : (users,) int64
        From 0.
    session_gap : int, optional
        In the data's unit of time: a longer gap between two events ends a session. Without it the whole history
        of a user is one.
    folder : Path, optional
        Pairs go to files there and are mapped, so that memory holds the events, the buffer and items × folds
        counts, whatever the number of pairs is.
    pairs_at_once : int
        Size of the buffer; at least a row fits.
    """
    from headwater.retrieval.paths import cooccurrence_kernels as kernels

    sets, owners = _sets(data, session_gap)
    chosen = Incidence.of(sets)
    set_folds = folds[owners].astype(np.int64)

    def fill(start: int, *buffers: Any) -> int:
        return kernels.rows_of_sets(
            start, chosen.item_offsets, chosen.item_users, chosen.user_offsets, chosen.user_items, set_folds, *buffers
        )

    n_folds = int(folds.max(initial=0)) + 1
    popularity = np.diff(chosen.item_offsets).astype(np.float64)
    offsets, targets, counts = _counted(fill, len(data.items), n_folds, folder, "sets", pairs_at_once)
    return Cooccurrence(offsets, targets, counts, popularity, popularity, float(len(owners)))


def count_windows(
    data: Dataset,
    folds: NDArray[np.int64],
    *,
    window: int = 10,
    folder: Path | None = None,
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> Cooccurrence:
    """How often a target comes among the `window` events after a trigger; see `count_sets` for the rest."""
    from headwater.retrieval.paths import cooccurrence_kernels as kernels

    places = np.argsort(data.event_items, kind="stable").astype(np.int64)
    item_offsets = np.concatenate([[0], np.cumsum(data.item_counts)]).astype(np.int64)
    ends = np.repeat(data.offsets[1:], data.lengths).astype(np.int64)
    event_folds = folds[data.event_users].astype(np.int64)
    items = packed(data.event_items, np.int32)

    def fill(start: int, *buffers: Any) -> int:
        return kernels.rows_of_windows(start, item_offsets, places, items, ends, event_folds, window, *buffers)

    n_folds = int(folds.max(initial=0)) + 1
    n_items = len(data.items)
    offsets, targets, counts = _counted(fill, n_items, n_folds, folder, "windows", pairs_at_once)
    # Row by row, so that a mapped file is not read into memory as a whole.
    begun, ended = np.zeros(n_items), np.zeros(n_items)
    for start, stop in _blocks(offsets, pairs_at_once):
        part = slice(int(offsets[start]), int(offsets[stop]))
        of_pair = counts[part].sum(1).astype(np.float64)
        begun += np.bincount(np.repeat(np.arange(start, stop), np.diff(offsets[start : stop + 1])), of_pair, n_items)
        ended += np.bincount(targets[part], of_pair, n_items)
    return Cooccurrence(offsets, targets, counts, begun, ended, float(begun.sum()))


def swing(data: Dataset, *, neighbours: int = 400, without: NDArray[np.bool_] | None = None) -> sp.csr_array:
    """triggers × targets of SWING's similarities, the best `neighbours` triggers of each target.

    Parameters
    ----------
    without : (users,) bool, optional
        Users left out. Swing counts pairs of users, so nothing of a left-out user remains in any pair, and no
        factor restores what that takes away: compare values of one call only.
    """
    import scipy.sparse as sp

    from headwater.retrieval.classic.swing import SWING, SWINGConfig

    used = data if without is None else data.keep(~without[data.event_users])
    tensors = SWING(SWINGConfig(neighbours=neighbours)).fit(used).tensors()
    shape = (len(data.items), len(data.items))
    return sp.csr_array((tensors["similarities"], tensors["targets"], tensors["offsets"]), shape=shape)


def _sets(data: Dataset, session_gap: int | None) -> tuple[sp.csr_array, NDArray[np.int64]]:
    """Sets × items, and the user of each set."""
    import scipy.sparse as sp

    if session_gap is None:
        return data.matrix(), np.arange(len(data.users))
    users = data.event_users
    is_first = np.ones(len(data), bool)
    is_first[1:] = (users[1:] != users[:-1]) | (np.diff(data.event_times) > session_gap)
    owner = np.cumsum(is_first) - 1
    shape = (int(is_first.sum()), len(data.items))
    sets = sp.csr_array((np.ones(len(data), np.float32), (owner, data.event_items)), shape=shape)
    return sets, users[is_first].astype(np.int64)


def _blocks(offsets: NDArray[np.int64], pairs_at_once: int) -> list[tuple[int, int]]:
    """Successive ranges of rows with about so many pairs, one row at least."""
    borders = [0]
    while borders[-1] < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[borders[-1]] + pairs_at_once, "right")) - 1
        borders.append(max(stop, borders[-1] + 1))
    return list(pairwise(borders))


def _counted(
    fill: Callable[..., int], n_items: int, n_folds: int, folder: Path | None, name: str, pairs_at_once: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Rows as `fill` gives them, buffer by buffer, kept in memory or written behind each other."""
    room = max(pairs_at_once, n_items)
    counts = np.zeros((n_items, n_folds), np.int32)
    buffers = np.empty(room, np.int32), np.empty((room, n_folds), np.int32)
    sizes = np.zeros(n_items, np.int64)
    columns: list[list[NDArray[np.int32]]] = [[], []]
    paths = [] if folder is None else [folder / f"{name}.targets", folder / f"{name}.counts"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    row = 0
    while row < n_items:
        begin, row = row, fill(row, counts, *buffers, sizes)
        n = int(sizes[begin:row].sum())
        for at, buffer in enumerate(buffers):
            if paths:
                with paths[at].open("ab") as handle:
                    handle.write(buffer[:n].tobytes())
            else:
                columns[at].append(buffer[:n].copy())
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(offsets[-1])
    if paths and n:
        targets = np.memmap(paths[0], np.int32, "r", shape=(n,))
        return offsets, targets, np.memmap(paths[1], np.int32, "r", shape=(n, n_folds))
    targets = np.concatenate([np.zeros(0, np.int32), *columns[0]])
    return offsets, targets, np.concatenate([np.zeros((0, n_folds), np.int32), *columns[1]])
