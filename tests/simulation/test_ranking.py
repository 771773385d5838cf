"""Rankers learn from their own scenario's log, and only from that."""

import numpy as np
import pytest

from headwater.errors import SchemaError
from headwater.ranking.base import Ranker
from headwater.simulation import ranking_kernels as kernels
from headwater.simulation.ranking import ScenarioRanker, Seen
from headwater.simulation.world import World


def log(n: int, weights: np.ndarray, *, seed: int = 0, n_items: int = 1_200) -> Seen:
    random = np.random.default_rng(seed)
    features = random.standard_normal((n, 12)).astype(np.float32)
    positions = random.integers(0, 10, n)
    # People look at what stands further up: the ranker must not take place for taste.
    features[:, 0] -= 0.3 * positions
    seen = random.random(n) < (1 + positions) ** -0.8
    clicks = seen & (random.random(n) < 1 / (1 + np.exp(1.5 - features @ weights)))
    days = np.repeat([0, 1], [n // 2, n - n // 2])
    items = random.integers(0, n_items, n)
    return Seen(
        features, items.astype(np.int32), positions.astype(np.int32), clicks.astype(np.int8), days.astype(np.int16)
    )


def test_a_ranker_finds_the_direction_of_the_weights_that_its_log_was_made_by_whatever_the_positions_were(
    small: World,
) -> None:
    truth = np.array([0, 0.5, 0, 1.0, 0.3, 0, 0, 0.8, 0, -0.5, 0, 0])
    ranker = ScenarioRanker("main_search", small.catalogue).trained(log(60_000, truth))
    assert isinstance(ranker, Ranker)
    kept = [at for at in range(12) if at != 2]  # the click rate is counted, not given
    found, true = ranker.weights[kept], truth[kept]
    # Examination multiplies chances, where the regression adds to logits: weights come out smaller, all of them alike.
    assert found @ true / np.linalg.norm(found) / np.linalg.norm(true) > 0.98
    assert abs(ranker.weights[0]) < 0.1


def test_click_rates_are_those_of_the_log_drawn_to_the_mean(small: World) -> None:
    seen = log(20_000, np.zeros(12), n_items=2)
    clicks = seen.clicks & (seen.items == 1)
    ranker = ScenarioRanker("in_shop", small.catalogue).trained(
        Seen(seen.features, seen.items, seen.positions, clicks.astype(np.int8), seen.days)
    )
    assert ranker.rates[1] > 0.5
    assert ranker.rates[0] < -2
    assert ranker.rates[2] == pytest.approx(0, abs=1e-6)


def test_a_log_of_one_day_or_without_clicks_is_refused_by_name(small: World) -> None:
    seen = log(1_000, np.zeros(12))
    ranker = ScenarioRanker("photo_search", small.catalogue)
    for days, clicks in ((np.zeros_like(seen.days), seen.clicks), (seen.days, np.zeros_like(seen.clicks))):
        with pytest.raises(SchemaError, match="photo_search needs a log of two days"):
            ranker.trained(Seen(seen.features, seen.items, seen.positions, clicks, days))


@pytest.mark.parametrize("depth", [1, 3, 7, 50])
def test_the_best_of_a_list_are_those_of_a_whole_sort_with_equal_scores_by_code(depth: int) -> None:
    random = np.random.default_rng(depth)
    offsets = np.array([0, 12, 12, 40])
    items = np.concatenate([random.permutation(30)[:12], random.permutation(90)[:28]]).astype(np.int32)
    scores = random.integers(0, 5, 40).astype(np.float32)
    places = np.empty(40, np.int64)
    kernels.order(offsets, items, scores, depth, places)
    for begin, end in ((0, 12), (12, 40)):
        whole = begin + np.lexsort((items[begin:end], -scores[begin:end]))
        head = min(depth, end - begin)
        assert places[begin : begin + head].tolist() == whole[:head].tolist()
        assert sorted(places[begin:end].tolist()) == list(range(begin, end))
