"""From outputs and positives to one loss: which negatives, scored how, under which of the losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from headwater.config import Settings
from headwater.nn.losses import binary_cross_entropy, calibrated_exponent, full_softmax, sampled_softmax
from headwater.nn.negatives import InBatch, Popularity, Sampler, Uniform, hardest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ObjectiveConfig(Settings):
    """What training minimises."""

    loss: Literal["softmax", "unseen-softmax", "sampled-softmax", "bce", "gbce"] = "softmax"
    """`softmax` sees every item and is best where the catalogue allows (below about 100k items); `unseen-softmax`
    leaves out those that the window holds, for services that never show an item twice;
    `sampled-softmax` comes near it with a few hundred negatives; `gbce` is between; `bce` is the first paper's."""

    negatives: Literal["uniform", "popularity", "in-batch", "hard"] = "uniform"
    """Where negatives come from; both softmaxes over the catalogue need none. `hard` takes each position's
    highest-scored ones out of a uniform draw `hard_pool` times as large."""

    n_negatives: int = Field(default=256, ge=1)
    """Negatives of each position (1 for the first paper's BCE; 128..1024 otherwise)."""

    shared: bool = True
    """One draw for the whole batch, scored by one matrix product; otherwise each position has a draw of its own,
    which costs positions × negatives × dimension of memory. `in-batch` and `hard` are always shared."""

    popularity_power: float = Field(default=1.0, ge=0)
    """`popularity` draws in proportion to interactions to this power."""

    calibration: float = Field(default=0.75, ge=0, le=1)
    """t of gBCE (Petrov and Macdonald, 2023): 0 is BCE, 1 undoes the overconfidence of few negatives."""

    hard_pool: int = Field(default=8, ge=1)
    """`hard` draws this many times `n_negatives`."""

    excludes_seen: bool = False
    """Leave out drawn negatives that the window holds, as the paper of SASRec draws them; of the sum over everything
    `unseen-softmax` is the same."""

    @model_validator(mode="after")
    def _draws_alone_exclude(self) -> Self:
        if self.excludes_seen and self.loss in ("softmax", "unseen-softmax"):
            raise ValueError(f"excludes_seen is for drawn negatives; loss {self.loss!r} draws none: use unseen-softmax")
        return self

    @property
    def leaves_out_seen(self) -> bool:
        """Whether a position must be given the items that it is predicted from."""
        return self.excludes_seen or self.loss == "unseen-softmax"


class ItemVectors(Protocol):
    """The vectors of items that outputs are scored against."""

    def __call__(self, items: Tensor) -> Tensor:
        """(…, d) vectors of item codes (…)."""
        ...

    def table(self) -> Tensor:
        """(items, d) the vectors of all items."""
        ...


class Objective:
    """Loss of outputs against positives; scores are inner products with the items' vectors.

    Parameters
    ----------
    config : ObjectiveConfig
    counts : (items,)
        Training interactions, for popularity.
    device : torch.device
    """

    def __init__(self, config: ObjectiveConfig, counts: NDArray[np.integer], device: torch.device) -> None:
        self.config = config
        self._exponent = 1.0
        if config.loss == "gbce":
            self._exponent = calibrated_exponent(config.n_negatives, len(counts), config.calibration)
        self._sampler: Sampler = Uniform(len(counts))
        if config.negatives == "popularity":
            self._sampler = Popularity(counts, config.popularity_power, device)
        elif config.negatives == "in-batch":
            self._sampler = InBatch(counts, device)

    def loss(
        self,
        hidden: Tensor,
        positives: Tensor,
        items: ItemVectors,
        *,
        generator: torch.Generator,
        batch_targets: Tensor,
        first: int = 0,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Sum of the losses of m positions.

        Parameters
        ----------
        hidden : (m, d), or (m, v, d)
            Of v vectors of a position, an item's score is the highest.
        positives : (m,) int64
        generator : torch.Generator
            In the same state in every process.
        batch_targets : (n_positives,) int64
            Positives of the whole batch over all processes; these stand there from `first` on.
        seen : (m, w) int64, optional
            Items that are no negatives of each position, -1 for none: `unseen-softmax` leaves them out of its sum
            and needs them; drawn ones are left out where they are among them.
        """
        config = self.config
        if config.loss in ("softmax", "unseen-softmax"):
            return full_softmax(
                hidden, items.table(), positives, seen=seen if config.loss == "unseen-softmax" else None
            )
        several = hidden if hidden.ndim == 3 else hidden[:, None]
        positive = (several * items(positives)[:, None]).sum(-1).amax(1).float()
        if config.shared or config.negatives in ("in-batch", "hard"):
            factor = config.hard_pool if config.negatives == "hard" else 1
            drawn = self._sampler.draw((factor * config.n_negatives,), generator, batch_targets)
            negative = _best(torch.einsum("mvd,nd->mvn", several, items(drawn)))
        else:
            # Drawn for the whole batch, so that a process has the draws that it would have alone.
            drawn = self._sampler.draw((len(batch_targets), config.n_negatives), generator, batch_targets)
            drawn = drawn[first : first + len(positives)]
            negative = _best(torch.einsum("mvd,mnd->mvn", several, items(drawn)))
        is_positive = positives[:, None] == drawn
        if seen is not None:
            is_positive = is_positive | is_listed(drawn, seen)
        log_expected = self._sampler.log_probability(drawn) + math.log(drawn.shape[-1])
        if config.negatives == "hard":
            at = hardest(negative, is_positive, config.n_negatives)
            negative, is_positive, log_expected = negative.gather(1, at), is_positive.gather(1, at), log_expected[at]
        if config.loss == "sampled-softmax":
            return sampled_softmax(positive, negative, log_expected, is_positive)
        return binary_cross_entropy(positive, negative, is_positive, exponent=self._exponent)


def is_listed(drawn: Tensor, seen: Tensor) -> Tensor:
    """(m, n) bool: whether each of the drawn items, (n,) or (m, n), is among the row's seen ones, (m, w)."""
    listed = seen.sort(1).values
    asked = drawn.expand(len(seen), drawn.shape[-1]).contiguous()
    at = torch.searchsorted(listed, asked).clamp_(max=listed.shape[1] - 1)
    return listed.gather(1, at) == asked


def _best(products: Tensor) -> Tensor:
    """(m, n) float32 the highest over v of (m, v, n)."""
    return (products[:, 0] if products.shape[1] == 1 else products.amax(1)).float()
