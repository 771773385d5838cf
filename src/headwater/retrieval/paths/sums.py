"""The sum over triggers of softplus(t + s), for all candidates of a step at once, without keeping its terms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TERMS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Path weights held at a time, by device, whatever batch, history and candidates are."""


class _SumOfPaths(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, interests: Tensor, similarities: Tensor, at: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(interests, similarities, at)
        total = torch.empty(len(at), similarities.shape[1], dtype=interests.dtype, device=at.device)
        for rows in _slices(at, similarities):
            total[rows] = functional.softplus(_paths(interests[rows], similarities, at[rows])).sum(1)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        interests, similarities, at = ctx.saved_tensors
        of_interests, of_similarities = torch.empty_like(interests), torch.zeros_like(similarities)
        for rows in _slices(at, similarities):
            slopes = _paths(interests[rows], similarities, at[rows]).sigmoid_()
            slopes *= gradient[rows, None]
            of_interests[rows] = slopes.sum(2)
            of_similarities.index_add_(0, at[rows].reshape(-1), slopes.flatten(0, 1))
        return of_interests, of_similarities, None


def _paths(interests: Tensor, similarities: Tensor, at: Tensor) -> Tensor:
    return functional.embedding(at, similarities).add_(interests[:, :, None])


def _slices(at: Tensor, similarities: Tensor) -> list[slice]:
    size = max(1, TERMS_AT_ONCE.get(at.device.type, 1 << 22) // max(at.shape[1] * similarities.shape[1], 1))
    return [slice(start, start + size) for start in range(0, len(at), size)]


def sum_of_paths(interests: Tensor, similarities: Tensor, at: Tensor, is_event: Tensor) -> Tensor:
    """(b, n) Σ_j softplus(t_uj + s_ji), eq. 10 summed as in eq. 12, of users with n candidates that they share.

    A similarity that several users need is one entry of `similarities`; terms are made again for the gradient.

    Parameters
    ----------
    interests : (b, w) float
        t of each trigger.
    similarities : (m, n) float
        s of m triggers with n candidates.
    at : (b, w) int64
        The row of `similarities` that each trigger has.
    is_event : (b, w) bool
        Without it, a place adds nothing.
    """
    found: Any = _SumOfPaths.apply(interests.masked_fill(~is_event, -torch.inf), similarities, at)
    return found
