"""Ranking metrics: golden values by hand, and the same figures as trec_eval."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.metrics import Hits, hit_rate, ndcg, recall, reciprocal_rank


def hits_of(lists: list[list[int]], targets: list[list[int]], scores: list[list[float]] | None = None, **options):
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for listed in lists for item in listed], np.int32)
    flat = [score for listed in scores or [range(len(items), 0, -1) for items in lists] for score in listed]
    offsets = np.concatenate([[0], np.cumsum([len(wanted) for wanted in targets])])
    wanted = np.array([item for listed in targets for item in listed], np.int32)
    return Hits.locate(rows, items, np.array(flat, np.float64), offsets, wanted, **options)


# One query, targets at ranks 0 and 2 of four; a second whose only target is missing; a third hit at rank 1.
GOLDEN = hits_of([[5, 6, 7, 8], [1, 2], [3, 4]], [[7, 5, 9], [9], [4]])


def test_hits_are_located_in_rank_order() -> None:
    assert GOLDEN.rows.tolist() == [0, 0, 2]
    assert GOLDEN.ranks.tolist() == [0, 2, 1]
    assert GOLDEN.n_targets.tolist() == [3, 1, 1]


def test_every_target_knows_its_place_in_the_order_it_was_given() -> None:
    assert GOLDEN.target_ranks.tolist() == [2, 0, -1, -1, 1]
    # A tie counts against the target, and one that the cut divides is a miss.
    tied = hits_of([[1, 2, 3]], [[2, 1]], [[5.0, 4.0, 4.0]])
    assert tied.target_ranks.tolist() == [2, 0]
    cut = hits_of([[1, 2, 3]], [[2, 1]], [[5.0, 4.0, 4.0]], limit=3)
    assert cut.target_ranks.tolist() == [-1, 0]


def test_hit_rate_asks_for_any_target_within_k() -> None:
    assert hit_rate(GOLDEN, 1).tolist() == [1.0, 0.0, 0.0]
    assert hit_rate(GOLDEN, 2).tolist() == [1.0, 0.0, 1.0]


def test_recall_divides_by_all_targets() -> None:
    assert recall(GOLDEN, 1).tolist() == [1 / 3, 0.0, 0.0]
    assert recall(GOLDEN, 3).tolist() == [2 / 3, 0.0, 1.0]


def test_ndcg_divides_by_the_best_list_of_k() -> None:
    # log2(2) = 1, log2(3) = 1.58496, log2(4) = 2.
    assert ndcg(GOLDEN, 1).tolist() == [1.0, 0.0, 0.0]
    expected = [(1 + 1 / 2) / (1 + 1 / 1.5849625 + 1 / 2), 0.0, 1 / 1.5849625]
    np.testing.assert_allclose(ndcg(GOLDEN, 3), expected, rtol=1e-7)


def test_reciprocal_rank_is_of_the_best_target_within_k() -> None:
    assert reciprocal_rank(GOLDEN, 1).tolist() == [1.0, 0.0, 0.0]
    assert reciprocal_rank(GOLDEN, 2).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("metric", [hit_rate, recall, ndcg, reciprocal_rank])
def test_k_below_one_is_refused(metric) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        metric(GOLDEN, 0)


@pytest.mark.parametrize("metric", [hit_rate, recall, ndcg, reciprocal_rank])
def test_one_float64_for_each_query_even_without_a_hit(metric) -> None:
    figures = metric(hits_of([[], [1]], [[2], [3]]), 5)
    assert figures.dtype == np.float64
    assert figures.tolist() == [0.0, 0.0]


def test_a_query_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one target"):
        hits_of([[1]], [[]])


def test_lists_out_of_row_order_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted by query row"):
        Hits.locate(np.array([1, 0]), np.array([1, 1]), np.ones(2), np.array([0, 1, 2]), np.array([1, 1]))


def test_targets_stand_last_among_equal_scores() -> None:
    hits = hits_of([[1, 2, 3, 4, 5]], [[1, 2]], [[9.0, 7.0, 7.0, 7.0, 1.0]])
    assert hits.ranks.tolist() == [0, 3]
    assert hits.n_tied == 1


def test_a_tie_that_reaches_a_cut_list_s_end_is_no_hit() -> None:
    lists, scores = [[1, 2, 3]], [[9.0, 7.0, 7.0]]
    assert hits_of(lists, [[2]], scores, limit=3).ranks.tolist() == []
    assert hits_of(lists, [[1]], scores, limit=3).ranks.tolist() == [0]
    assert hits_of(lists, [[2]], scores, limit=4).ranks.tolist() == [2]  # the list ended by itself


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 6), k=st.integers(1, 12))
def test_cut_lists_give_the_figures_of_whole_lists(seed: int, levels: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, levels, 20))[::-1].astype(float)
    items, targets = rng.permutation(20), [rng.choice(20, rng.integers(1, 4), replace=False).tolist()]
    whole = hits_of([items.tolist()], targets, [scores.tolist()])
    cut = hits_of([items[: k + 1].tolist()], targets, [scores[: k + 1].tolist()], limit=k + 1)
    for metric in (hit_rate, recall, ndcg, reciprocal_rank):
        measured, expected = metric(cut, k)[0], metric(whole, k)[0]
        if len(targets[0]) == 1:
            assert measured == expected
        else:  # several targets within one divided tie are all taken as missed
            assert measured <= expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_figures_are_those_of_trec_eval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    lists = [rng.permutation(40)[: rng.integers(1, 30)].tolist() for _ in range(n)]
    targets = [rng.choice(50, rng.integers(1, 9), replace=False).tolist() for _ in range(n)]
    judged = {str(row): {str(item): 1 for item in targets[row]} for row in range(n)}
    run = {str(row): {str(item): float(-at) for at, item in enumerate(lists[row])} for row in range(n)}
    measures = {"success.5,10", "recall.5,10", "ndcg_cut.5,10", "recip_rank"}
    reference = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    hits = hits_of(lists, targets)
    for row in range(n):
        theirs = reference[str(row)]
        for k in (5, 10):
            assert hit_rate(hits, k)[row] == pytest.approx(theirs[f"success_{k}"], abs=1e-12)
            assert recall(hits, k)[row] == pytest.approx(theirs[f"recall_{k}"], abs=1e-12)
            assert ndcg(hits, k)[row] == pytest.approx(theirs[f"ndcg_cut_{k}"], abs=1e-12)
        assert reciprocal_rank(hits, 40)[row] == pytest.approx(theirs["recip_rank"], abs=1e-12)
