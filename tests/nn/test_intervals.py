import numpy as np
import pytest
import torch

from headwater.nn.encoder import Encoder
from headwater.nn.inputs import GAP_LEVELS
from headwater.nn.intervals import IntervalBias
from headwater.nn.sequences import Histories, Windows

CPU = torch.device("cpu")


def windows_of(times: list[int], request_time: int) -> Windows:
    histories = Histories(
        lengths=np.array([len(times)]),
        offsets=torch.tensor([0, len(times)]),
        items=torch.arange(len(times), dtype=torch.int32),
        times=torch.tensor(times),
        ratings=None,
        request_times=torch.tensor([request_time]),
    )
    return histories.windows(np.array([0]), 10, times=True)


def bias_of(*, at_request: bool) -> IntervalBias:
    module = IntervalBias(2, at_request=at_request)
    torch.nn.init.normal_(module.levels)
    return module


def test_a_bias_is_that_of_the_time_between_the_two_events() -> None:
    module = bias_of(at_request=False)
    bias = module(windows_of([10, 10, 14], 100))
    levels = torch.tensor([[1, 1, 4], [1, 1, 4], [4, 4, 1]])  # none; 4 s
    torch.testing.assert_close(bias[0], module.levels[levels].permute(2, 0, 1))


def test_at_a_request_intervals_end_at_the_next_event() -> None:
    module = bias_of(at_request=True)
    bias = module(windows_of([10, 11, 14], 30))
    levels = torch.tensor([[2, 1, 3], [4, 3, 1], [6, 6, 6]])  # ends at 11, 14 and 30
    torch.testing.assert_close(bias[0], module.levels[levels].permute(2, 0, 1))


@pytest.mark.parametrize("at_request", [False, True])
def test_the_time_of_a_hidden_event_shows_at_a_request_alone(at_request: bool) -> None:
    module = bias_of(at_request=at_request)
    is_hidden = torch.tensor([[False, False, True]])
    bias = module(windows_of([10, 11, 14], 30), is_hidden)
    hidden = 4 if at_request else 0
    levels = torch.tensor([[1, 2, hidden], [2, 1, 3 if at_request else 0], [hidden, 3 if at_request else 0, hidden]])
    levels[2, 2] = 1 if at_request else 0
    torch.testing.assert_close(bias[0], module.levels[levels].permute(2, 0, 1))


def test_the_gradient_is_that_of_indexing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.nn.intervals.PAIRS_AT_ONCE", 20)  # several pieces
    module = bias_of(at_request=False)
    windows = windows_of([1, 5, 9, 200], 300)
    windows = Windows(*(None if part is None else torch.cat([part, part]) for part in windows))
    weights = torch.randn(2, 2, 4, 4)
    (module(windows) * weights).sum().backward()
    assert module.levels.grad is not None
    expected = torch.zeros(GAP_LEVELS, 2)
    levels = torch.tensor([[1, 4, 5, 9], [4, 1, 4, 9], [5, 4, 1, 9], [9, 9, 9, 1]])
    for row in range(2):
        for asking in range(4):
            for other in range(4):
                expected[levels[asking, other]] += weights[row, :, asking, other]
    torch.testing.assert_close(module.levels.grad, expected)


def test_a_causal_encoder_with_a_bias_still_sees_no_later_event() -> None:
    torch.manual_seed(0)
    encoder = Encoder(8, 2, 2, feed_forward=2, dropout=0.0, is_causal=True).eval()
    vectors, bias = torch.randn(1, 5, 8), torch.randn(1, 2, 5, 5)
    is_event = torch.ones(1, 5, dtype=torch.bool)
    changed = vectors.clone()
    changed[:, 3:] = 7.0
    torch.testing.assert_close(encoder(vectors, is_event, bias)[:, :3], encoder(changed, is_event, bias)[:, :3])
    torch.testing.assert_close(encoder(vectors, is_event, torch.zeros_like(bias)), encoder(vectors, is_event))
    assert not torch.allclose(encoder(vectors, is_event, 5 * bias), encoder(vectors, is_event))


def test_windows_without_times_are_refused() -> None:
    windows = windows_of([1, 2], 3)._replace(times=None)
    with pytest.raises(ValueError, match="times=True"):
        bias_of(at_request=False)(windows)
