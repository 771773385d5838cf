"""From the sum of path weights to a click: eq. 12-13, with losses that hold from ŷ = 1e-8 to 1e3 in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST = 1e-20
"""A smaller ŷ counts as this much: its logarithm and the reciprocal in its gradient must stay finite."""

HALF = 0.6931471805599453  # ln 2, where p = 1/2: below it 1 - e^-ŷ is taken by expm1, above it by log1p


class _LogClick(torch.autograd.Function):
    """log(1 − e^−ŷ), whose slope 1/(e^ŷ − 1) autograd would make of two parts that overflow or cancel."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:  # type: ignore[override]
        weight = weight.clamp(min=LEAST)
        ctx.save_for_backward(weight)
        is_small = weight < HALF
        small = torch.log(-torch.expm1(-torch.where(is_small, weight, HALF)))
        return torch.where(is_small, small, torch.log1p(-torch.exp(-weight)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return gradient / torch.expm1(weight)  # expm1 may be inf: the slope is 0 then


def log_click(weight: Tensor) -> Tensor:
    """log p of eq. 13, p = 1 − e^−ŷ; log(1 − p) is −ŷ. Float32 or float64."""
    found: Any = _LogClick.apply(weight)
    return found


def click_logit(weight: Tensor) -> Tensor:
    """log(p / (1 − p)) = log(e^ŷ − 1) = ŷ + log(1 − e^−ŷ)."""
    return weight + log_click(weight)


def click_cross_entropy(weights: Tensor, is_candidate: Tensor) -> Tensor:
    """Σ over rows of the paper's loss, the mean over the row's 1 + n terms: −log p of the positive, ŷ of the others.

    Parameters
    ----------
    weights : (m, 1 + n)
        ŷ, the positive's first.
    is_candidate : (m, 1 + n) bool
        False leaves a negative out.
    """
    negative = weights[:, 1:].masked_fill(~is_candidate[:, 1:], 0.0).sum(1)
    return ((negative - log_click(weights[:, 0])) / weights.shape[1]).sum()


def candidate_cross_entropy(weights: Tensor, is_candidate: Tensor) -> Tensor:
    """Σ over rows of the softmax cross-entropy of the positive among 1 + n candidates, logits log(e^ŷ − 1)."""
    logits = click_logit(weights).masked_fill(~is_candidate, -torch.inf)
    return (logits.logsumexp(1) - logits[:, 0]).sum()
