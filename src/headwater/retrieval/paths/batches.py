"""Training examples of paths: users with what came before a target, the target and negatives, levels of all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.errors import ConfigError
from headwater.nn.batches import step_seed
from headwater.nn.negatives import Sampler, distinct
from headwater.nn.prefixes import PrefixBatches
from headwater.nn.sequences import Histories, Windows, to_device
from headwater.retrieval.paths.features import UserFeatures, length_levels
from headwater.retrieval.paths.levels import PairLevels

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SharedNegatives(NamedTuple):
    """n negatives of all examples of a step, with what SimNet reads of them and the step's m distinct triggers.

    Attributes
    ----------
    items : (n,) int64
        Distinct.
    triggers : (m,) int64
    at : (b, w) int64
        The place in `triggers` of each event.
    levels : (m, n, measures) uint8
        Without the users of the step's fold.
    """

    items: Tensor
    triggers: Tensor
    at: Tensor
    levels: Tensor


class PathBatch(NamedTuple):
    """b examples: each a window of triggers, all before the target, and 1 + n candidates.

    Attributes
    ----------
    windows : Windows
    users : UserFeatures
    targets : (b, 1 + n) int64, or (b, 1)
        The item that followed, then its own negatives, where there are any.
    shared : SharedNegatives, or None
        Then these are the n negatives.
    is_candidate : (b, 1 + n) bool
        False for a negative that is the positive or one of the triggers.
    levels : (b, 1 + n, w, measures) uint8, or (b, 1, w, measures)
        Of each (trigger, target) pair, without the users of this row's fold.
    places : (b,) int64
        Level of how many events came before the positive; its negatives share it, else it would give them away.
    hours : (b,) int64
        Of the day of the positive, from 1; 0 without a clock. Shared likewise.
    n_positives, n_passes : int
        Examples of the whole batch, over all processes.
    n_processes : int
    """

    windows: Windows
    users: UserFeatures
    targets: Tensor
    shared: SharedNegatives | None
    is_candidate: Tensor
    levels: Tensor
    places: Tensor
    hours: Tensor
    n_positives: int
    n_passes: int
    n_processes: int


class PathBatches:
    """Positions of every user's history, each with its negatives; see `PrefixBatches` for which.

    Where negatives are shared, a step's users are of one fold, so that a pair has the same levels for all of them.

    Parameters
    ----------
    histories : Histories
        Row u of user code u.
    user_rows, folds : (users,) int64
        Of `PathFeatures.user_codes`; and which users' counts a user does not see.
    pairs : list of PairLevels
    sampler : Sampler
        Of negatives.
    negatives : int
        n.
    length, batch_size, positions, seed
        As in `PrefixBatches`.
    has_clock : bool
        Whether event times are seconds.
    shares_negatives : bool
    """

    def __init__(
        self,
        histories: Histories,
        user_rows: NDArray[np.int64],
        folds: NDArray[np.int64],
        pairs: list[PairLevels],
        sampler: Sampler,
        *,
        negatives: int,
        length: int,
        batch_size: int,
        positions: int | None,
        seed: int,
        has_clock: bool,
        shares_negatives: bool = False,
    ) -> None:
        self._histories, self._pairs, self._sampler = histories, pairs, sampler
        self._user_rows, self._folds = user_rows, folds
        self._negatives, self._length, self._seed, self._has_clock = negatives, length, seed, has_clock
        self._shares_negatives = shares_negatives
        self._everything = torch.arange(sampler.n_items, device=histories.device)
        self._examples = PrefixBatches(histories, length, batch_size, positions=positions, seed=seed)
        drawn = self._examples.drawn
        of_folds = np.bincount(folds, weights=drawn).astype(np.int64) if shares_negatives else np.array([drawn.sum()])
        # Nearly equal batches, instead of full ones and a small rest whose few examples would weigh more.
        self._cuts = [
            (int(start + n * at // steps), int(start + n * (at + 1) // steps))
            for start, n in zip(np.cumsum(of_folds) - of_folds, of_folds, strict=True)
            if (steps := -(-int(n) // batch_size))
            for at in range(steps)
        ]
        self.steps = len(self._cuts)
        self._generator = torch.Generator(histories.device)
        self._epoch = -1
        self._rows = self._ends = self._order = np.zeros(0, np.int64)

    def _begin(self, epoch: int) -> None:
        self._epoch, (self._rows, self._ends) = epoch, self._examples.examples(epoch)
        self._order = np.arange(self.steps)
        if self._shares_negatives:
            by_fold = np.argsort(self._folds[self._rows], kind="stable")
            self._rows, self._ends = self._rows[by_fold], self._ends[by_fold]
            self._order = np.random.default_rng([self._seed, epoch, 1]).permutation(self.steps)

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> PathBatch:
        """Batch `step` of `epoch`; see `Batches`."""
        if self._epoch != epoch:
            self._begin(epoch)
        begin, end = self._cuts[self._order[step]]
        n = end - begin
        if n < n_processes:
            raise ConfigError(f"a batch of {n} examples cannot be shared by {n_processes} processes")
        mine = slice(*(begin + n * border // n_processes for border in (process, process + 1)))
        rows, ends = self._rows[mine], self._ends[mine]
        histories, device = self._histories, self._histories.device

        windows, positives = histories.prefix_windows(rows, ends, self._length, times=self._has_clock)
        # Drawn for the whole batch, so that a process has the negatives that it would have alone.
        generator = self._generator.manual_seed(step_seed(self._seed, epoch, step))
        if self._shares_negatives:
            shared, is_candidate = self._share(windows, positives, generator, int(self._folds[rows[0]]))
            targets = positives[:, None]
        else:
            shared = None
            drawn = self._sampler.draw((n, self._negatives), generator, positives)
            drawn = drawn[mine.start - begin : mine.stop - begin]
            is_known = (drawn[..., None] == torch.where(windows.is_event, windows.items, -1)[:, None]).any(-1)
            targets = torch.cat([positives[:, None], drawn], 1)
            is_candidate = torch.cat([torch.ones_like(is_known[:, :1]), ~is_known & (drawn != positives[:, None])], 1)

        levels = length_levels(ends)
        places = to_device(levels, device)
        planes = to_device(self._folds[rows], device)[:, None, None]
        hours = torch.zeros_like(positives)
        if self._has_clock:
            at = histories.offsets[to_device(rows, device)] + to_device(ends, device)
            hours = histories.times[at] // 3_600 % 24 + 1
        return PathBatch(
            windows=windows,
            users=UserFeatures(to_device(self._user_rows[rows], device), places),
            targets=targets,
            shared=shared,
            is_candidate=is_candidate,
            levels=joined_levels(self._pairs, planes, windows.items[:, None], targets[:, :, None]),
            places=places,
            hours=hours,
            n_positives=n,
            n_passes=n,
            n_processes=n_processes,
        )

    def _share(
        self, windows: Windows, positives: Tensor, generator: torch.Generator, fold: int
    ) -> tuple[SharedNegatives, Tensor]:
        """The step's negatives, and which of 1 + n candidates count for each row."""
        items = distinct(self._sampler.log_probability(self._everything).exp(), self._negatives, generator)
        n = len(items)
        column = torch.full((len(self._everything),), n, device=items.device)
        column[items] = torch.arange(n, device=items.device)
        is_candidate = torch.ones(len(positives), 1 + n + 1, dtype=torch.bool, device=items.device)
        known = torch.where(windows.is_event, column[windows.items], n)
        is_candidate[:, 1:].scatter_(1, torch.cat([known, column[positives, None]], 1), False)
        if len(self._everything) <= windows.items.numel():
            triggers, at = self._everything, windows.items
        else:
            triggers, at = windows.items.unique(return_inverse=True)
        levels = joined_levels(self._pairs, fold, triggers[:, None], items)
        return SharedNegatives(items, triggers, at, levels), is_candidate[:, :-1]


def joined_levels(pairs: list[PairLevels], planes: Tensor | int, triggers: Tensor, targets: Tensor) -> Tensor:
    """(…, measures) uint8 levels of all measures, of triggers and targets that broadcast."""
    found = [of_some(planes, triggers, targets) for of_some in pairs]
    if found:
        return torch.cat(found, -1)
    shape = torch.broadcast_shapes(triggers.shape, targets.shape)
    return torch.zeros(*shape, 0, dtype=torch.uint8, device=triggers.device)
