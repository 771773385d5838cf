"""Training examples for models that read a whole history at once: a beginning of it, and the item that followed."""

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


class PrefixBatch(NamedTuple):
    """One example a row.

    Attributes
    ----------
    windows : Windows
    users : (b,) int64
        Row of each window's history.
    targets : (b,) int64
        The item that followed each row's window.
    first : int
        How many examples of the whole batch stand before these.
    n_positives, n_passes : int
        Examples of the whole batch, over all processes.
    n_processes : int
    batch_targets : (n_positives,) int64
        Targets of the whole batch, for in-batch negatives.
    generator : torch.Generator
        For draws that all processes share, such as negatives.
    """

    windows: Windows
    users: Tensor
    targets: Tensor
    first: int
    n_positives: int
    n_passes: int
    n_processes: int
    batch_targets: Tensor
    generator: torch.Generator


class PrefixBatches:
    """Some positions of every user's history in each epoch, each predicted from the events before it.

    A model that pools, routes or attends over its whole input sees the target if it stands in that input, so a
    position needs a pass of its own, where a causal model answers all positions of a history in one. Drawing a
    few positions of each user, others in every epoch, keeps long histories from filling the epoch
    (Covington et al., 2016, section 3.4: a fixed number of examples for each user).

    Positions are drawn systematically: evenly spaced in a circle from a random start. Every position of a user has
    the same chance, and none comes twice in an epoch.

    Parameters
    ----------
    histories : Histories
    length : int
        Events of one window: the latest ones before the target.
    batch_size : int
        Examples of one step, over all processes.
    positions : int, or None
        Positions drawn of each user and epoch; None takes all, which is every event but the first.
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
        length: int,
        batch_size: int,
        *,
        positions: int | None = None,
        seed: int = 0,
        times: bool = False,
    ) -> None:
        self._histories = histories
        self._length = length
        self._seed = seed
        self._times = times
        self._generator = torch.Generator(histories.device)
        # A user of n events has targets 1 .. n - 1.
        self._n_targets = np.maximum(histories.lengths - 1, 0)
        self.drawn = self._n_targets if positions is None else np.minimum(self._n_targets, positions)
        """(users,) examples of each user and epoch."""
        self._n_examples = int(self.drawn.sum())
        if not self._n_examples:
            raise ConfigError(
                "no user has two interactions, so there is no item that followed another; "
                "use a channel that counts, such as popular or itemcf"
            )
        self.steps = -(-self._n_examples // batch_size)
        self._epoch = -1
        self._rows = self._ends = np.zeros(0, np.int64)

    def steps_of(self, epoch: int) -> int:
        """See `Batches`; the same in every epoch."""
        return self.steps

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> PrefixBatch:
        """Batch `step` of `epoch`; see `Batches`."""
        if self._epoch != epoch:
            self._epoch, (self._rows, self._ends) = epoch, self.examples(epoch)
        # Nearly equal batches, instead of full ones and a small rest whose few examples would weigh more.
        begin, end = (self._n_examples * border // self.steps for border in (step, step + 1))
        if end - begin < n_processes:
            raise ConfigError(f"a batch of {end - begin} examples cannot be shared by {n_processes} processes")
        windows, targets = self._histories.prefix_windows(
            self._rows[begin:end], self._ends[begin:end], self._length, times=self._times
        )
        cuts = [(end - begin) * border // n_processes for border in (process, process + 1)]
        return PrefixBatch(
            windows=windows if n_processes == 1 else windows.part(slice(*cuts)),
            users=to_device(self._rows[begin:end][slice(*cuts)], self._histories.device),
            targets=targets[slice(*cuts)],
            first=cuts[0],
            n_positives=end - begin,
            n_passes=end - begin,
            n_processes=n_processes,
            batch_targets=targets,
            generator=self._generator.manual_seed(step_seed(self._seed, epoch, step)),
        )

    def examples(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's examples in random order: user rows, and how many events of each are before the target."""
        random = np.random.default_rng([self._seed, epoch])
        rows = np.repeat(np.arange(len(self.drawn)), self.drawn)
        place = np.arange(self._n_examples) - np.repeat(np.cumsum(self.drawn) - self.drawn, self.drawn)
        start = random.integers(np.maximum(self._n_targets, 1))[rows]
        ends = 1 + (start + place * self._n_targets[rows] // self.drawn[rows]) % self._n_targets[rows]
        order = random.permutation(self._n_examples)
        return rows[order], ends[order]
