"""What channels add to each other, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.metrics import incremental_recall

# Ranks of six targets, one a query. At k = 10: a finds 0 1 2, b finds 2 3, c finds 0 1, d nothing.
CHANNELS = ("a", "b", "c", "d")
RANKS = np.array(
    [
        [0, 9, 4, -1, 10, -1],
        [-1, 12, 0, 3, -1, -1],
        [5, 2, -1, 30, -1, -1],
        [-1, -1, -1, -1, -1, -1],
    ]
)
ONE_EACH = np.arange(7)


def test_each_channel_is_measured_alone_and_by_what_is_lost_without_it() -> None:
    found = incremental_recall(CHANNELS, RANKS, ONE_EACH, 10)
    assert found.recall == pytest.approx(4 / 6)  # targets 0 1 2 3
    alone = {part.channel: part.recall for part in found.contributions}
    assert alone == pytest.approx({"a": 3 / 6, "b": 2 / 6, "c": 2 / 6, "d": 0.0})
    without = {part.channel: part.without for part in found.contributions}
    # Without a, c still finds 0 and 1 and b finds 2; without b, target 3 is lost.
    assert without == pytest.approx({"a": 4 / 6, "b": 3 / 6, "c": 4 / 6, "d": 4 / 6})
    assert [part.n_unique for part in found.contributions] == [0, 1, 0, 0]


def test_greedy_takes_the_best_first_and_then_what_adds_most() -> None:
    steps = incremental_recall(CHANNELS, RANKS, ONE_EACH, 10).greedy
    assert [step.channel for step in steps] == ["a", "b", "c", "d"]  # c and d add nothing: c was given first
    assert [step.gain for step in steps] == pytest.approx([3 / 6, 1 / 6, 0.0, 0.0])
    assert [step.recall for step in steps] == pytest.approx([3 / 6, 4 / 6, 4 / 6, 4 / 6])


def test_the_cut_off_decides_what_is_found() -> None:
    deep = incremental_recall(CHANNELS, RANKS, ONE_EACH, 11)
    assert deep.recall == pytest.approx(5 / 6)  # a's target 4 at rank 10
    assert [part.n_unique for part in deep.contributions] == [1, 1, 0, 0]
    assert incremental_recall(CHANNELS, RANKS, ONE_EACH, 1).recall == pytest.approx(2 / 6)  # a's 0 and b's 2


def test_queries_weigh_the_same_whatever_the_number_of_their_targets() -> None:
    # Query 0 has targets 0 and 1, query 1 has 2, 3, 4 and 5.
    found = incremental_recall(("a", "b"), RANKS[:2], np.array([0, 2, 6]), 10)
    assert found.recall == pytest.approx((2 / 2 + 2 / 4) / 2)
    assert found.contributions[0].recall == pytest.approx((2 / 2 + 1 / 4) / 2)
    assert found.contributions[0].without == pytest.approx((0 + 2 / 4) / 2)
    assert found.contributions[0].n_unique == 2


def test_one_channel_loses_everything_when_it_goes() -> None:
    found = incremental_recall(("a",), RANKS[:1], ONE_EACH, 10)
    assert found.recall == pytest.approx(0.5)
    assert found.contributions[0].without == pytest.approx(0.0)
    assert found.contributions[0].n_unique == 3


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 6), st.randoms(use_true_random=False))
def test_union_and_order_agree_with_counting_sets(n_channels: int, n: int, k: int, random) -> None:
    names = [f"channel {at}" for at in range(n_channels)]
    ranks = np.array([[random.randint(-1, 8) for _ in range(n)] for _ in names])
    sets = {name: {at for at in range(n) if 0 <= row[at] < k} for name, row in zip(names, ranks, strict=True)}
    found = incremental_recall(names, ranks, np.arange(n + 1), k)
    everything = set().union(*sets.values())
    assert found.recall == pytest.approx(len(everything) / n)
    for part in found.contributions:
        others = set().union(*(sets[name] for name in names if name != part.channel))
        assert part.without == pytest.approx(len(others) / n)
        assert part.n_unique == len(sets[part.channel] - others)
    taken: set[int] = set()
    for at, step in enumerate(found.greedy):
        left = [name for name in names if name not in {before.channel for before in found.greedy[:at]}]
        assert step.channel == max(left, key=lambda name: (len(sets[name] - taken), -names.index(name)))
        taken |= sets[step.channel]
        assert step.recall == pytest.approx(len(taken) / n)


@pytest.mark.parametrize(
    ("channels", "ranks", "offsets", "k", "says"),
    [
        (("a",), np.zeros((1, 2)), [0, 1, 2], 0, "k must be"),
        ((), np.zeros((0, 2)), [0, 1, 2], 1, "needs a channel"),
        (("a",), np.zeros((1, 0)), [0], 1, "needs a channel"),
        (("a",), np.zeros((1, 1)), [0, 0, 1], 1, "at least one target"),
        (("a",), np.zeros((1, 3)), [0, 1, 2], 1, "ranks must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    channels: tuple[str, ...], ranks: np.ndarray, offsets: list[int], k: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        incremental_recall(channels, ranks.astype(np.int64), np.array(offsets), k)
