import numpy as np
import pytest
import torch

from headwater.data import Dataset
from headwater.errors import ConfigError
from headwater.nn.batches import ClozeBatches, NextItemBatches, SequenceBatch, step_seed
from headwater.nn.sequences import Histories

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def histories(marketplace: Dataset) -> Histories:
    return Histories.from_dataset(marketplace, CPU)


def next_item(histories: Histories, **settings: int) -> NextItemBatches:
    return NextItemBatches(histories, 10, 32, times=True, **settings)


def cloze(histories: Histories, **settings: int) -> ClozeBatches:
    return ClozeBatches(histories, 10, 32, hidden=0.3, last_only=0.25, **settings)


def test_an_epoch_has_every_user_once_in_batches_of_nearly_equal_size(histories: Histories) -> None:
    batches = next_item(histories)
    sizes = [batches.batch(0, step).n_passes for step in range(batches.steps)]
    assert sum(sizes) == 200
    assert max(sizes) <= 32
    assert max(sizes) - min(sizes) <= 1
    targets = torch.cat([batches.batch(0, step).targets for step in range(batches.steps)])
    everyone = histories.next_item_windows(np.arange(200), 10)[2]
    assert targets.sort().values.tolist() == everyone.sort().values.tolist()


@pytest.mark.parametrize("kind", [next_item, cloze])
def test_a_batch_is_a_function_of_seed_epoch_and_step(histories: Histories, kind) -> None:
    there, again = kind(histories, seed=3), kind(histories, seed=3)
    for epoch, step in [(0, 0), (4, 2), (1, 0)]:  # `again` is asked in another order
        again.batch(9, 5)
        one, other = there.batch(epoch, step), again.batch(epoch, step)
        assert torch.equal(one.windows.items, other.windows.items)
        assert torch.equal(one.at, other.at)
        assert torch.equal(torch.rand(3, generator=one.generator), torch.rand(3, generator=other.generator))
    assert there.batch(0, 0).targets.tolist() != kind(histories, seed=4).batch(0, 0).targets.tolist()
    assert there.batch(0, 0).targets.tolist() != there.batch(1, 0).targets.tolist()


@pytest.mark.parametrize("kind", [next_item, cloze])
@pytest.mark.parametrize("n_processes", [2, 3])
def test_the_parts_of_all_processes_are_the_whole_batch(histories: Histories, kind, n_processes: int) -> None:
    batches = kind(histories, seed=1)
    whole: SequenceBatch = batches.batch(0, 1)
    parts = [batches.batch(0, 1, process=at, n_processes=n_processes) for at in range(n_processes)]
    assert torch.equal(torch.cat([part.windows.items for part in parts]), whole.windows.items)
    assert torch.equal(torch.cat([part.seen() for part in parts]), whole.seen())
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    for part in parts:
        assert torch.equal(part.batch_targets, whole.targets)
        assert torch.equal(part.batch_targets[part.first : part.first + len(part.targets)], part.targets)
        assert (part.n_positives, part.n_passes) == (whole.n_positives, whole.n_passes)
        hidden = part.windows.items.reshape(-1)[part.at]
        if part.is_hidden is not None:
            assert torch.equal(hidden, part.targets)
            assert torch.equal(part.is_hidden.reshape(-1).nonzero()[:, 0], part.at)


@pytest.mark.parametrize("kind", [next_item, cloze])
def test_what_a_place_has_seen_is_what_it_is_predicted_from(histories: Histories, kind) -> None:
    batch = kind(histories).batch(0, 1)
    w = batch.windows.items.shape[1]
    for at, seen in zip(batch.at.tolist(), batch.seen().tolist(), strict=True):
        row, column = divmod(at, w)
        items = batch.windows.items[row, : int(batch.windows.counts[row])].tolist()
        if batch.is_hidden is None:
            expected = items[: column + 1]
        else:
            expected = [item for item, hidden in zip(items, batch.is_hidden[row].tolist(), strict=False) if not hidden]
        assert [item for item in seen if item >= 0] == expected


