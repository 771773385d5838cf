"""Hits by the time since the last event, worked by hand."""

import numpy as np
import pytest

from headwater.metrics import GapBucket, gain_by_gap, hit_rate_by_gap

GAPS = np.array([0, 0, 1, 59, 60, 3_599, 3_600, 86_399, 86_400, 10**8, -1])
RANKS = np.array([0, 9, 10, 3, -1, -1, 5, -1, 2, 2, 2])


def test_queries_are_counted_in_the_bucket_that_their_gap_begins() -> None:
    assert hit_rate_by_gap(GAPS, RANKS, np.arange(12), 10) == [
        GapBucket("no history", 1, 1.0),
        GapBucket("same second", 2, 1.0),
        GapBucket("under 1 minute", 2, 0.5),
        GapBucket("under 1 hour", 2, 0.0),
        GapBucket("under 1 day", 2, 0.5),
        GapBucket("1 day or more", 2, 1.0),
    ]


def test_buckets_without_a_query_are_left_out() -> None:
    assert [bucket.gap for bucket in hit_rate_by_gap(np.array([5]), np.array([0]), np.array([0, 1]), 10)] == [
        "under 1 minute"
    ]


def test_a_query_with_several_targets_is_hit_once() -> None:
    found = hit_rate_by_gap(np.array([0, 0]), np.array([1, 2, -1, -1]), np.array([0, 3, 4]), 10)
    assert found == [GapBucket("same second", 2, 0.5)]


def test_a_request_before_its_history_is_refused() -> None:
    with pytest.raises(ValueError, match="5 s after its request"):
        hit_rate_by_gap(np.array([-5]), np.array([0]), np.array([0, 1]), 10)


def test_a_gain_is_shared_out_by_the_queries_that_it_is_made_of() -> None:
    # 60 more hits of 100 in bursts, 20 more of 400 elsewhere: three quarters come from bursts.
    base = [GapBucket("same second", 100, 0.2), GapBucket("1 day or more", 400, 0.1)]
    better = [GapBucket("same second", 100, 0.8), GapBucket("1 day or more", 400, 0.15)]
    assert gain_by_gap(base, better) == pytest.approx([0.75, 0.25])


def test_without_a_gain_there_are_no_shares() -> None:
    base = [GapBucket("same second", 10, 0.5)]
    assert gain_by_gap(base, base) is None
