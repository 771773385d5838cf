"""Passes of a step: whose, of which cluster, with which targets."""

import numpy as np
import pytest
import torch
from small import cut

from headwater.data import Dataset
from headwater.errors import ConfigError
from headwater.nn.sequences import Histories
from headwater.retrieval.divide.batches import DivideBatch, DivideBatches

LENGTH = 9


def batches(data: Dataset, labels: np.ndarray, n: int, *, tasks: int = 3, size: int = 32, seed: int = 0):
    histories = Histories.from_dataset(data, torch.device("cpu"))
    return DivideBatches(
        histories, cut(labels, n), length=LENGTH, batch_size=size, tasks_per_user=tasks, seed=seed, times=False
    )


@pytest.fixture
def labels(marketplace: Dataset) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 7, len(marketplace.items))


def rows_of(batch: DivideBatch) -> list[tuple[int, list[int], list[tuple[int, int]]]]:
    """Each pass: its cluster, its window's items, and (column, target) of its positives."""
    w = batch.windows.items.shape[1]
    found = []
    for row, task in enumerate(batch.tasks.tolist()):
        mine = (batch.at // w == row).nonzero()[:, 0]
        window = batch.windows.items[row][batch.windows.is_event[row]].tolist()
        found.append((task, window, [(int(batch.at[m]) % w, int(batch.targets[m])) for m in mine]))
    return found


def test_a_pass_has_every_target_of_its_cluster_that_its_window_precedes(
    marketplace: Dataset, labels: np.ndarray
) -> None:
    made = batches(marketplace, labels, 7)
    by_window = {}
    for user in range(len(marketplace.users)):
        history = marketplace.event_items[marketplace.offsets[user] : marketplace.offsets[user + 1]].tolist()
        by_window[tuple(history[:-1][-LENGTH:])] = history[1:][-LENGTH:]
    n_passes = 0
    for step in range(made.steps):
        batch = made.batch(0, step)
        passes = rows_of(batch)
        n_passes += len(passes)
        assert batch.n_passes == len(passes)
        assert batch.n_positives == len(batch.targets) == sum(len(positives) for *_, positives in passes) > 0
        assert batch.tasks.tolist() == sorted(batch.tasks.tolist())
        for (task, window, positives), last in zip(passes, batch.last.tolist(), strict=True):
            targets = by_window[tuple(window)]
            assert last == targets[-1]
            expected = [(at, target) for at, target in enumerate(targets) if labels[target] == task]
            assert positives == expected
            assert positives, "a cluster is drawn of those that have targets"
        for cluster, start, stop in batch.groups:
            assert set(labels[batch.targets[start:stop].numpy()]) == {cluster}
        assert sum(stop - start for _, start, stop in batch.groups) == batch.n_positives
    assert n_passes > len(marketplace.users)


def test_with_every_cluster_drawn_an_epoch_sees_each_target_once(marketplace: Dataset, labels: np.ndarray) -> None:
    made = batches(marketplace, labels, 7, tasks=7)
    seen = sum(made.batch(0, step).n_positives for step in range(made.steps))
    assert seen == np.minimum(marketplace.lengths - 1, LENGTH).sum()


def test_no_user_has_more_passes_than_tasks_and_all_have_one(marketplace: Dataset, labels: np.ndarray) -> None:
    made = batches(marketplace, labels, 7, tasks=2, size=1000)
    windows = [tuple(window) for _, window, _ in rows_of(made.batch(0, 0))]
    counts = [windows.count(window) for window in set(windows)]
    assert len(counts) == len(marketplace.users)
    assert max(counts) == 2


def test_a_batch_is_a_function_of_its_number_and_epochs_draw_anew(marketplace: Dataset, labels: np.ndarray) -> None:
    one, other = batches(marketplace, labels, 7), batches(marketplace, labels, 7)
    other.batch(3, 1)
    first, again = one.batch(1, 2), other.batch(1, 2)
    assert torch.equal(first.targets, again.targets)
    assert torch.equal(first.tasks, again.tasks)
    assert first.generator.get_state().equal(again.generator.get_state())
    assert rows_of(one.batch(0, 0)) != rows_of(one.batch(1, 0))


def test_users_without_two_events_and_several_processes_are_refused(marketplace: Dataset, labels: np.ndarray) -> None:
    nothing = marketplace.keep(np.zeros(len(marketplace), bool))
    with pytest.raises(ConfigError, match="two interactions"):
        batches(nothing, labels, 7)
    with pytest.raises(ConfigError, match="one process"):
        batches(marketplace, labels, 7).batch(0, 0, n_processes=2)
