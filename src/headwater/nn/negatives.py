"""Where negatives come from, and how often each item is expected to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Sampler(Protocol):
    """Draws items with replacement."""

    @property
    def n_items(self) -> int: ...

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, batch_targets: Tensor) -> Tensor:
        """Item codes, int64. `batch_targets` are the positives of the whole batch."""
        ...

    def log_probability(self, items: Tensor) -> Tensor:
        """log of the chance that one draw gives each of `items`."""
        ...


class Uniform:
    """Every item alike."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, batch_targets: Tensor) -> Tensor:
        """See `Sampler`."""
        return torch.randint(self.n_items, shape, generator=generator, device=generator.device)

    def log_probability(self, items: Tensor) -> Tensor:
        """See `Sampler`."""
        return torch.full(items.shape, -float(np.log(self.n_items)), device=items.device)


class Popularity:
    """In proportion to a power of the items' interactions; an item without any counts as one.

    Parameters
    ----------
    counts : (items,)
    power : float
        1 as popular as they are, 0.75 as in word2vec, 0 uniform.
    """

    def __init__(self, counts: NDArray[np.integer], power: float, device: torch.device) -> None:
        weights = np.maximum(counts, 1).astype(np.float64) ** power
        probability = weights / weights.sum()
        self.n_items = len(counts)
        self._borders = torch.from_numpy(np.cumsum(probability)).to(device)
        self._log_probability = torch.from_numpy(np.log(probability).astype(np.float32)).to(device)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, batch_targets: Tensor) -> Tensor:
        """See `Sampler`."""
        at = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
        # The last border can fall short of 1 by rounding.
        return torch.searchsorted(self._borders, at, right=True).clamp_(max=len(self._borders) - 1)

    def log_probability(self, items: Tensor) -> Tensor:
        """See `Sampler`."""
        return self._log_probability[items]


class InBatch:
    """Positives of other sequences of the batch: as popular as the data, and their vectors are at hand.

    Parameters
    ----------
    counts : (items,)
        Training interactions; their share is the chance of an item to stand in a batch.
    """

    def __init__(self, counts: NDArray[np.integer], device: torch.device) -> None:
        self._by_popularity = Popularity(counts, 1.0, device)
        self.n_items = len(counts)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, batch_targets: Tensor) -> Tensor:
        """See `Sampler`."""
        at = torch.randint(len(batch_targets), shape, generator=generator, device=generator.device)
        return batch_targets[at]

    def log_probability(self, items: Tensor) -> Tensor:
        """See `Sampler`."""
        return self._by_popularity.log_probability(items)


def hardest(scores: Tensor, is_positive: Tensor, n: int) -> Tensor:
    """(m, n) int64 columns of the n highest scores of each row, (m, pool), positives only where nothing else is left.

    Dynamic hard negatives (Zhang et al., SIGIR 2013): what the model ranks high now teaches it most.
    """
    return scores.detach().masked_fill(is_positive, -torch.inf).topk(n, dim=1).indices


def distinct(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 distinct items, drawn one after the other in proportion to `weights` (items,); all where n is more.

    The n highest of log(u) / weight, u uniform (Efraimidis and Spirakis, Information Processing Letters, 2006).
    """
    if n >= len(weights):
        return torch.arange(len(weights), device=weights.device)
    chance = torch.rand(len(weights), generator=generator, device=weights.device, dtype=torch.float64)
    return (chance.log() / weights).topk(n).indices
