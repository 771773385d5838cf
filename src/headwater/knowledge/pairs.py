"""Batches of extraction: impressions of one user and day stay together, and are paired where labels differ (eq. 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.impressions import Impressions
from headwater.data.vocabulary import UNKNOWN
from headwater.nn.batches import step_seed
from headwater.ranking.batches import DayBatches, InputColumns, RankingBatch
from headwater.ranking.features import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Pairs(NamedTuple):
    """Pairs of one task, as places in this process's part of a batch.

    Attributes
    ----------
    better, worse : (m,) int64
        What is labelled 1, and what is labelled 0.
    n_pairs : int
        Pairs of all processes.
    """

    better: Tensor
    worse: Tensor
    n_pairs: int


class PairedBatch(NamedTuple):
    """A `RankingBatch` with the pairs of each task.

    Attributes
    ----------
    whole : RankingBatch
    pairs : dict of str to Pairs
    """

    whole: RankingBatch
    pairs: dict[str, Pairs]

    @property
    def n_positives(self) -> int:
        return self.whole.n_positives

    @property
    def n_passes(self) -> int:
        return self.whole.n_passes


class PairedBatches(DayBatches):
    """Days whose impressions are shuffled in runs of one user.

    A day's impressions of a user are shuffled and cut into runs of `together`; the runs are shuffled. Pairs are made
    within runs, so that every impression meets others of its user however large the day is, and a user with many
    impressions weighs in proportion to them rather than to their square.

    Parameters
    ----------
    impressions, columns, batch_size, seed, device
        As of `DayBatches`.
    together : int
    forgotten : float
        See `ExtractionConfig`.
    """

    def __init__(
        self,
        impressions: Impressions,
        columns: InputColumns,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        together: int,
        forgotten: float,
    ) -> None:
        super().__init__(impressions, columns, batch_size, seed=seed, device=device)
        self._users, self._items = impressions.user_codes, impressions.item_codes
        self._values = impressions.labels
        self._asked = {task: impressions.samples(task) for task in impressions.tasks}
        self._together, self._forgotten, self._place = together, forgotten, device

    def shuffled(self, rows: slice, random: np.random.Generator) -> NDArray[np.int64]:
        """See `DayBatches`."""
        users = self._users[rows]
        mixed = random.permutation(len(users))
        by_user = mixed[np.argsort(users[mixed], kind="stable")]
        whose = users[by_user]
        starts = np.flatnonzero(np.append(True, whose[1:] != whose[:-1]))
        within = np.arange(len(whose)) - np.repeat(starts, np.diff(np.append(starts, len(whose))))
        run = np.cumsum(within % self._together == 0) - 1
        place = random.permutation(int(run[-1]) + 1 if len(run) else 0)
        return by_user[np.argsort(place[run], kind="stable")] + rows.start

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> PairedBatch:  # type: ignore[override]
        """See `DayBatches`."""
        found = super().batch(epoch, step, process=process, n_processes=n_processes)
        rows = self.rows(epoch, step)
        borders = [len(rows) * border // n_processes for border in range(n_processes + 1)]
        pairs = {}
        for task in self._values:
            parts = [self._pairs(rows[slice(*ends)], task) for ends in pairwise(borders)]
            better, worse = parts[process]
            pairs[task] = Pairs(
                torch.from_numpy(better).to(self._place),
                torch.from_numpy(worse).to(self._place),
                sum(len(part[0]) for part in parts),
            )
        hidden = np.random.default_rng(step_seed(self.seed, self.days[epoch] & 0xFFFFFFFF, step, 0)).random(
            (2, len(rows))
        )
        mine = slice(borders[process], borders[process + 1])
        no_user, no_item = (torch.from_numpy(some[mine] < self._forgotten).to(self._place) for some in hidden)
        inputs = found.inputs
        inputs = inputs._replace(
            users=inputs.users.masked_fill(no_user, NOBODY),
            history=inputs.history.masked_fill(no_user[:, None], NOBODY),
            items=inputs.items.masked_fill(no_item, NOBODY),
        )
        return PairedBatch(found._replace(inputs=inputs), pairs)

    def _pairs(self, rows: NDArray[np.int64], task: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in `rows` of all pairs of unlike labels less than `together` apart, of one known user.

        Two labels of one item contradict each other, and are no pair.
        """
        users, items = self._users[rows], self._items[rows]
        labels, asked = self._values[task][rows], self._asked[task][rows] & (users != UNKNOWN)
        better, worse = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for apart in range(1, min(self._together, len(rows))):
            first, second = slice(None, -apart), slice(apart, None)
            is_pair = (users[first] == users[second]) & (labels[first] != labels[second])
            is_pair &= asked[first] & asked[second] & (items[first] != items[second])
            at = np.flatnonzero(is_pair)
            is_first = labels[at] == 1
            better.append(np.where(is_first, at, at + apart))
            worse.append(np.where(is_first, at + apart, at))
        return np.concatenate(better), np.concatenate(worse)
