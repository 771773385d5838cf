"""What the two-tower channels share, and DSSM, YoutubeDNN and BST by their definitions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from headwater.data import Dataset, Queries, Vocabulary, leave_one_out
from headwater.errors import ConfigError
from headwater.metrics import FullRanking
from headwater.nn.inputs import Catalogue
from headwater.nn.objective import Objective, ObjectiveConfig
from headwater.nn.prefixes import PrefixBatches
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingConfig
from headwater.recipe import load_recipe
from headwater.retrieval import Mask, channel_class, evaluate
from headwater.retrieval.classic.popular import Popular
from headwater.retrieval.learned import LearnedChannel, Task
from headwater.retrieval.towers.dssm import DSSMConfig, DSSMNetwork
from headwater.retrieval.towers.youtube_dnn import YoutubeDNNConfig, YoutubeDNNNetwork

CPU = torch.device("cpu")
KINDS = ["dssm", "youtube_dnn", "bst", "mind", "comirec"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def channel(kind: str, epochs: int = 1, **settings: Any) -> Any:
    cls = channel_class(kind)
    small = {"length": 20, "dimension": 16, "hidden": (32,), "positions": 8}
    known = {name: value for name, value in (small | settings).items() if name in cls.config_class.model_fields}
    training = TrainingConfig(epochs=epochs, batch_size=128, device="cpu", learning_rate=3e-3)
    return cls(cls.config_class(training=training, **known))


def histories_of(histories: list[list[int]], n_items: int) -> Dataset:
    return Dataset.from_events(
        "made up",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(n_items)),
        event_users=np.repeat(np.arange(len(histories)), [len(own) for own in histories]).astype(np.int32),
        event_items=np.array([item for own in histories for item in own], np.int32),
        event_times=np.arange(sum(len(own) for own in histories), dtype=np.int64),
    )


def reversed_histories(queries: Queries) -> Queries:
    items = [queries.items[start:stop][::-1] for start, stop in zip(queries.offsets, queries.offsets[1:], strict=False)]
    return replace(queries, items=np.concatenate(items))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_learns_tastes_that_popularity_does_not_know(kind: str, marketplace: Dataset) -> None:
    split = leave_one_out(marketplace)
    learned = channel(kind, epochs=10, dropout=0.0).fit(split.train)
    curve = [loss for _, loss, _ in learned.report.curve]
    assert curve[-1] < curve[0]
    by_model = {
        made.name: evaluate(made, split.test, FullRanking(), train=split.train, ks=(20,)).metrics["ndcg@20"]
        for made in (learned, Popular().fit(split.train))
    }
    assert by_model[kind] > 2 * by_model["popular"]


@pytest.mark.parametrize("kind", ["mind", "comirec"])
def test_searching_with_several_vectors_is_the_maximum_over_them(kind: str, marketplace: Dataset) -> None:
    trained = channel(kind, interests=3).fit(marketplace)
    queries = marketplace.queries(np.arange(40, dtype=np.int32))
    rows, states = trained.encode(queries)
    assert states.shape == (40, 3, 16)
    with torch.inference_mode():
        scores = (states @ trained.network.items.table().T).amax(1).numpy()
    allowed = Mask.seen(queries)
    allowed.apply(scores)
    found = trained.retrieve(queries, 8, allowed=allowed)
    best = np.sort(scores, axis=1)[:, : -8 - 1 : -1]
    np.testing.assert_array_equal(rows, np.arange(40))
    np.testing.assert_allclose(found.scores.reshape(40, 8), best, rtol=1e-5)
    np.testing.assert_allclose(scores[found.rows, found.items], found.scores, rtol=1e-5)


def test_leaving_events_out_explains_the_best_of_several_vectors_too(marketplace: Dataset) -> None:
    trained = channel("comirec", interests=3).fit(marketplace)
    queries = marketplace.queries(np.arange(1, dtype=np.int32))
    found = trained.retrieve(queries, 1)
    without = [queries.items[np.arange(queries.lengths[0]) != left_out] for left_out in range(queries.lengths[0])]
    scores = []
    for items in [queries.items, *without]:
        asked = replace(queries, offsets=np.array([0, len(items)]), items=items, times=queries.times[: len(items)])
        with torch.inference_mode():
            states = trained.encode(replace(asked, behaviours=queries.behaviours[: len(items)]))[1]
            scores.append(float((states[0] @ trained.network.items.table()[found.items[0]]).max()))
    falls = scores[0] - np.array(scores[1:])[-10:]
    most = int(falls.argmax()) + len(without) - len(falls)
    reasons = LearnedChannel.explain(trained, queries, found)[0]
    assert reasons[0].trigger == queries.items[most]
    assert reasons[0].share == pytest.approx(falls.max() / falls[falls > 0].sum(), rel=1e-3)


@pytest.mark.parametrize("kind", ["mind", "comirec"])
def test_joint_training_scores_positives_and_negatives_as_serving_does(kind: str, marketplace: Dataset) -> None:
    trained = channel(kind, interests=3, is_joint=True, objective=ObjectiveConfig(loss="softmax")).fit(marketplace)
    network = trained.network
    batch = PrefixBatches(Histories.from_dataset(marketplace, CPU), 20, 100).batch(0, 3)
    with torch.inference_mode():
        loss = network.loss(batch, Objective(trained.config.objective, marketplace.item_counts, CPU))
        served = torch.einsum("bkd,nd->bkn", network(batch.windows), network.items.table()).amax(1)
        expected = torch.nn.functional.cross_entropy(served, batch.targets, reduction="sum")
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("kind", "reads_order"), list(zip(KINDS, [False, False, True, False, True], strict=True)))
def test_only_some_models_read_the_order_of_a_history(kind: str, reads_order: bool, marketplace: Dataset) -> None:
    trained = channel(kind, length=50).fit(marketplace)
    queries = marketplace.queries(np.arange(40, dtype=np.int32))
    forwards, backwards = (trained.encode(asked)[1] for asked in (queries, reversed_histories(queries)))
    assert torch.allclose(forwards, backwards, atol=1e-5) != reads_order


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_older_than_the_window_is_not_read(kind: str, marketplace: Dataset) -> None:
    trained = channel(kind, length=5).fit(marketplace)
    whole = marketplace.queries(np.arange(10, dtype=np.int32))
    is_late = np.concatenate([np.arange(length)[::-1] < 5 for length in whole.lengths])
    late = replace(
        whole,
        offsets=np.arange(11, dtype=np.int64) * 5,
        items=whole.items[is_late],
        times=whole.times[is_late],
        behaviours=whole.behaviours[is_late],
    )
    torch.testing.assert_close(trained.encode(whole)[1], trained.encode(late)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_two_processes_average_to_the_loss_of_one(kind: str, marketplace: Dataset) -> None:
    trained = channel(kind).fit(marketplace)
    batches = PrefixBatches(Histories.from_dataset(marketplace, CPU), 20, 100)
    objective = ObjectiveConfig(loss="sampled-softmax", negatives="in-batch", n_negatives=20)
    task = Task(trained.network, Objective(objective, marketplace.item_counts, CPU)).eval()
    with torch.no_grad():
        whole = task(batches.batch(0, 3))
        parts = [task(batches.batch(0, 3, process=at, n_processes=2)) for at in range(2)]
    torch.testing.assert_close(sum(parts) / 2, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_catalogue_of_one_item_trains_and_serves_it(kind: str) -> None:
    data = histories_of([[0, 0, 0], [0, 0]], 1)
    trained = channel(kind, epochs=2).fit(data)
    queries = data.queries(np.array([0, 1], np.int32))
    assert trained.retrieve(queries, 5).items.tolist() == [0, 0]
    assert len(trained.retrieve(queries, 5, allowed=Mask.seen(queries))) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_history_has_no_candidates_beside_one_that_has(kind: str) -> None:
    data = histories_of([[0, 1, 2, 3], [], [2, 1]], 4)
    trained = channel(kind).fit(data)
    queries = data.queries(np.array([0, 1, 2], np.int32))
    found = trained.retrieve(queries, 2)
    assert found.rows.tolist() == [0, 0, 2, 2]
    assert len(trained.explain(queries, found)) == 4
    assert len(trained.retrieve(queries.slice(1, 2), 2)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_in_which_nothing_follows_anything_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="no user has two interactions"):
        channel(kind).fit(histories_of([[0], [1], []], 2))


def test_dssm_scores_are_cosines_over_the_temperature(marketplace: Dataset) -> None:
    config = DSSMConfig(temperature=0.1, dimension=8, hidden=(64,))
    network = DSSMNetwork(config, Catalogue.of(marketplace, config.inputs)).eval()
    windows = Histories.from_dataset(marketplace, CPU).windows(np.arange(9), 20)
    torch.testing.assert_close(network(windows).norm(dim=1), torch.full((9,), 10.0))
    torch.testing.assert_close(network.items.table().norm(dim=1), torch.ones(150))
    torch.testing.assert_close(network.items(torch.tensor([[3, 4]])), network.items.table()[None, 3:5])


def test_dssm_has_no_tensor_twice_though_both_towers_read_the_items(marketplace: Dataset) -> None:
    config = DSSMConfig(dimension=8)
    weights = DSSMNetwork(config, Catalogue.of(marketplace, config.inputs)).state_dict()
    assert len({weight.data_ptr() for weight in weights.values()}) == len(weights)


def test_untied_youtube_dnn_scores_with_vectors_of_its_own(marketplace: Dataset) -> None:
    made = {}
    for is_tied in (True, False):
        config = YoutubeDNNConfig(is_tied=is_tied, dimension=8)
        made[is_tied] = YoutubeDNNNetwork(config, Catalogue.of(marketplace, config.inputs))
    assert made[True].items is made[True].inputs.items
    assert not torch.equal(made[False].items.table(), made[False].inputs.items.table())


def test_heads_must_divide_the_dimension(tmp_path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('dataset = "x"\n[[channels]]\nkind = "bst"\ndimension = 30\nheads = 4\n')
    with pytest.raises(ConfigError, match="dimension 30 is no multiple of heads 4"):
        load_recipe(recipe)


@pytest.mark.parametrize("loss", ["softmax", "unseen-softmax", "sampled-softmax"])
def test_what_the_window_holds_is_left_out_where_the_loss_says_so_and_nowhere_else(
    loss: str, marketplace: Dataset
) -> None:
    given = []

    class Listening(Objective):
        def loss(self, *args: Any, **named: Any) -> torch.Tensor:
            given.append(named["seen"])
            return super().loss(*args, **named)

    catalogue = Catalogue.of(marketplace, DSSMConfig().inputs)
    network = DSSMNetwork(DSSMConfig(length=8, dimension=8), catalogue)
    batch = PrefixBatches(Histories.from_dataset(marketplace, CPU), 8, 64).batch(0, 0)
    network.loss(batch, Listening(ObjectiveConfig(loss=loss), marketplace.item_counts, CPU))
    if loss == "unseen-softmax":
        expected = torch.where(batch.windows.is_event, batch.windows.items, -1)
        assert torch.equal(given[0], expected)
    else:
        assert given == [None]
