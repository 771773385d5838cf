"""Training passes of Divide: a user's window, prompted for one cluster, with the targets that are of that cluster; or,
where prompts come after the encoder, with all its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.errors import ConfigError
from headwater.nn.batches import step_seed
from headwater.nn.sequences import Histories, Windows, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.divide.clusters import Clusters


class DivideBatch(NamedTuple):
    """Passes of some users.

    Attributes
    ----------
    windows : Windows
        A row for each pass.
    tasks : (passes,) int64, or None
        The cluster of each pass, ascending; None where a pass is for all clusters.
    at : (m,) int64
        Flat places, row · w + column, whose outputs are scored; ascending by the target's cluster.
    targets : (m,) int64
        The item that followed each, of its pass's cluster.
    clusters : (m,) int64
        Of the targets.
    groups : list of (cluster, start, stop)
        Which of the m places are of each cluster.
    last : (passes,) int64
        The item that followed each pass's window: with the window's own, all that is no negative of it.
    n_positives, n_passes : int
        m, and the passes.
    n_processes : int
        1.
    generator : torch.Generator
        For negatives.
    """

    windows: Windows
    tasks: Tensor | None
    at: Tensor
    targets: Tensor
    clusters: Tensor
    groups: list[tuple[int, int, int]]
    last: Tensor
    n_positives: int
    n_passes: int
    n_processes: int
    generator: torch.Generator


class DivideBatches:
    """Shuffles the users anew each epoch, and draws some of the clusters that each one's window has targets in.

    Parameters
    ----------
    histories : Histories
    clusters : Clusters
    length, batch_size : int
        Events of a window; users of a step.
    tasks_per_user : int, or None
        Clusters drawn of each user and step, at most; None for one pass with all targets.
    seed : int
    times : bool
        Whether windows carry gaps.

    Raises
    ------
    ConfigError
        No user has two interactions.
    """

    def __init__(
        self,
        histories: Histories,
        clusters: Clusters,
        *,
        length: int,
        batch_size: int,
        tasks_per_user: int | None,
        seed: int,
        times: bool,
    ) -> None:
        self._histories, self._n_clusters, self._length = histories, len(clusters), length
        self._tasks_per_user, self._seed, self._times = tasks_per_user, seed, times
        self._labels = clusters.labels[histories.items.cpu().numpy()]
        self._device_labels = to_device(clusters.labels.astype(np.int64), histories.device)
        self._starts = np.cumsum(histories.lengths) - histories.lengths
        self._rows = np.flatnonzero(histories.lengths >= 2)
        if not len(self._rows):
            raise ConfigError(
                "no user has two interactions, so there is nothing to learn an order from; "
                "use a channel that counts, such as popular or itemcf"
            )
        self.steps = -(-len(self._rows) // batch_size)
        self._order: tuple[int, NDArray[np.int64]] = (-1, self._rows)
        self._generator = torch.Generator(histories.device)

    def steps_of(self, epoch: int) -> int:
        """See `Batches`; the same in every epoch."""
        return self.steps

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> DivideBatch:
        """Batch `step` of `epoch`; see `Batches`. Raises `ConfigError` where there are several processes."""
        if n_processes > 1:
            raise ConfigError("Divide trains in one process: leave torchrun out")
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(self._rows))
        order = self._order[1]
        users = order[len(order) * step // self.steps : len(order) * (step + 1) // self.steps]
        device = self._histories.device
        labels = self._target_labels(users)
        if self._tasks_per_user is None:
            passes, tasks = users, None
            counts = np.bincount(labels[labels >= 0], minlength=self._n_clusters)
            windows, at, targets = self._histories.next_item_windows(users, self._length, times=self._times)
            clusters = self._device_labels[targets]
            by_cluster = clusters.argsort(stable=True)
            at, targets, clusters = at[by_cluster], targets[by_cluster], clusters[by_cluster]
        else:
            random = np.random.default_rng([self._seed, epoch, step])
            drawn_rows, drawn = self._draw(labels, self._tasks_per_user, random)
            passes, tasks = users[drawn_rows], to_device(drawn, device)
            windows = self._histories.windows(passes, self._length, skip=1, times=self._times)
            rows, columns = np.nonzero(labels[drawn_rows] == drawn[:, None])
            events = self._starts[passes] + np.maximum(self._histories.lengths[passes] - 1 - self._length, 0)
            counts = np.bincount(drawn[rows], minlength=self._n_clusters)
            at = to_device(rows * windows.items.shape[1] + columns, device)
            targets = self._histories.items[to_device(events[rows] + columns + 1, device)].long()
            clusters = to_device(drawn[rows], device)
        ends = np.cumsum(counts)
        return DivideBatch(
            windows=windows,
            tasks=tasks,
            at=at,
            targets=targets,
            clusters=clusters,
            groups=[(k, int(ends[k] - counts[k]), int(ends[k])) for k in np.flatnonzero(counts).tolist()],
            last=self._histories.items[self._histories.offsets[to_device(passes, device) + 1] - 1].long(),
            n_positives=int(counts.sum()),
            n_passes=len(passes),
            n_processes=1,
            generator=self._generator.manual_seed(step_seed(self._seed, epoch, step)),
        )

    def _target_labels(self, users: NDArray[np.int64]) -> NDArray[np.int32]:
        """(b, w) the cluster of what followed each event of the users' windows, -1 in padding."""
        lengths = self._histories.lengths[users]
        counts = np.minimum(lengths - 1, self._length)
        first = self._starts[users] + lengths - counts
        columns = np.arange(counts.max())
        is_event = columns < counts[:, None]
        return np.where(is_event, self._labels[np.where(is_event, first[:, None] + columns, 0)], -1)

    def _draw(
        self, labels: NDArray[np.int32], n: int, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(passes,) rows of `labels` and their clusters, ascending by cluster: n of each row's, all alike."""
        present = np.zeros((len(labels), self._n_clusters + 1), bool)
        np.put_along_axis(present, labels.astype(np.int64), True, axis=1)  # -1 marks the last column
        keys = np.where(present[:, :-1], random.random((len(labels), self._n_clusters)), 2.0)
        n = min(n, self._n_clusters)
        chosen = np.argpartition(keys, n - 1, axis=1)[:, :n]
        is_there = np.take_along_axis(keys, chosen, axis=1) < 2.0
        rows, tasks = np.nonzero(is_there)[0], chosen[is_there]
        by_task = np.argsort(tasks, kind="stable")
        return rows[by_task].astype(np.int64), tasks[by_task].astype(np.int64)
