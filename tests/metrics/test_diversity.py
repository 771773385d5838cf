"""Coverage and popularity, worked by hand."""

import math

import numpy as np
import pytest

from headwater.metrics import average_popularity, catalogue_coverage, category_coverage, popularity_ratio

# Lists [0, 1, 2] and [1, 3]; a third query has none. Items 0..5, categories a a b c c c.
ROWS = np.array([0, 0, 0, 1, 1])
ITEMS = np.array([0, 1, 2, 1, 3])
RANKS = np.array([0, 1, 2, 0, 1])
CATEGORIES = np.array([0, 0, 1, 2, 2, 2])
POPULARITY = np.array([100, 50, 10, 6, 0, 0])


def test_catalogue_coverage_is_the_share_of_items_in_anybody_s_list() -> None:
    assert catalogue_coverage(ITEMS, RANKS, 1, n_items=6) == 2 / 6
    assert catalogue_coverage(ITEMS, RANKS, 3, n_items=6) == 4 / 6


def test_category_coverage_is_over_what_a_list_could_show() -> None:
    coverage = {k: category_coverage(ROWS, ITEMS, RANKS, k, n_queries=3, categories=CATEGORIES) for k in (1, 2, 3, 10)}
    assert coverage[1] == pytest.approx((1 + 1 + 0) / 3)
    assert coverage[2] == pytest.approx((1 / 2 + 2 / 2 + 0) / 3)
    assert coverage[3] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert coverage[10] == coverage[3]  # three categories are all there are


def test_average_popularity_averages_lists_first_and_leaves_empty_ones_out() -> None:
    assert average_popularity(ROWS, ITEMS, RANKS, 3, popularity=POPULARITY) == pytest.approx((160 / 3 + 56 / 2) / 2)
    assert average_popularity(ROWS, ITEMS, RANKS, 1, popularity=POPULARITY) == pytest.approx((100 + 50) / 2)


def test_average_popularity_of_nothing_is_undefined() -> None:
    assert math.isnan(average_popularity(ROWS[:0], ITEMS[:0], RANKS[:0], 3, popularity=POPULARITY))


def test_popularity_ratio_is_of_lists_over_targets() -> None:
    ratio = popularity_ratio(
        ROWS,
        ITEMS,
        RANKS,
        1,
        popularity=POPULARITY,
        target_rows=np.array([0, 1, 1]),
        targets=np.array([1, 2, 3]),
    )
    assert ratio == pytest.approx(75 / ((50 + (10 + 6) / 2) / 2))


def test_popularity_ratio_to_targets_that_training_never_saw_is_undefined() -> None:
    unseen = popularity_ratio(
        ROWS, ITEMS, RANKS, 1, popularity=POPULARITY, target_rows=np.array([0]), targets=np.array([4])
    )
    assert math.isnan(unseen)
