"""Exponents of chances are those that held-out targets were drawn under."""

import numpy as np
import pytest
import torch
from small import cut

from headwater.data import Queries
from headwater.data.splits import HeldOut
from headwater.retrieval import Mask
from headwater.retrieval.divide.calibration import Calibration, fit_calibration
from headwater.retrieval.divide.masks import ClusterMasks

N, K, SIZE, D = 4000, 3, 40, 8


def held_out(targets: np.ndarray) -> HeldOut:
    n = len(targets)
    empty = Queries(
        users=np.full(n, -1, np.int32),
        user_keys=np.arange(n),
        offsets=np.zeros(n + 1, np.int64),
        items=np.zeros(0, np.int32),
        times=np.zeros(0, np.int64),
        behaviours=np.zeros(0, np.int8),
        request_times=np.zeros(n, np.int64),
        scenarios=("",) * n,
        ratings=None,
    )
    return HeldOut(empty, np.arange(n + 1), targets.astype(np.int32))


def drawn(logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One column of each row, by its softmax."""
    return (logits + random.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize(("intent", "items"), [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5)])
def test_exponents_are_found_again_and_what_is_left_out_has_no_chance(intent: float, items: float) -> None:
    random = np.random.default_rng(7)
    clusters = cut(np.repeat(np.arange(K), SIZE), K)
    vectors = torch.from_numpy(random.normal(size=(K * SIZE, D)).astype(np.float32))
    states = torch.from_numpy(random.normal(size=(N, D)).astype(np.float32))
    log_chances = random.normal(size=(N, K)) * 1.5
    log_chances -= np.log(np.exp(log_chances).sum(1, keepdims=True))
    tasks = drawn(intent * log_chances, random)
    scores = (states @ vectors.T).numpy()
    # Each user has seen the ten best items, which would be most of any sum.
    seen = np.argsort(-scores, axis=1)[:, :10]
    kept = items * scores
    np.put_along_axis(kept, seen, -np.inf, axis=1)
    kept[clusters.labels != tasks[:, None]] = -np.inf
    targets = drawn(kept, random)
    mask = Mask(np.arange(N + 1) * 10, seen.ravel().astype(np.int32))
    found = fit_calibration(
        held_out(targets),
        log_chances,
        clusters,
        lambda rows, _: states[rows],
        lambda cluster: vectors[clusters.members(cluster)],
        ClusterMasks.of(mask, clusters, N),
    )
    assert np.log2(found) == pytest.approx(np.log2((intent, items)), abs=0.26)
    without = fit_calibration(
        held_out(targets),
        log_chances,
        clusters,
        lambda rows, _: states[rows],
        lambda cluster: vectors[clusters.members(cluster)],
        None,
    )
    assert without.items < found.items


def test_chances_of_a_calibrated_intent_sum_to_one_and_unknown_requests_have_none() -> None:
    log_chances = np.log([[0.9, 0.1], [0.5, 0.5], [1e-300, 1e-300]])
    log_chances[2] = -np.inf
    found = np.exp(Calibration(intent=0.5).of_intent(log_chances))
    assert found[0] == pytest.approx([0.75, 0.25])
    assert found.sum(1) == pytest.approx([1, 1, 0])
    assert Calibration().of_intent(log_chances) is log_chances


def test_nothing_to_fit_on_leaves_chances_as_they_are() -> None:
    clusters = cut([0, 1], 2)
    found = fit_calibration(
        held_out(np.array([5])),
        np.zeros((1, 2)),
        clusters,
        lambda *_: torch.zeros(0, 2),
        lambda _: torch.zeros(1, 2),
        None,
    )
    assert found == (1.0, 1.0), "the target is no known item"
