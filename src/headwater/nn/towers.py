"""Parts of two-tower models: a mean over events, and a tower of fully connected layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mean_of_events(vectors: Tensor, is_event: Tensor) -> Tensor:
    """(b, d) the mean of each row's events, of (b, w, d) with (b, w) bool; a row without any has 0."""
    total = torch.einsum("bwd,bw->bd", vectors, is_event.to(vectors.dtype))
    return total / is_event.sum(1, keepdim=True).clamp(min=1)


class Tower(nn.Module):
    """Fully connected layers with an activation between them and none behind the last.

    Weights begin as He et al. (2015) set them for rectified units, biases at zero.

    Parameters
    ----------
    width_in : int
    hidden : tuple of int
        Widths of the layers between; none makes the tower one linear map.
    width_out : int
    dropout : float
        Behind every activation.
    leak : float
        Slope below zero: 0 is ReLU, above it LeakyReLU.
    """

    def __init__(
        self, width_in: int, hidden: tuple[int, ...], width_out: int, *, dropout: float = 0.0, leak: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [_linear(width_in, width, leak), nn.LeakyReLU(leak), nn.Dropout(dropout)]
            width_in = width
        self.layers = nn.Sequential(*layers, _linear(width_in, width_out, 1.0))

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, width_out) of (…, width_in)."""
        return self.layers(vectors)


def _linear(width_in: int, width_out: int, leak: float) -> nn.Linear:
    linear = nn.Linear(width_in, width_out)
    nn.init.kaiming_normal_(linear.weight, a=leak)
    nn.init.zeros_(linear.bias)
    return linear
