"""Paths as a whole: what it learns, what it says of a candidate, resumed training, bad input."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from headwater.data import Dataset, Queries, leave_one_out
from headwater.data.packed import pack
from headwater.errors import ConfigError, TrainingDiverged
from headwater.metrics import FullRanking
from headwater.nn.inputs import InputConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Mask, evaluate
from headwater.retrieval.classic.popular import Popular
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.training import _mean_triggers
from headwater.retrieval.trial import train_packed


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def paths(epochs: int = 1, *, training: dict[str, Any] | None = None, **settings: Any) -> Paths:
    small: dict[str, Any] = {
        "length": 20,
        "dimension": 16,
        "field_dimension": 8,
        "trigger_hidden": (16,),
        "similarity_hidden": (16, 8),
        "direct_hidden": (16,),
        "negatives": 16,
        "positions": 8,
    }
    how: dict[str, Any] = {"epochs": epochs, "batch_size": 128, "device": "cpu", "learning_rate": 3e-3}
    return Paths(PathsConfig(training=TrainingConfig(**(how | (training or {}))), **(small | settings)))


@pytest.fixture(scope="module")
def trained(marketplace: Dataset) -> Paths:
    torch.set_num_threads(1)
    return paths().fit(marketplace)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "softmax"},
        {"loss": "bce"},
        {"path_dimension": 4},
        {"has_bias_net": False},
        {"has_direct_net": False},
        {"measures": ()},
        {"inputs": InputConfig(attributes=("category",))},
    ],
    ids=["softmax", "bce", "vector", "no bias net", "no direct net", "no co-occurrence", "attributes"],
)
def test_every_variant_learns_tastes_that_popularity_does_not_know(
    settings: dict[str, Any], marketplace: Dataset
) -> None:
    split = leave_one_out(marketplace)
    learned = paths(12, **settings).fit(split.train)
    assert learned.report is not None
    curve = [loss for _, loss, _ in learned.report.curve]
    assert curve[-1] < curve[0]
    by_model = [
        evaluate(made, split.test, FullRanking(), train=split.train, ks=(20,)).metrics["ndcg@20"]
        for made in (learned, Popular().fit(split.train))
    ]
    assert by_model[0] > 2 * by_model[1]


def test_shares_times_score_are_the_paths_and_add_up_to_the_score(trained: Paths, marketplace: Dataset) -> None:
    queries = marketplace.queries(np.arange(5, dtype=np.int32))
    found = trained.retrieve(queries, 4, allowed=Mask.seen(queries))
    reasons = trained.explain(queries, found)
    weights = trained.export()
    for at, (row, item) in enumerate(zip(found.rows.tolist(), found.items.tolist(), strict=True)):
        parts = {reason.trigger: reason.share * float(found.scores[at]) for reason in reasons[at]}
        assert sum(parts.values()) == pytest.approx(float(found.scores[at]), abs=1e-5)
        history = queries.items[queries.offsets[row] : queries.offsets[row + 1]][-20:]
        assert set(parts) == {None, *history.tolist()}
        # The similarities of two triggers to the item differ as their paths do, less what the user thinks of each.
        assert weights.direct_items is not None
        s = trained.score_pairs(history, np.full(len(history), item))
        t = [np.log(np.expm1(parts[trigger])) - s[place] for place, trigger in enumerate(history.tolist())]
        users, windows = trained.model._requests(queries, _histories(trained, queries), np.array([row]))
        with torch.inference_mode():
            expected = trained.network.interests(users, windows)[0, :, 0].numpy()
        np.testing.assert_allclose(t, expected, rtol=1e-3, atol=1e-3)


def _histories(channel: Paths, queries: Queries) -> Any:
    from headwater.nn.sequences import Histories

    return Histories.from_queries(queries, channel.features.catalogue.n_items, torch.device("cpu"))


def test_retrieval_is_the_same_whether_similarities_are_kept_or_not(
    trained: Paths, marketplace: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = marketplace.queries(np.arange(30, dtype=np.int32))
    kept = trained.retrieve(queries, 10)
    monkeypatch.setattr("headwater.retrieval.paths.model.KEPT_SIMILARITIES", 0)
    monkeypatch.setattr("headwater.retrieval.paths.model.WEIGHTS_AT_ONCE", {"cpu": 1})
    asked = trained.retrieve(queries, 10)
    np.testing.assert_array_equal(kept.items, asked.items)
    np.testing.assert_allclose(kept.scores, asked.scores, rtol=1e-5)


def stranger(history: list[int], n_items: int) -> Queries:
    n = len(history)
    return Queries(
        users=np.array([-1], np.int32),
        user_keys=np.array([-77], np.int64),
        offsets=np.array([0, n]),
        items=np.array(history, np.int32),
        times=np.arange(n, dtype=np.int64),
        behaviours=np.ones(n, np.int8),
        request_times=np.array([n], np.int64),
        scenarios=("homepage",),
    )


def test_without_a_history_the_direct_path_is_all_and_says_so(trained: Paths, marketplace: Dataset) -> None:
    queries = stranger([], len(marketplace.items))
    found = trained.retrieve(queries, 3)
    assert len(found) == 3
    for reasons in trained.explain(queries, found):
        assert [(reason.share, reason.trigger) for reason in reasons] == [(1.0, None)]


def test_without_a_history_and_a_direct_net_there_is_no_candidate(marketplace: Dataset) -> None:
    only_paths = paths(has_direct_net=False).fit(marketplace)
    assert len(only_paths.retrieve(stranger([], len(marketplace.items)), 3)) == 0
    assert len(only_paths.retrieve(stranger([4], len(marketplace.items)), 3)) == 3


def test_unknown_triggers_are_passed_over(trained: Paths, marketplace: Dataset) -> None:
    n = len(marketplace.items)
    known = trained.retrieve(stranger([3, 8], n), 5)
    with_unknown = trained.retrieve(stranger([n + 2, 3, n, 8], n), 5)
    np.testing.assert_array_equal(known.items, with_unknown.items)
    np.testing.assert_allclose(known.scores, with_unknown.scores, rtol=1e-6)


def test_missing_and_absurd_numbers_are_levels_like_others(marketplace: Dataset) -> None:
    n = len(marketplace.items)
    prices = np.linspace(1, 9, n)
    prices[:4] = np.nan, np.inf, -np.inf, 1e300
    items = marketplace.item_attributes.append_column("price", pa.array(prices))
    made = paths(inputs=InputConfig(attributes=("price",))).fit(replace(marketplace, item_attributes=items))
    codes = made.features.catalogue.attributes["price"][:, 0]
    assert codes[:3].tolist() == [0, 0, 0]
    assert np.isfinite(made.retrieve(marketplace.queries(np.arange(3, dtype=np.int32)), n).scores).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": InputConfig(attributes=("categori",))}, "did you mean 'category'"),
        ({"user_attributes": ("ident",)}, "users have no attribute 'ident'; did you mean 'id'"),
        ({"inputs": InputConfig(ratings=True)}, "has no ratings"),
    ],
)
def test_what_the_data_do_not_have_is_refused_by_name(
    settings: dict[str, Any], message: str, marketplace: Dataset
) -> None:
    with pytest.raises(ConfigError, match=message):
        paths(**settings).fit(marketplace)


def test_vectors_have_no_similarity_of_their_own(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="path_dimension = 1"):
        paths(path_dimension=2).fit(marketplace).score_pairs(np.array([1]), np.array([2]))


def test_one_seed_gives_one_result_and_another_seed_another(marketplace: Dataset) -> None:
    queries = marketplace.queries(np.arange(10, dtype=np.int32))

    def scores(seed: int) -> bytes:
        return paths(training={"seed": seed}).fit(marketplace).retrieve(queries, 5).scores.tobytes()

    assert scores(0) == scores(0)
    assert scores(0) != scores(1)


def test_a_resumed_training_ends_with_the_weights_of_one_that_was_never_stopped(
    marketplace: Dataset, tmp_path: Path
) -> None:
    def figure(channel: Paths) -> float:
        return float(channel.retrieve(marketplace.queries(np.arange(9, dtype=np.int32)), 1).scores.sum())

    how = {"training": {"validate_every": 1, "checkpoint_seconds": 0.0}}
    whole = paths(3, **how).fit(marketplace, validate=figure)
    calls = 0

    def interrupted(channel: Paths) -> float:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return figure(channel)

    with pytest.raises(KeyboardInterrupt):
        paths(3, **how).fit(marketplace, validate=interrupted, checkpoint=tmp_path / "checkpoint")
    resumed = paths(3, **how).fit(marketplace, validate=figure, checkpoint=tmp_path / "checkpoint", resume=True)
    assert whole.report is not None
    assert resumed.report is not None
    assert resumed.report.best_value == whole.report.best_value
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name


def test_training_that_diverges_says_where(marketplace: Dataset) -> None:
    with pytest.raises(TrainingDiverged, match="epoch 1, batch"):
        paths(training={"learning_rate": 1e30}).fit(marketplace)


@pytest.mark.parametrize("length", [1, 3, 100])
def test_triggers_of_an_example_are_counted_over_all_positions(length: int) -> None:
    lengths = np.array([0, 1, 2, 5, 9])
    counts = [min(before, length) for n in lengths for before in range(1, n)]
    assert _mean_triggers(lengths, length) == pytest.approx(np.mean(counts))


def test_a_packed_file_is_all_that_training_needs(marketplace: Dataset, tmp_path: Path) -> None:
    pack(marketplace, tmp_path / "set.npz")
    config = paths(2, inputs=InputConfig(attributes=("category",)), training={"validate_every": 1}).config
    results = train_packed(tmp_path / "set.npz", config, seed=3, device="cpu")
    assert results["validation"]["metrics"]["ndcg@10"] == pytest.approx(results["training"]["best_value"])


def test_counted_sessions_need_a_clock(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="leave session_gap out"):
        paths(session_gap=60).fit(replace(marketplace, time_unit="position"))
    assert paths().fit(replace(marketplace, time_unit="position")).report is not None


def test_a_channel_that_is_not_trained_says_so(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="paths is not trained yet"):
        paths().retrieve(marketplace.queries(np.arange(1, dtype=np.int32)), 3)
