"""What a step of incremental training sees: impressions of one day, shuffled, with behaviour sequences before each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import xxhash
from torch import Tensor

from headwater.data.impressions import Impressions
from headwater.nn.sequences import to_device
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.din import RankingInputs
from headwater.ranking.windows_kernels import fill_searched, fill_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.ranking.config import NetworkConfig


class RankingBatch(NamedTuple):
    """One process's impressions of a step.

    Attributes
    ----------
    inputs : RankingInputs
    labels : dict of str to (b,) float32
    is_asked : dict of str to (b,) bool
        The impressions that each task is asked of.
    n_samples : dict of str to int
        How many these are in the whole batch, over all processes.
    n_positives, n_passes : int
        Impressions of the whole batch.
    n_processes : int
    """

    inputs: RankingInputs
    labels: dict[str, Tensor]
    is_asked: dict[str, Tensor]
    n_samples: dict[str, int]
    n_positives: int
    n_passes: int
    n_processes: int


class InputColumns:
    """Impressions as rows of a network's tables; any of them can be read as `RankingInputs`.

    Parameters
    ----------
    impressions : Impressions
    features : RankingFeatures
    config : NetworkConfig
    device : torch.device
    knowledge : callable, optional
        Rows -> (rows, width) float32 that a plug reads.
    """

    def __init__(
        self,
        impressions: Impressions,
        features: RankingFeatures,
        config: NetworkConfig,
        device: torch.device,
        knowledge: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None,
    ) -> None:
        self._knowledge = knowledge
        self._device, self._length, self._search = device, config.length, config.search
        self._n_items = features.n_items
        self._users = features.user_rows(impressions.user_codes)
        self._items = features.item_rows(impressions.item_codes)
        columns = list(features.context_rows(impressions).values())
        self._context = np.stack(columns, 1) if columns else np.zeros((len(impressions), 0), np.int64)
        self._events = impressions.history_items
        self._starts, self._stops = impressions.history_slices(config.length)
        if config.search is not None:
            self._values = features.first_values(config.search.attribute)
            self._search_starts, _ = impressions.history_slices(config.search.length)

    def inputs(self, rows: NDArray[np.int64]) -> RankingInputs:
        """Those of some impressions, in that order."""
        items, starts, stops = self._items[rows], self._starts[rows], self._stops[rows]
        width = max(int((stops - starts).max(initial=0)), 1)
        history = np.empty((len(rows), width), np.int64)
        fill_windows(starts, stops, self._events, self._n_items, history)
        searched = None
        if self._search is not None:
            searched = np.empty((len(rows), self._search.kept), np.int64)
            fill_searched(self._search_starts[rows], stops, self._events, items, self._values, searched)
        return RankingInputs(
            users=to_device(self._users[rows], self._device),
            items=to_device(items, self._device),
            history=to_device(history, self._device),
            searched=None if searched is None else to_device(searched, self._device),
            context=to_device(self._context[rows], self._device),
            knowledge=None if self._knowledge is None else to_device(self._knowledge(rows), self._device),
        )


class DayBatches:
    """Batches of each day, in time order; an epoch of the training loop is a day.

    Parameters
    ----------
    impressions : Impressions
    columns : InputColumns
        Of the same impressions.
    batch_size : int
        Impressions of one step, over all processes.
    seed : int
        Of the order within each day.
    device : torch.device
    """

    def __init__(
        self, impressions: Impressions, columns: InputColumns, batch_size: int, *, seed: int, device: torch.device
    ) -> None:
        self._columns, self.seed, self._device = columns, seed, device
        self._labels = impressions.labels
        self._is_asked = {task: impressions.samples(task) for task in impressions.tasks}
        slices = impressions.day_slices()
        self.days = [day for day, _ in slices]
        self._slices = [rows for _, rows in slices]
        self._steps = [-(-(rows.stop - rows.start) // batch_size) for rows in self._slices]
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def steps_of(self, epoch: int) -> int:
        """Batches of a day; see `Batches`."""
        return self._steps[epoch]

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> RankingBatch:
        """Batch `step` of the day `days[epoch]`; see `Batches`."""
        whole = self.rows(epoch, step)
        mine = whole[slice(*(len(whole) * border // n_processes for border in (process, process + 1)))]
        return RankingBatch(
            inputs=self._columns.inputs(mine),
            labels={
                task: to_device(labels[mine].astype(np.float32), self._device) for task, labels in self._labels.items()
            },
            is_asked={task: torch.from_numpy(asked[mine]).to(self._device) for task, asked in self._is_asked.items()},
            n_samples={task: int(asked[whole].sum()) for task, asked in self._is_asked.items()},
            n_positives=len(whole),
            n_passes=len(whole),
            n_processes=n_processes,
        )

    def rows(self, epoch: int, step: int) -> NDArray[np.int64]:
        """The impressions of batch `step`, over all processes."""
        if self._order[0] != epoch:
            # Of the day's own number, so that it does not matter with which days a call of training began.
            random = np.random.default_rng([self.seed, self.days[epoch] & 0xFFFFFFFF])
            self._order = (epoch, self.shuffled(self._slices[epoch], random))
        order = self._order[1]
        # Nearly equal batches, instead of full ones and a small rest whose few impressions would weigh more.
        begin, end = (len(order) * border // self._steps[epoch] for border in (step, step + 1))
        return order[begin:end]

    def shuffled(self, rows: slice, random: np.random.Generator) -> NDArray[np.int64]:
        """A day's impressions in the order in which they are learned from."""
        return random.permutation(rows.stop - rows.start) + rows.start


def day_checksums(impressions: Impressions) -> list[str]:
    """A checksum for each day of all that training has seen at its end: a log that grows keeps those it had."""
    digest = xxhash.xxh3_128()
    for words in (impressions.tasks, tuple(sorted(impressions.context_levels.items())), impressions.day_zero):
        digest.update(repr(words).encode())
    starts, stops = impressions.history_slices()
    found = []
    for _, rows in impressions.day_slices():
        columns = [impressions.user_codes, impressions.item_codes, impressions.times, stops - starts]
        columns += [impressions.labels[task] for task in impressions.tasks]
        columns += [impressions.context[name] for name in sorted(impressions.context)]
        for column in columns:
            digest.update(np.ascontiguousarray(column[rows]).tobytes())
        found.append(digest.hexdigest())
    return found
