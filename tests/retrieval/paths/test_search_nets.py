"""A trained model's arrays, its index and greedy retrieval over it: the same as the model itself says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from headwater.data import Dataset, Queries, leave_one_out
from headwater.index.generation import generate
from headwater.index.neighbours import NeighbourTable, PairScorer
from headwater.index.pairs import CandidatePairs
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Mask
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.indexing import pair_scorer
from headwater.retrieval.paths.nets import TriggerScorer, user_vector
from headwater.retrieval.paths.search import PathSearch, recall_against_exact
from headwater.retrieval.paths.weights import PathWeights

LENGTH = 20


@pytest.fixture(scope="module")
def trained(marketplace: Dataset) -> Paths:
    torch.set_num_threads(1)
    training = TrainingConfig(epochs=3, batch_size=128, device="cpu", learning_rate=3e-3)
    config = PathsConfig(
        length=LENGTH, dimension=16, field_dimension=8, trigger_hidden=(16, 8), similarity_hidden=(16, 8),
        direct_hidden=(16,), negatives=16, positions=8, training=training,
    )  # fmt: skip
    return Paths(config).fit(leave_one_out(marketplace).train)


def similarity_of(channel: Paths) -> PairScorer:
    return pair_scorer(channel.model)


def test_every_pair_is_as_similar_as_the_network_says(trained: Paths, marketplace: Dataset) -> None:
    n = len(marketplace.items)
    left, right = (codes.astype(np.int32).ravel() for codes in np.mgrid[:n, :n])
    scores = similarity_of(trained)(left, right)
    np.testing.assert_allclose(scores, trained.score_pairs(left, right), rtol=1e-4, atol=1e-5)
    assert scores.dtype == np.float32
    assert len(np.unique(scores)) > n


def request(weights: PathWeights, channel: Paths, queries: Queries, row: int):
    """t of the last `LENGTH` events of a history without a rating, a gap or a clock, and p."""
    history = queries.items[queries.offsets[row] : queries.offsets[row + 1]]
    triggers = history[-LENGTH:]
    assert list(weights.trigger_behaviours) == ["positions"]
    positions = np.arange(LENGTH - len(triggers), LENGTH, dtype=np.int32)[:, None]
    user_row = int(channel.features.user_rows(queries.user_keys[row : row + 1])[0])
    codes = channel.features.catalogue.attributes
    assert weights.direct_users is not None
    first, direct = (
        part.first_layer(len(history), user_row, triggers, codes)
        for part in (weights.trigger_users, weights.direct_users)
    )
    return triggers, TriggerScorer.of(weights)(first, triggers, positions), user_vector(
        direct, weights.direct_layers, weights.leak
    )  # fmt: skip


def test_greedy_retrieval_over_a_full_index_answers_as_the_model_that_scores_every_item(
    trained: Paths, marketplace: Dataset, tmp_path: Path
) -> None:
    n = len(marketplace.items)
    everything = CandidatePairs(sp.csr_array(np.ones((n, n), np.float32)), per_item=n)
    generate(
        tmp_path / "t",
        everything,
        similarity_of(trained),
        n - 1,
        vocabulary=marketplace.items,
        model=trained.fingerprint,
    )
    table = NeighbourTable.open(tmp_path / "t", marketplace.items)
    weights = trained.export()
    queries = leave_one_out(marketplace).test.queries
    requests = [request(weights, trained, queries, row) for row in range(len(queries))]
    triggers, scores, users = (list(column) for column in zip(*requests, strict=True))
    offsets = np.cumsum([0, *(len(own) for own in triggers)])
    asked = (np.stack(users), offsets, np.concatenate(triggers), np.concatenate(scores), 10)
    allowed = Mask.seen(queries)
    exact = trained.retrieve(queries, 10, allowed=allowed)

    def found(m: int, depth: int):
        search = PathSearch(table, weights.direct_items, triggers=m, neighbours=depth)
        return search.retrieve("paths", *asked, allowed=allowed).candidates

    whole = found(LENGTH, n - 1)
    # Similarities of float16 are 2 in 10,000 off, so that near equals may change places.
    assert recall_against_exact(whole, exact) > 0.98
    np.testing.assert_allclose(whole.scores, exact.scores, rtol=2e-3)
    assert recall_against_exact(found(2, 5), exact) < recall_against_exact(found(10, 50), exact)


def test_no_torch_is_loaded_to_score() -> None:
    program = "import sys, headwater.retrieval.paths.nets; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["False"]


def test_the_trigger_scorer_is_the_network_over_concatenated_inputs() -> None:
    rng = np.random.default_rng(0)
    items, behaviours, user = rng.normal(size=(10, 4)), rng.normal(size=(6, 3)), rng.normal(size=5)
    by_user, by_behaviour, by_item = (rng.normal(size=(width, 8)) for width in (5, 3, 4))
    bias, middle, last = rng.normal(size=8), rng.normal(size=(8, 3)), rng.normal(size=(3, 1))
    triggers, bins = np.array([0, 9, 4], np.int32), np.array([[0], [5], [2]], np.int32)
    for slope in (0.0, 0.01):
        inputs = np.concatenate([np.tile(user, (3, 1)), behaviours[bins[:, 0]], items[triggers]], axis=1)
        hidden = inputs @ np.concatenate([by_user, by_behaviour, by_item]) + bias
        hidden = np.where(hidden > 0, hidden, slope * hidden) @ middle + 0.5
        expected = (np.where(hidden > 0, hidden, slope * hidden) @ last)[:, 0] - 1
        net = TriggerScorer(
            (items @ by_item).astype("f4"),
            (behaviours @ by_behaviour).astype("f4"),
            ((middle.astype("f4"), np.full(3, 0.5, "f4")), (last.astype("f4"), np.full(1, -1, "f4"))),
            slope,
        )
        scores = net((user @ by_user + bias).astype("f4"), triggers, bins)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        assert scores.dtype == np.float32
        assert np.isfinite(net(np.zeros(8, "f4"), np.array([-1, 10], np.int32), bins[:2])).all()


@pytest.mark.parametrize("shape", [(300, 64, 32), (3, 700, 600), (0, 4, 2)])
def test_products_in_parts_are_the_whole_product(shape: tuple[int, int, int]) -> None:
    n, width, out = shape
    rng = np.random.default_rng(0)
    hidden, weight = rng.normal(size=(n, width)).astype("f4"), rng.normal(size=(width, out)).astype("f4")
    last = (np.ones((out, 1), np.float32), np.zeros(1, np.float32))
    net = TriggerScorer(hidden, np.zeros((1, width), np.float32), ((weight, np.zeros(out, np.float32)), last), 1.0)
    found = net(np.zeros(width, "f4"), np.arange(n, dtype=np.int32), np.zeros((n, 1), np.int32))
    np.testing.assert_allclose(found, (hidden.astype("f8") @ weight).sum(1), rtol=1e-4, atol=1e-2)
