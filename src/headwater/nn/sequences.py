"""Histories that live on the device, and padded windows cut from them by one gather, without a loop over users."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

# NamedTuples, not dataclasses: Fabric walks what a model is called with, and copies dataclasses deeply on the way.


class Windows(NamedTuple):
    """The latest events of b histories, padded behind to one width w.

    Padding stands *behind* the events: a causal model then never attends to it and needs no mask, which keeps the
    fastest attention kernels. Positions count from the end all the same (the latest event of a full or short
    window has position length - 1), as in SASRec, which pads in front: results do not depend on the layout.

    Attributes
    ----------
    items : (b, w) int64
        Item codes; 0 in padding, where nothing may be read.
    counts : (b,) int64
        Events of each row.
    is_event : (b, w) bool
    positions : (b, w) int64
        0 .. length - 1; 0 in padding.
    ratings : (b, w) float32, or None
        nan where an event has none.
    times : (b, w) int64, or None
    gaps : (b, w) int64, or None
        Time since the user's event before, -1 for the user's first event.
    request_gaps : (b, w) int64, or None
        Time until the user's next event or, for the last event of a history, until the request. Known when the
        request is made; not known by a list that is computed ahead.
    """

    items: Tensor
    counts: Tensor
    is_event: Tensor
    positions: Tensor
    ratings: Tensor | None
    times: Tensor | None
    gaps: Tensor | None
    request_gaps: Tensor | None

    def part(self, rows: slice) -> Windows:
        """Some of the rows, as wide as all of them."""
        return Windows(
            self.items[rows],
            self.counts[rows],
            self.is_event[rows],
            self.positions[rows],
            None if self.ratings is None else self.ratings[rows],
            None if self.times is None else self.times[rows],
            None if self.gaps is None else self.gaps[rows],
            None if self.request_gaps is None else self.request_gaps[rows],
        )


class Histories(NamedTuple):
    """n histories as flat event columns and offsets, all on one device.

    `lengths` stays on the host: with it the shape of every batch is known without waiting for the device.
    """

    lengths: NDArray[np.int64]
    offsets: Tensor
    items: Tensor
    times: Tensor
    ratings: Tensor | None
    request_times: Tensor

    @property
    def device(self) -> torch.device:
        return self.items.device

    @classmethod
    def from_dataset(cls, data: Dataset, device: torch.device) -> Histories:
        """Every user's history, row u for user code u; requests come right after the last event."""
        return cls.from_queries(data.queries(np.arange(len(data.users), dtype=np.int32)), len(data.items), device)

    @classmethod
    def from_queries(cls, queries: Queries, n_items: int, device: torch.device) -> Histories:
        """The histories of requests without events on items that a model of `n_items` does not know."""
        offsets, items, times, ratings = queries.offsets, queries.items, queries.times, queries.ratings
        is_known = (items >= 0) & (items < n_items)
        if not is_known.all():
            offsets = np.concatenate([[0], np.cumsum(is_known)])[offsets]
            items, times = items[is_known], times[is_known]
            ratings = None if ratings is None else ratings[is_known]
        return cls(
            lengths=np.diff(offsets).astype(np.int64),
            offsets=to_device(offsets.astype(np.int64), device),
            items=to_device(items.astype(np.int32), device),
            times=to_device(times.astype(np.int64), device),
            ratings=None if ratings is None else to_device(ratings.astype(np.float32), device),
            request_times=to_device(queries.request_times.astype(np.int64), device),
        )

    def windows(
        self, rows: NDArray[np.int64], length: int, *, skip: int | NDArray[np.int64] = 0, times: bool = False
    ) -> Windows:
        """The last `length` events of each row, the final `skip` events left out; longer histories lose their past.

        Parameters
        ----------
        rows : (b,) int64
            Every row must keep at least one event after `skip`, which may differ by row.
        times : bool
            Whether times and gaps are given.
        """
        return self._cut(rows, length, skip, times)[0]

    def next_item_windows(
        self, rows: NDArray[np.int64], length: int, *, skip: NDArray[np.int64] | None = None, times: bool = False
    ) -> tuple[Windows, Tensor, Tensor]:
        """Windows without each row's last event, and what follows every event of them.

        Parameters
        ----------
        skip : (b,) int64, optional
            Events at the end of each row that are left out; at least two events must stay.

        Returns
        -------
        windows : Windows
        at : (m,) int64
            Flat places, row · w + column, of the events; row-major.
        targets : (m,) int64
            The item that followed each: one training position for every event but a history's first.
        """
        behind = 1 if skip is None else skip + 1
        windows, index = self._cut(rows, length, behind, times)
        at = self._places(windows, np.minimum(self.lengths[rows] - behind, length))
        return windows, at, self.items[index.reshape(-1)[at] + 1].long()

    def prefix_windows(
        self, rows: NDArray[np.int64], ends: NDArray[np.int64], length: int, *, times: bool = False
    ) -> tuple[Windows, Tensor]:
        """Windows of the first events of each row, and what followed: one training example a row.

        Parameters
        ----------
        rows : (b,) int64
        ends : (b,) int64
            Events before the target, 1 .. length of the row - 1; the latest `length` of them are read.

        Returns
        -------
        windows : Windows
        targets : (b,) int64
            The item of event `ends` of each row, counted from 0.
        """
        windows, index = self._cut(rows, length, self.lengths[rows] - ends, times)
        last = index.gather(1, windows.counts[:, None] - 1)[:, 0]
        return windows, self.items[last + 1].long()

    def _cut(
        self, rows: NDArray[np.int64], length: int, skip: int | NDArray[np.int64], times: bool
    ) -> tuple[Windows, Tensor]:
        width = int(np.minimum(self.lengths[rows] - skip, length).max(initial=1))
        row = to_device(rows, self.device)
        begin, end = self.offsets[row], self.offsets[row + 1]
        stop = end - (skip if isinstance(skip, int) else to_device(skip, self.device))
        start = torch.maximum(stop - length, begin)
        index = start[:, None] + torch.arange(width, device=self.device)
        is_event = index < stop[:, None]
        index = torch.where(is_event, index, start[:, None])
        counts = stop - start
        positions = torch.arange(width, device=self.device) + (length - counts)[:, None]
        now = gaps = request_gaps = None
        if times:
            now = self.times[index]
            before = self.times[(index - 1).clamp(min=0)]
            gaps = torch.where(index > begin[:, None], (now - before).clamp(min=0), -1)
            is_last = index + 1 >= end[:, None]
            following = self.times[torch.where(is_last, index, index + 1)]
            following = torch.where(is_last, self.request_times[row][:, None], following)
            request_gaps = (following - now).clamp(min=0)
        windows = Windows(
            items=torch.where(is_event, self.items[index].long(), 0),
            counts=counts,
            is_event=is_event,
            positions=torch.where(is_event, positions, 0),
            ratings=None if self.ratings is None else self.ratings[index],
            times=now,
            gaps=gaps,
            request_gaps=request_gaps,
        )
        return windows, index

    def _places(self, windows: Windows, counts: NDArray[np.int64]) -> Tensor:
        # output_size is given, so that the host does not wait for the device to count.
        total = int(counts.sum())
        row = torch.arange(len(counts), device=self.device)
        row = torch.repeat_interleave(row, windows.counts, output_size=total)
        first = torch.cumsum(windows.counts, 0) - windows.counts
        column = torch.arange(total, device=self.device) - first[row]
        return row * windows.items.shape[1] + column


def last_outputs(outputs: Tensor, windows: Windows) -> Tensor:
    """(b, d) the outputs at each row's latest event, of (b, w, d)."""
    rows = torch.arange(len(outputs), device=outputs.device)
    return outputs[rows, windows.counts - 1]


def to_device(array: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float32], device: torch.device) -> Tensor:
    """The array on `device`, without waiting for what the device still has to do.

    Training makes the next step's batch while the device works on this one; a copy that waits would end that.
    """
    # A copy where the array may not be written (a memory map, a caller's view): torch would warn about it.
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    # Of memory that may be paged out, more than a few kilobytes are copied only when the device has come that far.
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
