import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError
from headwater.nn.prefixes import PrefixBatches
from headwater.nn.sequences import Histories

CPU = torch.device("cpu")


def histories_of(lengths: list[int]) -> Histories:
    """User u's item at place p is 100 u + p, at time 2^p."""
    users = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    places = np.concatenate([np.zeros(0, np.int64), *(np.arange(length) for length in lengths)])
    data = Dataset.from_events(
        "histories",
        Vocabulary(np.arange(len(lengths))),
        Vocabulary(np.arange(100 * len(lengths) + 100)),
        event_users=users,
        event_items=(100 * users + places).astype(np.int32),
        event_times=2**places,
    )
    return Histories.from_dataset(data, CPU)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(0, 5), st.integers(1, 12) | st.none())
def test_an_epoch_draws_positions_of_each_user_none_twice_and_none_without_a_past(
    lengths: list[int], epoch: int, positions: int | None
) -> None:
    lengths.append(2)
    rows, ends = PrefixBatches(histories_of(lengths), 4, 8, positions=positions).examples(epoch)
    for user, length in enumerate(lengths):
        own = ends[rows == user].tolist()
        assert len(set(own)) == len(own) == min(max(length - 1, 0), positions or length)
        assert set(own) <= set(range(1, length))


def test_every_position_of_a_user_has_the_same_chance() -> None:
    batches = PrefixBatches(histories_of([8, 4]), 4, 8, positions=3)
    drawn = np.zeros((2, 8))
    for epoch in range(3000):
        np.add.at(drawn, batches.examples(epoch), 1)
    assert drawn[0, 0] == drawn[1, 0] == 0
    np.testing.assert_allclose(drawn[0, 1:] / 3000, 3 / 7, atol=0.04)
    np.testing.assert_array_equal(drawn[1, 1:4], 3000)


def test_an_example_is_the_latest_events_before_a_position_and_the_item_there() -> None:
    batches = PrefixBatches(histories_of([6, 1, 0, 2]), 3, 100, times=True)
    batch = batches.batch(0, 0)
    assert batch.n_positives == batch.n_passes == 6
    found = {}
    for row in range(6):
        events = batch.windows.items[row][batch.windows.is_event[row]].tolist()
        found[int(batch.targets[row])] = events
    assert found == {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [1, 2, 3], 5: [2, 3, 4], 301: [300]}


def test_the_gap_to_the_request_is_the_time_to_the_target() -> None:
    batch = PrefixBatches(histories_of([5]), 2, 100, times=True).batch(0, 0)
    row = batch.targets.tolist().index(3)
    assert batch.windows.request_gaps is not None
    assert batch.windows.request_gaps[row].tolist() == [4 - 2, 8 - 4]


def test_an_epoch_is_cut_into_batches_of_nearly_equal_size() -> None:
    batches = PrefixBatches(histories_of([12, 9, 3]), 4, 8)
    sizes = [len(batches.batch(2, step).targets) for step in range(batches.steps)]
    assert sum(sizes) == 21
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_is_a_function_of_seed_epoch_and_step() -> None:
    histories = histories_of([40, 30])
    there, again = (PrefixBatches(histories, 4, 8, positions=10, seed=3) for _ in range(2))
    for epoch, step in [(0, 1), (4, 0), (0, 2)]:
        again.batch(7, 0)
        one, other = there.batch(epoch, step), again.batch(epoch, step)
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.windows.items, other.windows.items)
        assert torch.equal(torch.rand(3, generator=one.generator), torch.rand(3, generator=other.generator))
    other_seed = PrefixBatches(histories, 4, 8, positions=10, seed=4)
    assert there.batch(0, 0).targets.tolist() != other_seed.batch(0, 0).targets.tolist()
    assert there.batch(0, 0).targets.tolist() != there.batch(1, 0).targets.tolist()


def test_the_parts_of_all_processes_are_the_whole_batch() -> None:
    batches = PrefixBatches(histories_of([12, 9, 3]), 4, 8)
    whole = batches.batch(0, 1)
    parts = [batches.batch(0, 1, process=at, n_processes=3) for at in range(3)]
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert torch.equal(torch.cat([part.windows.items for part in parts]), whole.windows.items)
    for part in parts:
        assert (part.n_positives, part.n_processes) == (whole.n_positives, 3)
        assert torch.equal(part.batch_targets[part.first : part.first + len(part.targets)], part.targets)
    with pytest.raises(ConfigError, match="a batch of 7 examples cannot be shared by 9 processes"):
        batches.batch(0, 1, n_processes=9)


def test_a_set_without_a_user_of_two_interactions_is_refused() -> None:
    with pytest.raises(ConfigError, match="no user has two interactions"):
        PrefixBatches(histories_of([1, 0, 1]), 4, 8)