def test_cloze_hides_its_share_of_each_window_but_never_all_of_it(histories: Histories) -> None:
    batches = ClozeBatches(histories, 10, 64, hidden=0.3, last_only=0.0)
    batch = batches.batch(0, 0)
    assert batch.is_hidden is not None
    assert not (batch.is_hidden & ~batch.windows.is_event).any()
    assert torch.equal(batch.is_hidden.sum(1), (batch.windows.counts * 0.3).round().long())
    everything = ClozeBatches(histories, 10, 64, hidden=0.999, last_only=0.0).batch(0, 0)
    assert everything.is_hidden is not None
    assert torch.equal(everything.is_hidden.sum(1), everything.windows.counts - 1)


def test_cloze_hides_the_last_event_alone_where_asked(histories: Histories) -> None:
    batch = ClozeBatches(histories, 10, 64, hidden=0.3, last_only=1.0).batch(0, 0)
    assert batch.is_hidden is not None
    assert batch.is_hidden.nonzero()[:, 1].tolist() == (batch.windows.counts - 1).tolist()


def test_every_event_is_hidden_now_and_then(histories: Histories) -> None:
    batches = ClozeBatches(histories, 5, 200, hidden=0.2, last_only=0.0)
    hidden = torch.stack([batch.is_hidden.any(0) for batch in (batches.batch(epoch, 0) for epoch in range(3))])
    assert hidden.any(0).all()


@pytest.mark.parametrize("kind", [NextItemBatches, ClozeBatches])
def test_windows_of_long_histories_end_anywhere_in_the_share_asked_and_short_ones_at_the_latest_event(kind) -> None:
    lengths = np.array([3, 30] * 100)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    histories = Histories(
        lengths=lengths,
        offsets=torch.from_numpy(offsets),
        items=torch.cat([torch.arange(n, dtype=torch.int32) for n in lengths.tolist()]),
        times=torch.zeros(int(lengths.sum()), dtype=torch.int64),
        ratings=None,
        request_times=torch.zeros(len(lengths), dtype=torch.int64),
    )
    settings = {"hidden": 0.2, "last_only": 0.0} if kind is ClozeBatches else {}
    batches = kind(histories, 5, 200, earlier=0.5, **settings)
    ends = np.zeros(30, int)
    for epoch in range(20):
        batch = batches.batch(epoch, 0)
        windows = batch.windows
        last = windows.items[torch.arange(200), windows.counts - 1].numpy()
        is_long = windows.counts.numpy() == 5
        assert is_long.sum() == 100
        latest = 3 if kind is ClozeBatches else 2
        assert (last[~is_long] == latest - 1).all()
        ends += np.bincount(last[is_long], minlength=30)
        assert (windows.items[is_long].diff(dim=1) == 1).all()
        if kind is NextItemBatches:
            assert torch.equal(batch.targets, windows.items.reshape(-1)[batch.at] + 1)
    newest = 29 if kind is ClozeBatches else 28
    assert ends[newest] > 900  # half of 2,000, and a few of the others
    assert (ends[4:newest] > 0).all()
    assert ends.sum() == 2_000


def test_users_with_one_interaction_teach_nothing_and_alone_are_refused(marketplace: Dataset) -> None:
    first = np.zeros(len(marketplace), bool)
    first[marketplace.offsets[:-1]] = True
    alone = Histories.from_dataset(marketplace.keep(first), CPU)
    with pytest.raises(ConfigError, match="no user has two interactions"):
        NextItemBatches(alone, 10, 32)
    first[marketplace.offsets[5] + 1] = True
    one = NextItemBatches(Histories.from_dataset(marketplace.keep(first), CPU), 10, 32)
    assert (one.steps, one.batch(0, 0).n_passes) == (1, 1)
    with pytest.raises(ConfigError, match="cannot be shared by 2 processes"):
        one.batch(0, 0, n_processes=2)


def test_near_seeds_give_unrelated_ones() -> None:
    seeds = {step_seed(seed, epoch, step) for seed in range(3) for epoch in range(20) for step in range(20)}
    assert len(seeds) == 1200
    assert all(0 <= seed < 2**63 for seed in seeds)
