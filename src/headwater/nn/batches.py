"""What one step of training sees: every batch is a function of seed, epoch and step, so that any can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from headwater.errors import ConfigError
from headwater.nn.sequences import Histories, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Batches(Protocol):
    """Training data as the loop sees it."""

    def steps_of(self, epoch: int) -> int:
        """Batches of an epoch, from 0; at least one."""
        ...

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> Batch:
        """Batch `step` of `epoch`, from 0; the part of one process where there are several."""
        ...


class Batch(Protocol):
    """All that the loop itself reads of a batch; figures of the whole batch, over all processes."""

    @property
    def n_positives(self) -> int: ...
    @property
    def n_passes(self) -> int: ...


class SequenceBatch(NamedTuple):
    """Windows, and the places in them whose item is to be predicted.

    Attributes
    ----------
    windows : Windows
    at : (m,) int64
        Flat places, row · w + column, whose outputs are scored; row-major.
    targets : (m,) int64
        The item that each scored place should give.
    is_hidden : (b, w) bool, or None
        Places whose item the model must not see (Cloze).
    first : int
        How many positives of the whole batch stand before these.
    n_positives : int
        Positives of the whole batch, over all processes.
    n_passes : int
        Sequences of the whole batch, over all processes.
    n_processes : int
    batch_targets : (n_positives,) int64
        Targets of the whole batch, for in-batch negatives.
    generator : torch.Generator
        For draws that all processes share, such as negatives.
    """

    windows: Windows
    at: Tensor
    targets: Tensor
    is_hidden: Tensor | None
    first: int
    n_positives: int
    n_passes: int
    n_processes: int
    batch_targets: Tensor
    generator: torch.Generator

    def seen(self) -> Tensor:
        """(m, w) int64 the items that each scored place is predicted from, -1 for none: a causal model's are those up
        to it, a Cloze's all that are shown."""
        w = self.windows.items.shape[1]
        rows = self.at // w
        if self.is_hidden is None:
            is_seen = torch.arange(w, device=self.at.device) <= (self.at % w)[:, None]
        else:
            is_seen = (self.windows.is_event & ~self.is_hidden)[rows]
        return torch.where(is_seen, self.windows.items[rows], -1)

    def part(self, counts: NDArray[np.int64], process: int, n_processes: int) -> SequenceBatch:
        """The rows of one process: a contiguous share. `counts` (b,) are the scored places of each row."""
        if n_processes == 1:
            return self
        cuts = [len(counts) * border // n_processes for border in (process, process + 1)]
        begin, end = (int(counts[:cut].sum()) for cut in cuts)
        rows = slice(*cuts)
        return self._replace(
            windows=self.windows.part(rows),
            at=self.at[begin:end] - cuts[0] * self.windows.items.shape[1],
            targets=self.targets[begin:end],
            is_hidden=None if self.is_hidden is None else self.is_hidden[rows],
            first=begin,
            n_processes=n_processes,
        )


class _SequenceBatches:
    """Shuffles the users anew each epoch and cuts them into batches of nearly equal size."""

    def __init__(
        self, histories: Histories, length: int, batch_size: int, *, seed: int, times: bool, earlier: float
    ) -> None:
        self._histories = histories
        self._length = length
        self._seed = seed
        self._times = times
        self._earlier = earlier
        self._generator = torch.Generator(histories.device)
        self._rows = np.flatnonzero(histories.lengths >= 2)
        if not len(self._rows):
            raise ConfigError(
                "no user has two interactions, so there is nothing to learn an order from; "
                "use a channel that counts, such as popular or itemcf"
            )
        self.steps = -(-len(self._rows) // batch_size)
        self._order: tuple[int, NDArray[np.int64]] = (-1, self._rows)

    def steps_of(self, epoch: int) -> int:
        """See `Batches`; the same in every epoch."""
        return self.steps

    def _users(self, epoch: int, step: int, n_processes: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._rows)
            self._order = (epoch, order)
        # Nearly equal batches, instead of full ones and a small rest whose few users would weigh more.
        begin, end = (len(self._rows) * border // self.steps for border in (step, step + 1))
        if end - begin < n_processes:
            raise ConfigError(f"a batch of {end - begin} users cannot be shared by {n_processes} processes")
        return self._order[1][begin:end]

    def _skips(self, users: NDArray[np.int64], events: int, epoch: int, step: int) -> NDArray[np.int64]:
        """How many events behind each user's window of `events` are left out; none for all but `earlier` of them."""
        random = np.random.default_rng([self._seed, epoch, step, 1])
        room = np.maximum(self._histories.lengths[users] - events, 0)
        skips = random.integers(0, room, endpoint=True)
        return np.where(random.random(len(users)) < self._earlier, skips, 0)

    def _generator_of(self, epoch: int, step: int) -> torch.Generator:
        return self._generator.manual_seed(step_seed(self._seed, epoch, step))


class NextItemBatches(_SequenceBatches):
    """Every event of a history but the first is predicted from those before it (Kang and McAuley, 2018, section 3.4).

    Parameters
    ----------
    histories : Histories
    length : int
        Events of one window: the latest ones; one training sequence for each user and epoch.
    batch_size : int
        Sequences of one step, over all processes.
    seed : int
    times : bool
        Whether windows carry times and gaps.
    earlier : float
        Share of the windows of longer histories that end anywhere in them, instead of at the latest event.

    Raises
    ------
    ConfigError
        No user has two interactions.
    """

    def __init__(
        self,
        histories: Histories,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        times: bool = False,
        earlier: float = 0.0,
    ) -> None:
        super().__init__(histories, length, batch_size, seed=seed, times=times, earlier=earlier)

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> SequenceBatch:
        """Batch `step` of `epoch`; see `Batches`."""
        users = self._users(epoch, step, n_processes)
        skip = self._skips(users, self._length + 1, epoch, step)
        windows, at, targets = self._histories.next_item_windows(users, self._length, skip=skip, times=self._times)
        batch = SequenceBatch(
            windows=windows,
            at=at,
            targets=targets,
            is_hidden=None,
            first=0,
            n_positives=len(targets),
            n_passes=len(users),
            n_processes=1,
            batch_targets=targets,
            generator=self._generator_of(epoch, step),
        )
        counts = np.minimum(self._histories.lengths[users] - 1 - skip, self._length)
        return batch.part(counts, process, n_processes)


class ClozeBatches(_SequenceBatches):
    """Random events of a window are hidden and predicted from both sides (Sun et al., 2019, section 3.6).

    Parameters
    ----------
    histories, length, batch_size, seed, times, earlier
        As in `NextItemBatches`; windows hold the last event too.
    hidden : float
        Share of a window's events that is hidden; at least one, and never all.
    last_only : float
        Share of the windows of which the last event alone is hidden, since that is what a request asks.
    """

    def __init__(
        self,
        histories: Histories,
        length: int,
        batch_size: int,
        *,
        hidden: float,
        last_only: float,
        seed: int = 0,
        times: bool = False,
        earlier: float = 0.0,
    ) -> None:
        super().__init__(histories, length, batch_size, seed=seed, times=times, earlier=earlier)
        self._hidden = hidden
        self._last_only = last_only

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> SequenceBatch:
        """Batch `step` of `epoch`; see `Batches`."""
        users = self._users(epoch, step, n_processes)
        generator = self._generator_of(epoch, step)
        skip = self._skips(users, self._length, epoch, step)
        windows = self._histories.windows(users, self._length, skip=skip, times=self._times)
        device = windows.items.device

        # How many are hidden is drawn on the host, so that the number of positives is known there.
        lengths = np.minimum(self._histories.lengths[users] - skip, self._length)
        counts = np.clip(np.rint(self._hidden * lengths).astype(np.int64), 1, lengths - 1)
        random = np.random.default_rng([self._seed, epoch, step])
        is_last_only = random.random(len(users)) < self._last_only
        counts[is_last_only] = 1

        keys = torch.rand(windows.items.shape, generator=generator, device=device)
        columns = torch.arange(keys.shape[1], device=device)
        is_last = columns == (windows.counts - 1)[:, None]
        keys = torch.where(is_last & torch.from_numpy(is_last_only).to(device)[:, None], -1.0, keys)
        keys = torch.where(windows.is_event, keys, 2.0)
        rank = torch.argsort(torch.argsort(keys, stable=True), stable=True)
        is_hidden = rank < torch.from_numpy(counts).to(device)[:, None]
        # The places of the hidden ones in order, without asking the device how many there are.
        at = torch.argsort(is_hidden.reshape(-1).logical_not().to(torch.uint8), stable=True)[: int(counts.sum())]
        targets = windows.items.reshape(-1)[at]
        batch = SequenceBatch(
            windows=windows,
            at=at,
            targets=targets,
            is_hidden=is_hidden,
            first=0,
            n_positives=len(targets),
            n_passes=len(users),
            n_processes=1,
            batch_targets=targets,
            generator=generator,
        )
        return batch.part(counts, process, n_processes)


def step_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, such as seed, epoch and step; near inputs give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
