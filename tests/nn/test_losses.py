import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from headwater.nn.losses import binary_cross_entropy, calibrated_exponent, full_softmax, sampled_softmax


def example(m: int = 7, n_items: int = 11, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(m)
    hidden = torch.randn(m, d, dtype=torch.float64, requires_grad=True)
    table = torch.randn(n_items, d, dtype=torch.float64, requires_grad=True)
    return hidden, table, torch.randint(n_items, (m,))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 200))
def test_full_softmax_is_cross_entropy_whatever_is_held_at_once(m: int, n_items: int, at_once: int) -> None:
    hidden, table, positives = example(m, n_items)
    expected = functional.cross_entropy(hidden @ table.T, positives, reduction="sum")
    loss = full_softmax(hidden, table, positives, logits_at_once=at_once)
    torch.testing.assert_close(loss, expected)
    # Another factor in front, as the mean over positions puts there.
    found = torch.autograd.grad(0.3 * loss, (hidden, table))
    for gradient, reference in zip(found, torch.autograd.grad(0.3 * expected, (hidden, table)), strict=True):
        torch.testing.assert_close(gradient, reference)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(2, 4), st.integers(1, 12), st.integers(1, 200))
def test_of_several_vectors_each_logit_is_the_highest(m: int, v: int, n_items: int, at_once: int) -> None:
    _, table, positives = example(m, n_items)
    hidden = torch.randn(m, v, 3, dtype=torch.float64, requires_grad=True)
    expected = functional.cross_entropy((hidden @ table.T).amax(1), positives, reduction="sum")
    loss = full_softmax(hidden, table, positives, logits_at_once=at_once)
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, (hidden, table))
    for gradient, reference in zip(found, torch.autograd.grad(expected, (hidden, table)), strict=True):
        torch.testing.assert_close(gradient, reference)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(1, 200))
def test_what_was_seen_is_left_out_of_the_sum_but_a_positive_never(
    m: int, n_items: int, w: int, v: int, at_once: int
) -> None:
    _, table, positives = example(m, n_items)
    hidden = torch.randn(m, v, 3, dtype=torch.float64, requires_grad=True)
    seen = torch.randint(-1, n_items, (m, w))
    is_left_out = torch.zeros(m, n_items, dtype=torch.bool)
    for row, items in enumerate(seen.tolist()):
        is_left_out[row, [item for item in items if item >= 0]] = True
    is_left_out[torch.arange(m), positives] = False
    logits = (hidden @ table.T).amax(1).masked_fill(is_left_out, -torch.inf)
    expected = functional.cross_entropy(logits, positives, reduction="sum")
    loss = full_softmax(hidden, table, positives, seen=seen, logits_at_once=at_once)
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, (hidden, table))
    for gradient, reference in zip(found, torch.autograd.grad(expected, (hidden, table)), strict=True):
        torch.testing.assert_close(gradient, reference)


def test_full_softmax_has_the_gradient_of_its_values() -> None:
    hidden, table, positives = example(4, 5)
    assert torch.autograd.gradcheck(lambda h, e: full_softmax(h, e, positives, logits_at_once=10), (hidden, table))


