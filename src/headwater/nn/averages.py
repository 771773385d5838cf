"""Averages of a model's weights over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Averages:
    """One average for each weight, in which older steps count ever less (Polyak and Juditsky, 1992, with decay).

    Parameters
    ----------
    weights : dict of str to Tensor
        The weights themselves, by name; they are read at each `update` and exchanged by `swap`.
    decay : float
        An average keeps this share of itself at each step; 0 keeps no averages at all.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self._weights = weights
        self._decay = decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, from 0. The first ones count for less: what they saw was random."""
        if self.tensors:
            decay = min(self._decay, (1 + step) / (10 + step))
            get_ema_multi_avg_fn(decay)(list(self.tensors.values()), list(self._weights.values()), None)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights with their averages, where there are any; twice changes nothing."""
        for name, average in self.tensors.items():
            weight = self._weights[name]
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        self.tensors = {name: tensors[name] for name in self.tensors}
