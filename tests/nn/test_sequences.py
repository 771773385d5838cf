import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Vocabulary
from headwater.nn.sequences import Histories, last_outputs

CPU = torch.device("cpu")


def dataset(histories: list[list[int]], *, times: list[list[int]] | None = None, rated: bool = False) -> Dataset:
    flat = [item for history in histories for item in history]
    return Dataset.from_events(
        "histories",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(20)),
        event_users=np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32),
        event_items=np.array(flat, np.int32),
        event_times=np.array([t for own in times for t in own] if times else np.arange(len(flat)), np.int64),
        event_ratings=np.array(flat, np.float32) / 2 if rated else None,
    )


def test_a_window_holds_the_latest_events_with_padding_behind_and_positions_from_the_end() -> None:
    histories = Histories.from_dataset(dataset([[1, 2, 3, 4, 5], [6, 7], []], rated=True), CPU)
    windows = histories.windows(np.array([1, 0]), 4)
    assert windows.items.tolist() == [[6, 7, 0, 0], [2, 3, 4, 5]]
    assert windows.counts.tolist() == [2, 4]
    assert windows.is_event.tolist() == [[True, True, False, False], [True] * 4]
    assert windows.positions.tolist() == [[2, 3, 0, 0], [0, 1, 2, 3]]
    assert windows.ratings is not None
    assert windows.ratings[windows.is_event].tolist() == [3.0, 3.5, 1.0, 1.5, 2.0, 2.5]


def test_a_window_is_no_wider_than_its_longest_history() -> None:
    histories = Histories.from_dataset(dataset([[1, 2, 3], [4]]), CPU)
    assert histories.windows(np.array([0, 1]), 50).items.shape == (2, 3)


def test_every_event_but_the_first_is_a_target_of_the_event_before() -> None:
    histories = Histories.from_dataset(dataset([[1, 2, 3, 4], [5, 6], [7, 8, 9]]), CPU)
    windows, at, targets = histories.next_item_windows(np.array([0, 1, 2]), 2)
    assert windows.items.tolist() == [[2, 3], [5, 0], [7, 8]]
    assert at.tolist() == [0, 1, 2, 4, 5]
    assert targets.tolist() == [3, 4, 6, 8, 9]


def test_gaps_are_times_between_events_and_to_the_request() -> None:
    data = dataset([[1, 2, 3], [4, 5]], times=[[10, 10, 70], [5, 6]])
    queries = data.queries(np.array([0, 1], np.int32), request_times=np.array([100, 4]))
    histories = Histories.from_queries(queries, 20, CPU)
    windows = histories.windows(np.array([0, 1]), 3, times=True)
    assert windows.gaps is not None
    assert windows.request_gaps is not None
    assert windows.gaps[windows.is_event].tolist() == [-1, 0, 60, -1, 1]
    # A request before the last event (a clock that runs behind) counts as none ago.
    assert windows.request_gaps[windows.is_event].tolist() == [0, 60, 30, 1, 0]


def test_a_window_that_cuts_a_history_still_knows_the_gap_before_its_first_event() -> None:
    data = dataset([[1, 2, 3]], times=[[10, 15, 70]])
    windows = Histories.from_dataset(data, CPU).windows(np.array([0]), 2, times=True)
    assert windows.gaps is not None
    assert windows.gaps.tolist() == [[5, 55]]


def test_in_training_the_gap_to_the_request_is_the_gap_to_the_target() -> None:
    data = dataset([[1, 2, 3, 4]], times=[[0, 1, 10, 1000]])
    windows, _, targets = Histories.from_dataset(data, CPU).next_item_windows(np.array([0]), 8, times=True)
    assert targets.tolist() == [2, 3, 4]
    assert windows.request_gaps is not None
    assert windows.request_gaps.tolist() == [[1, 9, 990]]


def test_events_on_items_that_the_model_does_not_know_are_left_out() -> None:
    data = dataset([[1, 19, 2], [18], [3, 4]], rated=True)
    histories = Histories.from_queries(data.queries(np.arange(3, dtype=np.int32)), 10, CPU)
    assert histories.lengths.tolist() == [2, 0, 2]
    windows = histories.windows(np.array([0, 2]), 5)
    assert windows.items.tolist() == [[1, 2], [3, 4]]
    assert windows.ratings is not None
    assert windows.ratings.tolist() == [[0.5, 1.0], [1.5, 2.0]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 19), min_size=2, max_size=9), min_size=1, max_size=6),
    st.integers(1, 10),
    st.randoms(use_true_random=False),
)
def test_windows_are_what_a_loop_over_users_would_cut(histories: list[list[int]], length: int, random) -> None:
    packed = Histories.from_dataset(dataset(histories), CPU)
    rows = np.array([random.randrange(len(histories)) for _ in range(5)])
    windows, at, targets = packed.next_item_windows(rows, length)
    expected_inputs = [histories[row][:-1][-length:] for row in rows]
    expected_targets = [histories[row][1:][-length:] for row in rows]
    cut = [items[:count] for items, count in zip(windows.items.tolist(), windows.counts.tolist(), strict=True)]
    assert cut == expected_inputs
    assert targets.tolist() == [item for own in expected_targets for item in own]
    assert windows.items.reshape(-1)[at].tolist() == [item for own in expected_inputs for item in own]


def test_the_last_output_is_that_of_the_latest_event() -> None:
    histories = Histories.from_dataset(dataset([[1, 2, 3], [4]]), CPU)
    windows = histories.windows(np.array([0, 1]), 3)
    outputs = torch.arange(12.0).view(2, 3, 2)
    assert last_outputs(outputs, windows).tolist() == [[4.0, 5.0], [6.0, 7.0]]


def test_histories_of_nobody_are_empty() -> None:
    histories = Histories.from_dataset(dataset([[]]), CPU)
    assert histories.lengths.tolist() == [0]
    assert len(histories.items) == 0


@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_that_may_not_be_written_are_copied(writeable: bool) -> None:
    queries = dataset([[1, 2]]).queries(np.array([0], np.int32))
    queries.items.setflags(write=writeable)
    assert Histories.from_queries(queries, 20, CPU).items.tolist() == [1, 2]
