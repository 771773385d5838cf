"""Bins with a place for what is missing or out of range, and pairs that are looked up dense or sorted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset
from headwater.retrieval.paths.bins import bin_levels, n_levels, quantile_borders
from headwater.retrieval.paths.cooccurrence import count_sets, count_windows, user_folds
from headwater.retrieval.paths.levels import PairLevels, pair_levels


def test_levels_tell_missing_below_bins_and_above_apart() -> None:
    borders = quantile_borders(np.arange(1.0, 9.0), 4)
    np.testing.assert_array_equal(borders, [1, 2, 4, 6, 8])
    values = np.array([np.nan, 0.5, 1, 1.9, 2, 5, 6, 8, 8.1])
    np.testing.assert_array_equal(bin_levels(values, borders), [0, 1, 2, 2, 3, 4, 5, 5, 6])
    assert n_levels(borders) == 7


def test_weights_move_borders_to_where_the_weight_is() -> None:
    values = np.arange(1.0, 11.0)
    np.testing.assert_array_equal(quantile_borders(values, 2), [1, 5, 10])
    np.testing.assert_array_equal(quantile_borders(values, 2, values**4), [1, 9, 10])


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [3.0, 3.0]])
def test_one_value_or_none_still_has_levels(values: list[float]) -> None:
    borders = quantile_borders(np.array(values), 8)
    levels = bin_levels(np.array([np.nan, -1.0, *borders, 9.0]), borders)
    np.testing.assert_array_equal(levels, [0, 1, 2, 3])
    assert n_levels(borders) == 4


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60), st.integers(1, 20))
def test_values_that_made_the_borders_fall_in_bins_and_keep_their_order(values: list[float], bins: int) -> None:
    sorted_values = np.sort(np.array(values))
    borders = quantile_borders(sorted_values, bins)
    levels = bin_levels(sorted_values, borders)
    assert levels.min() >= 2
    assert levels.max() <= n_levels(borders) - 2
    assert (np.diff(levels.astype(int)) >= 0).all()


def random_pairs(dense_bytes: int) -> tuple[PairLevels, np.ndarray]:
    random = np.random.default_rng(0)
    table = random.integers(1, 9, (3, 12, 12, 2)).astype(np.uint8)
    table[:, random.random((12, 12)) < 0.6] = 0
    triggers, targets = np.nonzero(table[0, :, :, 0])
    offsets = np.searchsorted(triggers, np.arange(13)).astype(np.int64)
    levels = table[:, triggers, targets]
    return PairLevels(offsets, targets.astype(np.int32), levels, (9, 9), dense_bytes=dense_bytes), table


@pytest.mark.parametrize("dense_bytes", [0, 1 << 20])
def test_lookups_of_a_dense_and_of_a_sorted_table_are_the_table(dense_bytes: int) -> None:
    pairs, table = random_pairs(dense_bytes)
    plane, trigger, target = torch.meshgrid(torch.arange(3), torch.arange(12), torch.arange(12), indexing="ij")
    np.testing.assert_array_equal(pairs(plane, trigger, target).numpy(), table)
    np.testing.assert_array_equal(pairs(-1, trigger[0], target[0]).numpy(), table[-1])
    served = pairs.served("cpu")
    assert served.n_planes == 1
    np.testing.assert_array_equal(served(-1, trigger[0], target[0]).numpy(), table[-1])


def test_no_pair_at_all_is_level_zero_everywhere() -> None:
    none = PairLevels(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros((2, 0, 1), np.uint8), (3,), dense_bytes=0)
    found = none(1, torch.arange(3), torch.zeros(3, dtype=torch.int64))
    np.testing.assert_array_equal(found.numpy(), np.zeros((3, 1)))


def test_a_plane_without_a_fold_knows_nothing_that_only_this_fold_did(marketplace: Dataset) -> None:
    folds = user_folds(len(marketplace.users), 4, seed=0)
    found = pair_levels(
        marketplace,
        folds,
        ("cosine", "window-lift", "swing"),
        bins=8,
        window=3,
        session_gap=None,
        device="cpu",
    )
    n = len(marketplace.items)
    trigger, target = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    counts = count_sets(marketplace, folds), count_windows(marketplace, folds, window=3)
    for counted, pairs in zip(counts, found[:2], strict=True):
        for fold in range(4):
            known = (counted.matrix(counted.count(fold)).toarray() > 0).astype(bool)
            np.testing.assert_array_equal(pairs(fold, trigger, target)[..., 0].numpy() > 0, known)
    # SWING: a fold's plane is what its users' absence gives, whatever their own histories are.
    for fold in range(4):
        others = marketplace.matrix()[np.flatnonzero(folds != fold)]
        together = (others.T @ others).toarray() >= 2  # only pairs of users count
        levels = found[2](fold, trigger, target)[..., 0].numpy()
        assert not (levels > 0)[~together].any()
        assert (levels > 0)[together & (trigger != target).numpy()].all()
