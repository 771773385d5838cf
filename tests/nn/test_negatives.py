import numpy as np
import torch

from headwater.nn.negatives import InBatch, Popularity, Sampler, Uniform, hardest

CPU = torch.device("cpu")
COUNTS = np.array([60, 30, 9, 1, 0])


def shares(sampler: Sampler, batch_targets: torch.Tensor, n: int = 200_000) -> torch.Tensor:
    drawn = sampler.draw((n // 100, 100), torch.Generator().manual_seed(0), batch_targets)
    assert drawn.dtype == torch.int64
    return torch.bincount(drawn.flatten(), minlength=5) / n


def test_draws_come_as_often_as_their_probability_says() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    everything = torch.arange(5)
    for sampler in (Uniform(5), Popularity(COUNTS, 1.0, CPU), Popularity(COUNTS, 0.5, CPU)):
        probability = sampler.log_probability(everything).exp()
        assert abs(probability.sum().item() - 1) < 1e-6
        torch.testing.assert_close(shares(sampler, nothing), probability, atol=0.004, rtol=0)


def test_popularity_counts_an_untouched_item_once_and_bends_with_its_power() -> None:
    expected = np.sqrt([60, 30, 9, 1, 1])
    probability = Popularity(COUNTS, 0.5, CPU).log_probability(torch.arange(5)).exp().numpy()
    np.testing.assert_allclose(probability, expected / expected.sum(), rtol=1e-5)


def test_in_batch_draws_the_batchs_own_positives() -> None:
    sampler = InBatch(COUNTS, CPU)
    found = shares(sampler, torch.tensor([0, 0, 0, 2]))
    torch.testing.assert_close(found, torch.tensor([0.75, 0, 0.25, 0, 0]), atol=0.005, rtol=0)
    assert sampler.log_probability(torch.tensor([0])).exp().item() == np.float32(60 / 101)


def test_one_generator_state_gives_one_draw() -> None:
    for sampler in (Uniform(5), Popularity(COUNTS, 1.0, CPU), InBatch(COUNTS, CPU)):
        one, other = (sampler.draw((50,), torch.Generator().manual_seed(4), torch.arange(5)) for _ in range(2))
        assert torch.equal(one, other)


def test_the_hardest_are_the_highest_scored_without_the_positive() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]], requires_grad=True)
    is_positive = torch.tensor([[False, True, False, False], [False] * 4])
    assert hardest(scores, is_positive, 2).tolist() == [[3, 2], [0, 1]]
