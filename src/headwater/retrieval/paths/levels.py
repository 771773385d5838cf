"""The levels of item pairs, found for millions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from headwater.data.dataset import Dataset
from headwater.retrieval.paths.bins import bin_levels, n_levels, quantile_borders
from headwater.retrieval.paths.cooccurrence import MEASURES, Cooccurrence, Measure, count_sets, count_windows, swing

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSE_BYTES = 1 << 29
"""Levels of pairs are one dense table up to this size, which is looked up at once; above it, sorted and searched."""


class PairLevels:
    """Levels of (trigger, target) pairs, 0 where the two were never together.

    Parameters
    ----------
    offsets : (items + 1,) int64
        CSR by trigger, ascending by target.
    targets : (pairs,) int32
    levels : (planes, pairs, measures) uint8
        A plane for each fold of users, without that fold, and last the one of all users, which serving reads.
    sizes : tuple of int
        Levels of each measure.
    dense_bytes : int
        See `DENSE_BYTES`.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        targets: NDArray[np.int32],
        levels: NDArray[np.uint8],
        sizes: tuple[int, ...],
        *,
        device: torch.device | str = "cpu",
        dense_bytes: int = DENSE_BYTES,
    ) -> None:
        self.n_items, self.n_planes, self.sizes = len(offsets) - 1, len(levels), sizes
        self._served = {"offsets": offsets, "targets": np.asarray(targets), "levels": levels[-1]}
        triggers = np.repeat(np.arange(self.n_items), np.diff(offsets))
        self._keys: Tensor | None = None
        if levels.shape[0] * self.n_items**2 * levels.shape[2] <= dense_bytes:
            table = np.zeros((len(levels), self.n_items, self.n_items, levels.shape[2]), np.uint8)
            table[:, triggers, targets] = levels
        else:
            self._keys = torch.from_numpy(triggers * self.n_items + targets).to(device)
            table = levels
        self._table = torch.from_numpy(np.array(table).reshape(-1, levels.shape[2])).to(device)

    def __call__(self, planes: Tensor | int, triggers: Tensor, targets: Tensor) -> Tensor:
        """(…, measures) uint8 levels; planes, triggers and targets of shapes that broadcast, -1 the last plane."""
        if isinstance(planes, int):
            planes = torch.full((), planes % self.n_planes, device=triggers.device)
        keys = triggers * self.n_items + targets
        if self._keys is None:
            return self._table[planes * self.n_items**2 + keys]
        n_pairs = len(self._keys)
        at = torch.searchsorted(self._keys, keys)
        is_found = at < n_pairs
        at = torch.where(is_found, at, 0)
        if not n_pairs:
            return torch.zeros(*keys.shape, len(self.sizes), dtype=torch.uint8, device=keys.device)
        is_found = is_found & (self._keys[at] == keys)
        return torch.where(is_found[..., None], self._table[planes * n_pairs + at], 0)

    def served(self, device: torch.device | str) -> PairLevels:
        """The plane of all users alone."""
        return PairLevels.restore(self.tensors(), device)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `restore` makes `served` of."""
        return {**self._served, "sizes": np.array(self.sizes, np.int64)}

    @classmethod
    def restore(cls, tensors: dict[str, NDArray[Any]], device: torch.device | str) -> PairLevels:
        """What `tensors` wrote."""
        sizes = tuple(tensors["sizes"].tolist())
        return cls(tensors["offsets"], tensors["targets"], tensors["levels"][None], sizes, device=device)


def pair_levels(
    data: Dataset,
    folds: NDArray[np.int64],
    measures: tuple[Measure, ...],
    *,
    bins: int,
    window: int,
    session_gap: int | None,
    device: torch.device | str,
) -> list[PairLevels]:
    """The levels of all measures: one `PairLevels` each for counts of sets, counts of windows, and SWING."""
    found = []
    of_sets = [measure for measure in measures if measure in MEASURES]
    of_windows = [measure.removeprefix("window-") for measure in measures if measure.startswith("window-")]
    if of_sets:
        found.append(_counted_levels(count_sets(data, folds, session_gap=session_gap), of_sets, bins, device))
    if of_windows:
        found.append(_counted_levels(count_windows(data, folds, window=window), of_windows, bins, device))
    if "swing" in measures:
        found.append(_swing_levels(data, folds, bins, device))
    return found


def _counted_levels(counted: Cooccurrence, measures: list[str], bins: int, device: torch.device | str) -> PairLevels:
    """Each measure, of all users and without each fold, in the bins of all users' values.

    Half of the borders part the pairs evenly and half what they count: most pairs come together once or twice, but
    it is the frequent ones that history and target are made of.
    """
    everything = counted.count()
    factors = [counted.factor(measure) for measure in measures]
    borders = []
    for factor in factors:
        values = everything * factor
        by_pair, by_count = (quantile_borders(values, max(bins // 2, 1), weights) for weights in (None, everything))
        borders.append(np.unique(np.concatenate([by_pair, by_count])))
    levels = np.zeros((counted.n_folds + 1, len(counted.targets), len(measures)), np.uint8)
    for plane in range(counted.n_folds + 1):
        counts = everything if plane == counted.n_folds else counted.count(plane)
        is_there = counts > 0
        for at, factor in enumerate(factors):
            levels[plane, :, at] = bin_levels(counts * factor, borders[at]) * is_there
    sizes = tuple(n_levels(of_measure) for of_measure in borders)
    return PairLevels(counted.offsets, counted.targets, levels, sizes, device=device)


def _swing_levels(data: Dataset, folds: NDArray[np.int64], bins: int, device: torch.device | str) -> PairLevels:
    """SWING's, of all pairs that any plane keeps: which ones the plane of all users keeps, a user has a part in."""
    n_items, n_folds = len(data.items), int(folds.max(initial=0)) + 1
    planes = [swing(data, without=folds == fold).tocoo() for fold in range(n_folds)] + [swing(data).tocoo()]
    keys_of = [plane.row.astype(np.int64) * n_items + plane.col for plane in planes]
    values_of = [np.asarray(plane.data, np.float32) for plane in planes]
    keys = np.unique(np.concatenate(keys_of))
    borders = quantile_borders(values_of[-1], bins)
    levels = np.zeros((len(planes), len(keys), 1), np.uint8)
    for plane, (own_keys, values) in enumerate(zip(keys_of, values_of, strict=True)):
        # Sums over pairs of users shrink with the users: scaled back by what all pairs lost.
        scaled = values * np.float32(values_of[-1].sum() / max(float(values.sum()), 1e-12))
        levels[plane, np.searchsorted(keys, own_keys), 0] = bin_levels(scaled, borders)
    offsets = np.searchsorted(keys, np.arange(n_items + 1) * n_items).astype(np.int64)
    targets = (keys % max(n_items, 1)).astype(np.int32)
    return PairLevels(offsets, targets, levels, (n_levels(borders),), device=device)
