"""Probability, logit and losses in float32 against float64 and against mathematics, over the range that matters."""

from decimal import Decimal, localcontext
from math import expm1, log

import numpy as np
import pytest
import torch

from headwater.retrieval.paths.losses import (
    candidate_cross_entropy,
    click_cross_entropy,
    click_logit,
    log_click,
)

RANGE = np.geomspace(1e-8, 1e3, 400)


@pytest.mark.parametrize("function", [log_click, click_logit], ids=lambda function: function.__name__)
def test_values_and_slopes_in_float32_are_those_of_float64(function: object) -> None:
    results = []
    for kind in (torch.float32, torch.float64):
        # Both from the same float32 numbers, so that only the arithmetic differs.
        weight = torch.tensor(RANGE, dtype=torch.float32).to(kind).requires_grad_()
        value = function(weight)  # type: ignore[operator]
        value.sum().backward()
        assert weight.grad is not None
        assert value.isfinite().all()
        assert weight.grad.isfinite().all()
        results.append((value.detach().double(), weight.grad.double()))
    (value, slope), (exact_value, exact_slope) = results
    # Near ŷ = ln 2 the logit crosses zero, so there the error is absolute.
    torch.testing.assert_close(value, exact_value, rtol=2e-6, atol=1e-6 if function is click_logit else 1e-38)
    torch.testing.assert_close(slope, exact_slope, rtol=2e-6, atol=1e-38)


@pytest.mark.parametrize("weight", [1e-8, 1e-3, 0.5, 0.7, 3.0, 30.0, 600.0])
def test_float64_is_what_mathematics_says(weight: float) -> None:
    at = torch.tensor([weight], dtype=torch.float64, requires_grad=True)
    value = log_click(at)
    value.backward()
    with localcontext(prec=700):
        assert value.item() == pytest.approx(float((1 - (-Decimal(weight)).exp()).ln()), rel=1e-12)
    assert at.grad is not None
    assert at.grad.item() == pytest.approx(1 / expm1(weight), rel=1e-12)
    logit = click_logit(at.detach()).item()
    assert logit == pytest.approx(log(expm1(weight)), rel=1e-12, abs=1e-12)


def test_slopes_are_those_of_finite_differences() -> None:
    weight = torch.tensor([0.01, 0.3, 0.69, 0.70, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_click, (weight,))
    assert torch.autograd.gradcheck(click_logit, (weight,))


def test_a_weight_of_zero_still_has_a_finite_loss_and_slope() -> None:
    weights = torch.zeros(1, 3, requires_grad=True)
    for loss in (click_cross_entropy, candidate_cross_entropy):
        value = loss(weights, torch.ones(1, 3, dtype=torch.bool))
        (slope,) = torch.autograd.grad(value, weights)
        assert value.isfinite()
        assert slope.isfinite().all()


def test_losses_by_hand_leave_refused_negatives_out() -> None:
    weights = torch.tensor([[log(2.0), log(3.0), 5.0]], dtype=torch.float64)  # p = 1/2, 2/3; logits 0, log 2
    is_candidate = torch.tensor([[True, True, False]])
    assert click_cross_entropy(weights, is_candidate).item() == pytest.approx((log(2) + log(3)) / 3)
    assert candidate_cross_entropy(weights, is_candidate).item() == pytest.approx(log(3))