def test_full_softmax_in_fp32_stays_finite_with_large_logits() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = full_softmax(hidden, torch.tensor([[1.0], [-1.0]], requires_grad=True), torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_full_softmax_under_autocast_is_near_the_exact_one_and_returns_fp32() -> None:
    hidden, table, positives = (
        part.float().detach().requires_grad_() if part.is_floating_point() else part for part in example(50, 30, 16)
    )
    exact = full_softmax(hidden, table, positives)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = full_softmax(hidden, table, positives)
    gradients = torch.autograd.grad(mixed, (hidden, table))
    assert mixed.dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    assert mixed.item() == pytest.approx(exact.item(), rel=1e-2)
    assert mixed.item() != exact.item()  # the products were taken in bf16
    assert (
        functional.cosine_similarity(gradients[1].flatten(), torch.autograd.grad(exact, table)[0].flatten(), 0) > 0.999
    )


def test_sampled_softmax_over_every_other_item_is_full_softmax() -> None:
    hidden, table, positives = example()
    drawn = torch.arange(len(table))  # each once: expected once
    loss = sampled_softmax(
        (hidden * table[positives]).sum(1),
        hidden @ table[drawn].T,
        torch.zeros(len(table)),
        positives[:, None] == drawn,
    )
    torch.testing.assert_close(loss, full_softmax(hidden, table, positives))


def test_sampled_softmax_estimates_the_sum_over_all_items_without_bias_whatever_the_draw_favours() -> None:
    torch.manual_seed(0)
    scores = torch.randn(6, dtype=torch.float64)
    probability = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.05, 0.05], dtype=torch.float64)
    drawn = torch.multinomial(probability, 40_000 * 8, replacement=True).view(40_000, 8)
    positive = scores[:1].expand(40_000)
    # exp(loss of one position) = (e^{s+} + estimate) / e^{s+}
    estimates = torch.stack(
        [
            ((scores[drawn] - (probability[drawn] * 8).log()).exp() * (drawn != 0)).sum(1).mean(),
            scores[1:].exp().sum(),
        ]
    )
    assert estimates[0].item() == pytest.approx(estimates[1].item(), rel=0.02)
    one = sampled_softmax(positive[:1], scores[drawn[:1]], (probability[drawn[:1]] * 8).log(), drawn[:1] == 0)
    by_hand = ((scores[drawn[0]] - (probability[drawn[0]] * 8).log()).exp() * (drawn[0] != 0)).sum()
    assert one.item() == pytest.approx(math.log1p(by_hand.item() / math.exp(scores[0].item())))


def test_sampled_softmax_of_nothing_but_the_positive_is_zero() -> None:
    loss = sampled_softmax(torch.tensor([3.0]), torch.tensor([[3.0, 3.0]]), torch.zeros(2), torch.ones(1, 2).bool())
    assert loss.item() == 0


def test_binary_cross_entropy_by_hand() -> None:
    positive, negative = torch.tensor([0.0, 2.0]), torch.tensor([[0.0, 1.0], [-1.0, 2.0]])
    is_positive = torch.tensor([[False, False], [False, True]])
    loss = binary_cross_entropy(positive, negative, is_positive)
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    first = -math.log(sigmoid(0)) - math.log(1 - sigmoid(0)) - math.log(1 - sigmoid(1))
    second = -math.log(sigmoid(2)) - math.log(1 - sigmoid(-1))
    assert loss.item() == pytest.approx((first + second) / 3, rel=1e-6)


def test_gbce_raises_the_positives_probability_to_the_exponent() -> None:
    positive, negative = torch.tensor([0.7]), torch.tensor([[-0.2]])
    nothing = torch.zeros(1, 1).bool()
    loss = binary_cross_entropy(positive, negative, nothing, exponent=0.3)
    p, q = torch.sigmoid(positive), torch.sigmoid(negative[0])
    assert loss.item() == pytest.approx(-(torch.log(p**0.3) + torch.log(1 - q)).item() / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "n_items", "calibration", "exponent"),
    [(1, 101, 0.0, 1.0), (1, 101, 1.0, 0.01), (25, 101, 0.5, 0.625), (500, 101, 0.5, 1.0), (3, 1, 0.5, 1.0)],
)
def test_the_exponent_runs_from_one_to_the_share_of_negatives_drawn(
    n: int, n_items: int, calibration: float, exponent: float
) -> None:
    assert calibrated_exponent(n, n_items, calibration) == pytest.approx(exponent)


@pytest.mark.parametrize("loss", ["sampled", "bce"])
def test_losses_over_draws_have_the_gradient_of_their_values(loss: str) -> None:
    torch.manual_seed(1)
    positive = torch.randn(3, dtype=torch.float64, requires_grad=True)
    negative = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    is_positive = torch.rand(3, 4) < 0.3
    if loss == "sampled":
        assert torch.autograd.gradcheck(
            lambda p, n: sampled_softmax(p, n, torch.arange(4.0).double(), is_positive), (positive, negative)
        )
    else:
        assert torch.autograd.gradcheck(
            lambda p, n: binary_cross_entropy(p, n, is_positive, exponent=0.4), (positive, negative)
        )
