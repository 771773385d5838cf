"""What a training step sees: nothing at or after the target, and levels that leave the row's own fold out."""

import numpy as np
import pytest
import torch

from headwater.data import Dataset
from headwater.nn.negatives import Uniform
from headwater.nn.sequences import Histories
from headwater.retrieval.paths.batches import PathBatch, PathBatches
from headwater.retrieval.paths.cooccurrence import user_folds
from headwater.retrieval.paths.levels import PairLevels, pair_levels

CPU = torch.device("cpu")


def levels_of(data: Dataset, folds: np.ndarray) -> list[PairLevels]:
    measures = ("cosine", "window-lift")
    return pair_levels(data, folds, measures, bins=6, window=4, session_gap=None, device=CPU)


def batches_of(data: Dataset, *, seed: int = 0, length: int = 8, batch_size: int = 300) -> PathBatches:
    folds = user_folds(len(data.users), 3, seed=1)
    return PathBatches(
        Histories.from_dataset(data, CPU),
        np.arange(len(data.users)),
        folds,
        levels_of(data, folds),
        Uniform(len(data.items)),
        negatives=12,
        length=length,
        batch_size=batch_size,
        positions=None,
        seed=seed,
        has_clock=True,
    )


def example_of(data: Dataset, batch: PathBatch, row: int) -> tuple[int, int]:
    """(user, position) of a row; the marketplace has no user with one item twice."""
    user = int(batch.users.rows[row])
    history = data.event_items[data.offsets[user] : data.offsets[user + 1]]
    (position,) = np.flatnonzero(history == int(batch.targets[row, 0]))
    return user, int(position)


def test_triggers_strictly_precede_the_target(marketplace: Dataset) -> None:
    batch = batches_of(marketplace).batch(0, 1)
    for row in range(len(batch.targets)):
        user, position = example_of(marketplace, batch, row)
        history = marketplace.event_items[marketplace.offsets[user] :][:position]
        np.testing.assert_array_equal(batch.windows.items[row][batch.windows.is_event[row]].numpy(), history[-8:])


def test_place_and_hour_are_of_the_positive_and_one_for_all_candidates(marketplace: Dataset) -> None:
    batch = batches_of(marketplace).batch(0, 0)
    for row in range(len(batch.targets)):
        user, position = example_of(marketplace, batch, row)
        time = int(marketplace.event_times[marketplace.offsets[user] + position])
        assert int(batch.hours[row]) == 1 + time // 3600 % 24
        assert int(batch.places[row]) == position.bit_length()
    assert batch.places.shape == batch.hours.shape == (len(batch.targets),)


def test_negatives_that_are_the_positive_or_a_trigger_do_not_count(marketplace: Dataset) -> None:
    batch = batches_of(marketplace).batch(0, 2)
    assert batch.is_candidate[:, 0].all()
    n_left_out = 0
    for row in range(len(batch.targets)):
        positive, *negatives = batch.targets[row].tolist()
        known = {positive, *batch.windows.items[row][batch.windows.is_event[row]].tolist()}
        assert batch.is_candidate[row, 1:].tolist() == [negative not in known for negative in negatives]
        n_left_out += int((~batch.is_candidate[row]).sum())
    assert n_left_out


def test_levels_are_of_each_pair_without_the_fold_of_the_user(marketplace: Dataset) -> None:
    folds = user_folds(len(marketplace.users), 3, seed=1)
    pairs = levels_of(marketplace, folds)
    batch = batches_of(marketplace).batch(0, 0)
    for row in range(0, len(batch.targets), 7):
        plane = int(folds[int(batch.users.rows[row])])
        for column in (0, 3):
            triggers, target = batch.windows.items[row], batch.targets[row, column]
            expected = torch.cat([of_some(torch.tensor(plane), triggers, target) for of_some in pairs], -1)
            torch.testing.assert_close(batch.levels[row, column], expected)


def test_changing_what_a_user_did_does_not_change_the_levels_of_that_user(marketplace: Dataset) -> None:
    folds = user_folds(len(marketplace.users), 3, seed=1)
    is_kept = folds[marketplace.event_users] != 0
    without = levels_of(marketplace.keep(is_kept), folds)
    everything = levels_of(marketplace, folds)
    n = len(marketplace.items)
    trigger, target = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    for some, whole in zip(without, everything, strict=True):
        # Which pairs there are; which bin they fall in also depends on how popular items are, which is not corrected.
        known = [pairs(0, trigger, target)[..., 0] > 0 for pairs in (some, whole)]
        torch.testing.assert_close(known[0], known[1])


def test_a_batch_is_a_function_of_seed_epoch_and_step(marketplace: Dataset) -> None:
    one, other = batches_of(marketplace), batches_of(marketplace)
    other.batch(3, 0)
    torch.testing.assert_close(one.batch(1, 2).targets, other.batch(1, 2).targets)
    assert not torch.equal(one.batch(1, 2).targets[:100], one.batch(2, 2).targets[:100])
    assert not torch.equal(one.batch(1, 2).targets[:100], batches_of(marketplace, seed=5).batch(1, 2).targets[:100])


@pytest.mark.parametrize("n_processes", [2, 3])
def test_the_parts_of_processes_are_the_whole_batch(marketplace: Dataset, n_processes: int) -> None:
    batches = batches_of(marketplace)
    whole = batches.batch(0, 3)
    parts = [batches.batch(0, 3, process=process, n_processes=n_processes) for process in range(n_processes)]
    for name in ("targets", "is_candidate", "places", "hours"):
        torch.testing.assert_close(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert {part.n_positives for part in parts} == {len(whole.targets)}
