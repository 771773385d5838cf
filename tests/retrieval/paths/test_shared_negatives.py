"""Negatives of a whole step: the same scores as negatives of each row, from similarities that are found once."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from headwater.data import Dataset
from headwater.nn.inputs import InputConfig
from headwater.nn.negatives import Popularity, Uniform, distinct
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingConfig
from headwater.retrieval.paths.batches import PathBatch, PathBatches, joined_levels
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.cooccurrence import user_folds
from headwater.retrieval.paths.features import PathFeatures
from headwater.retrieval.paths.levels import PairLevels, pair_levels
from headwater.retrieval.paths.network import PathNetwork
from headwater.retrieval.paths.sums import sum_of_paths

CPU = torch.device("cpu")
N_FOLDS = 3


def batches_of(data: Dataset, pairs: list[PairLevels], *, negatives: int, batch_size: int = 150) -> PathBatches:
    return PathBatches(
        Histories.from_dataset(data, CPU),
        np.arange(len(data.users)),
        user_folds(len(data.users), N_FOLDS, seed=1),
        pairs,
        Uniform(len(data.items)),
        negatives=negatives,
        length=8,
        batch_size=batch_size,
        positions=4,
        seed=5,
        has_clock=True,
        shares_negatives=True,
    )


@pytest.fixture(scope="module")
def pairs(marketplace: Dataset) -> list[PairLevels]:
    folds = user_folds(len(marketplace.users), N_FOLDS, seed=1)
    return pair_levels(marketplace, folds, ("cosine", "window-lift"), bins=6, window=4, session_gap=None, device=CPU)


def one_of_each_row(batch: PathBatch, pairs: list[PairLevels], folds: torch.Tensor) -> PathBatch:
    """The same batch with the step's negatives given to each row as its own."""
    assert batch.shared is not None
    targets = torch.cat([batch.targets, batch.shared.items.expand(len(batch.targets), -1)], 1)
    levels = joined_levels(pairs, folds[:, None, None], batch.windows.items[:, None], targets[:, :, None])
    return batch._replace(targets=targets, shared=None, levels=levels)


@pytest.mark.parametrize("negatives", [7, 10_000])
def test_scores_and_gradients_are_those_of_negatives_of_each_row(
    marketplace: Dataset, pairs: list[PairLevels], negatives: int
) -> None:
    config = PathsConfig(dropout=0, negatives=negatives, length=8, inputs=InputConfig(gaps=True))
    features = PathFeatures.of(marketplace, config.inputs, (), config.bins)
    torch.manual_seed(0)
    network = PathNetwork(config, features, tuple(size for part in pairs for size in part.sizes)).double()
    batch = batches_of(marketplace, pairs, negatives=negatives).batch(1, 2)
    folds = torch.from_numpy(user_folds(len(marketplace.users), N_FOLDS, seed=1)[batch.users.rows.numpy()])
    found, expected = network(batch), network(one_of_each_row(batch, pairs, folds))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.rand(found.shape)
    parameters = [weight for weight in network.parameters() if weight.requires_grad]
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), parameters, allow_unused=True),
        torch.autograd.grad((expected * weights).sum(), parameters, allow_unused=True),
        strict=True,
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_step_has_users_of_one_fold_and_an_epoch_every_example_once(
    marketplace: Dataset, pairs: list[PairLevels]
) -> None:
    batches = batches_of(marketplace, pairs, negatives=7)
    folds = user_folds(len(marketplace.users), N_FOLDS, seed=1)
    all_users, of_steps = [], []
    for step in range(batches.steps):
        batch = batches.batch(0, step)
        users = batch.users.rows.numpy()
        (fold,) = set(folds[users].tolist())
        of_steps.append(fold)
        all_users += users.tolist()
        assert batch.n_positives <= 150
    lengths = np.diff(marketplace.offsets)
    np.testing.assert_array_equal(np.bincount(all_users), np.minimum(lengths - 1, 4))
    assert of_steps != sorted(of_steps)


def test_what_a_row_knows_is_no_candidate_of_it(marketplace: Dataset, pairs: list[PairLevels]) -> None:
    batch = batches_of(marketplace, pairs, negatives=10_000).batch(0, 0)
    assert batch.shared is not None
    for row in range(len(batch.targets)):
        known = {int(batch.targets[row, 0]), *batch.windows.items[row][batch.windows.is_event[row]].tolist()}
        left_out = batch.shared.items[~batch.is_candidate[row, 1:]].tolist()
        assert set(left_out) == known
    assert batch.is_candidate[:, 0].all()


def test_distinct_items_come_in_proportion_to_their_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    sampler = Popularity(np.array([1, 1, 8, 0]), 1.0, CPU)
    weights = sampler.log_probability(torch.arange(4)).exp()
    drawn = torch.stack([distinct(weights, 2, generator) for _ in range(2_000)])
    assert (drawn[:, 0] != drawn[:, 1]).all()
    # The first of two is item 2 in 8 of 11 draws, and it is missing from both in 3/11 x 2/10.
    assert abs((drawn == 2).any(1).double().mean() - (1 - 3 / 11 * 2 / 10)) < 0.03
    assert distinct(weights, 9, generator).tolist() == [0, 1, 2, 3]


def test_the_sum_over_paths_leaves_padding_out_and_has_the_gradient_of_its_values() -> None:
    torch.manual_seed(3)
    t = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    s = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    at, is_event = torch.randint(6, (5, 4)), torch.rand(5, 4) < 0.7
    expected = (torch.nn.functional.softplus(t[:, :, None] + s[at]) * is_event[..., None]).sum(1)
    torch.testing.assert_close(sum_of_paths(t, s, at, is_event), expected)
    assert torch.autograd.gradcheck(lambda a, b: sum_of_paths(a, b, at, is_event), (t, s))


def test_training_with_shared_negatives_learns_and_vectors_refuse_it(marketplace: Dataset) -> None:
    training = TrainingConfig(epochs=6, batch_size=128, learning_rate=3e-3)
    channel = Paths(PathsConfig(length=8, dimension=8, negatives=30, shares_negatives=True, training=training))
    channel.fit(marketplace)
    assert channel.report is not None
    losses = [loss for _, loss, _ in channel.report.curve]
    assert losses[-1] < losses[0] - 0.05
    with pytest.raises(ValidationError, match="path_dimension"):
        PathsConfig(shares_negatives=True, path_dimension=4)
