"""Losses over items as pure functions; each returns the *sum* over positions, so that processes add up exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LOGITS_AT_ONCE = 1 << 26
"""Full softmax holds at most this many logits at a time (256 MB in fp32), whatever batch and catalogue are."""


def full_softmax(
    hidden: Tensor,
    table: Tensor,
    positives: Tensor,
    *,
    seen: Tensor | None = None,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Tensor:
    """Cross-entropy over the whole catalogue, with the logits of some positions at a time.

    Σ_p [log Σ_j exp(h_p · e_j) − h_p · e_{i_p}]. The gradient is known as soon as a slice of logits is, so it is
    taken there and then, and no logits outlive their slice.

    Parameters
    ----------
    hidden : (m, d), or (m, v, d)
        Of v vectors of a position, each item's logit is the highest.
    table : (items, d)
    positives : (m,) int64
    seen : (m, w) int64, optional
        Items that each position leaves out of its sum, since they are not asked for when serving either; -1 is none,
        and a positive always counts.
    logits_at_once : int
        Bound on vectors × items of a slice.

    Returns
    -------
    () in fp32, or fp64 where `hidden` is; under autocast the products are taken in its type.
    """
    several = hidden if hidden.ndim == 3 else hidden[:, None]
    rows = max(1, logits_at_once // (several.shape[1] * len(table)))
    loss: Any = _FullSoftmax.apply(several, table, positives, seen, rows)
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, table: Tensor, positives: Tensor, seen: Tensor | None, rows: int
    ) -> Tensor:
        kind = hidden.device.type
        product = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        v = hidden.shape[1]
        vector = torch.arange(v, device=hidden.device)[:, None]
        with torch.autocast(kind, enabled=False):
            items = table.to(product)
            total = torch.zeros((), dtype=exact, device=hidden.device)
            hidden_gradient = torch.empty_like(hidden)
            table_gradient = torch.zeros_like(table, dtype=exact)
            for start in range(0, len(hidden), rows):
                part = hidden[start : start + rows].to(product)
                wanted = positives[start : start + rows]
                at = torch.arange(len(wanted), device=wanted.device)
                logits = (part.flatten(0, 1) @ items.T).to(exact)
                best = None
                if v > 1:
                    logits, best = logits.view(len(part), v, -1).max(1)
                if seen is not None:
                    left_out = seen[start : start + rows]
                    kept = logits[at, wanted]
                    logits.scatter_(1, torch.where(left_out < 0, wanted[:, None], left_out), -torch.inf)
                    logits[at, wanted] = kept
                # In place from here on: the logits are most of the traffic. They end as the gradient, softmax
                # minus the one-hot target.
                logits -= logits.amax(1, keepdim=True)
                wanted_logits = logits[at, wanted]
                normaliser = logits.exp_().sum(1)
                total += (normaliser.log() - wanted_logits).sum()
                logits *= normaliser.reciprocal()[:, None]
                logits[at, wanted] -= 1
                slopes = logits.to(product)[:, None]
                if best is not None:
                    slopes = slopes * (best[:, None] == vector)  # to the vector that gave the logit
                slopes = slopes.flatten(0, 1)
                hidden_gradient[start : start + rows] = (slopes @ items).view_as(part)
                table_gradient += slopes.T @ part.flatten(0, 1)
        ctx.save_for_backward(hidden_gradient, table_gradient.to(table.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        hidden_gradient, table_gradient = ctx.saved_tensors
        return hidden_gradient * gradient, table_gradient * gradient, None, None, None


def sampled_softmax(positive: Tensor, negative: Tensor, log_expected: Tensor, is_positive: Tensor) -> Tensor:
    """Cross-entropy against drawn items, each standing for the many that were not drawn (log-Q correction).

    Σ_p log[1 + Σ_s exp(s_ps − log E_s − s_p⁺)], E_s the expected number of draws of item s (Bengio and Senécal,
    2008). Σ_s exp(s_ps − log E_s) is an unbiased estimate of the sum over all items but the positive. The
    positive itself is not drawn but always there, so it is not corrected.

    Parameters
    ----------
    positive : (m,)
        Scores of the positives.
    negative : (m, n)
        Scores of the drawn items.
    log_expected : (n,) or (m, n)
        log(draws · probability of the item in one draw).
    is_positive : (m, n) bool
        Draws that are the row's positive: left out.
    """
    corrected = (negative - log_expected).masked_fill(is_positive, -torch.inf)
    everything = torch.cat([positive[:, None], corrected], 1)
    return (everything.logsumexp(1) - positive).sum()


def binary_cross_entropy(
    positive: Tensor, negative: Tensor, is_positive: Tensor, *, exponent: float | Tensor = 1.0
) -> Tensor:
    """Each positive against its n negatives; with an exponent below 1, gBCE.

    Σ_p 1/(n + 1) · [−β log σ(s⁺) − Σ_s log(1 − σ(s_s))] (Petrov and Macdonald, RecSys 2023, eq. 9, β the
    exponent; β = 1 is the loss of Kang and McAuley, 2018, eq. 6, per term).

    Parameters
    ----------
    positive : (m,)
    negative : (m, n)
    is_positive : (m, n) bool
        Draws that are the row's positive: left out.
    """
    losses = functional.softplus(negative).masked_fill(is_positive, 0.0).sum(1)
    return ((losses + exponent * functional.softplus(-positive)) / (negative.shape[1] + 1)).sum()


def calibrated_exponent(n_negatives: int, n_items: int, calibration: float) -> float:
    """β of gBCE: α(t(1 − 1/α) + 1/α), α = n / (items − 1) the share of negatives drawn (Petrov, eq. 11).

    t = 0 is plain BCE; t = 1 undoes the overconfidence that drawing few negatives gives.
    """
    share = min(1.0, n_negatives / max(n_items - 1, 1))
    return share * (calibration * (1 - 1 / share) + 1 / share)
