"""What Divide learns, returns, explains, keeps, and refuses."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from small import everybody, objective, settings, training

from headwater.data import Dataset, Queries, leave_one_out
from headwater.errors import ConfigError, LineageError
from headwater.retrieval import Mask
from headwater.retrieval.divide import calibration
from headwater.retrieval.divide.channel import Divide
from headwater.retrieval.divide.clusters import ClusterConfig
from headwater.retrieval.divide.config import IntentConfig
from headwater.retrieval.divide.intent import intent_quality


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Hashable:
    """A data set for the cache: all tests of a session share one."""

    def __init__(self, of: Dataset) -> None:
        self.of = of

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True


@cache
def _trained(data: Any) -> Divide:
    return Divide(settings(8, merge="quota")).fit(leave_one_out(data.of).train)


@pytest.fixture
def channel(marketplace: Dataset) -> Divide:
    return _trained(Hashable(marketplace))


@pytest.fixture
def queries(marketplace: Dataset) -> Queries:
    return leave_one_out(marketplace).test.queries


@pytest.mark.parametrize(
    ("adaptation", "is_joint"),
    [("hadamard", False), ("prefix", False), ("none", False), ("experts", False), ("output", False), ("output", True)],
)
def test_every_adaptation_learns_and_comes_back_from_its_file(
    marketplace: Dataset, queries: Queries, adaptation: str, is_joint: bool, tmp_path: Path
) -> None:
    intent = IntentConfig(dimension=16, layers=1, training=training(4), is_joint=is_joint, prototypes=2)
    channel = Divide(settings(4, adaptation=adaptation, intent=intent)).fit(marketplace)
    assert channel.report is not None
    losses = [loss for _, loss, _ in channel.report.curve]
    assert losses[-1] < losses[0] - 0.01
    channel.save(tmp_path / "divide")
    again = Divide.load(tmp_path / "divide", marketplace.items)
    one, other = (found.retrieve(queries, 9) for found in (channel, again))
    assert one.items.tolist() == other.items.tolist()
    assert again.clusters.names == channel.clusters.names


def test_late_prompts_encode_each_history_once(
    marketplace: Dataset, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Divide(settings(adaptation="output", merge="calibrated")).fit(marketplace)
    encode, encoded = channel.network.encode_for, []

    def counted(histories: Any, rows: np.ndarray, tasks: Any) -> Any:
        encoded.extend(rows.tolist())
        return encode(histories, rows, tasks)

    monkeypatch.setattr(channel.network, "encode_for", counted)
    channel.retrieve(queries, 12)
    assert channel.passes is not None
    assert len(encoded) == len(set(encoded)) == np.diff(queries.offsets).astype(bool).sum() < channel.passes.n


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0, 1e6])
@pytest.mark.parametrize("k", [1, 7, 20, 60])
def test_an_answer_has_exactly_k_items_none_twice_and_none_that_is_refused(
    channel: Divide, queries: Queries, alpha: float, k: int
) -> None:
    seen = Mask.seen(queries)
    found = channel.with_merge("quota", alpha).retrieve(queries, k, allowed=seen)
    assert (np.diff(found.offsets) == k).all()
    assert seen.allows(found.rows, found.items).all()
    assert len(np.unique(found.rows.astype(np.int64) * 150 + found.items)) == len(found)


def test_the_whole_catalogue_is_returned_where_more_is_asked(channel: Divide, queries: Queries) -> None:
    seen = Mask.seen(queries)
    found = channel.retrieve(queries, 1000, allowed=seen)
    distinct = [
        len(set(queries.items[a:b].tolist())) for a, b in zip(queries.offsets, queries.offsets[1:], strict=False)
    ]
    assert np.diff(found.offsets).tolist() == [150 - n for n in distinct]


def test_every_beginning_of_a_list_is_shared_out_like_the_whole(channel: Divide, queries: Queries) -> None:
    found = channel.with_merge("quota", 0.0).retrieve(queries, 60)
    labels = channel.clusters.labels
    for row in range(0, len(queries), 10):
        first = np.bincount(labels[found.of(row)[:12]], minlength=6)
        assert first.tolist() == [2] * 6


def test_the_calibrated_merge_is_the_product_of_both_chances(channel: Divide, queries: Queries) -> None:
    queries = queries.slice(0, 20)
    found = channel.with_merge("calibrated").retrieve(queries, 150)
    network, clusters = channel.network, channel.clusters
    chances = np.exp(channel.intent.log_chances(queries, 150))
    histories = channel._histories(queries)
    table = network.items.table().detach()
    window = queries.latest(channel.config.length)
    for row in range(len(queries)):
        history = window.items[window.offsets[row] : window.offsets[row + 1]]
        expected = {}
        for cluster in range(6):
            members = clusters.members(cluster)
            with torch.no_grad():
                state = network.encode_for(histories, np.array([row]), torch.tensor([cluster]))[0]
            weights = np.exp((table[members] @ state).double().numpy())
            unseen = weights[~np.isin(members, history)].sum()
            expected |= dict(zip(members.tolist(), chances[row, cluster] * weights / unseen, strict=True))
        scores = dict(zip(found.of(row).tolist(), np.exp(found.scores[found.rows == row]), strict=True))
        assert scores.keys() == expected.keys()
        for item, chance in expected.items():
            assert scores[item] == pytest.approx(chance, rel=1e-3)
        total = sum(chance for item, chance in scores.items() if item not in history)
        assert total == pytest.approx(1.0, rel=1e-4), "of all that the user has not seen"


def test_the_calibrated_merge_is_the_same_however_many_rows_are_scored_at_a_time(
    channel: Divide, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated, seen = channel.with_merge("calibrated"), Mask.seen(queries)
    whole = calibrated.retrieve(queries, 20, allowed=seen)
    assert (np.diff(whole.offsets) == 20).all()
    assert len(calibrated.retrieve(queries.latest(0), 20)) == 0, "nobody is known by an empty history"
    assert seen.allows(whole.rows, whole.items).all()
    monkeypatch.setattr(calibration, "LOGITS_AT_ONCE", 150 * 7)
    blocks = calibrated.retrieve(queries, 20, allowed=seen)
    assert np.array_equal(blocks.rows, whole.rows)
    assert np.array_equal(blocks.items, whole.items)
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-5)


def test_the_intent_is_learned_and_its_quality_told(marketplace: Dataset, channel: Divide) -> None:
    held_out = leave_one_out(marketplace).test
    found = intent_quality(channel.intent.log_chances(held_out.queries, 150), held_out, channel.clusters)
    assert found.n == len(held_out)
    assert found.accuracy > 0.7, "users keep to a group nine times in ten"
    assert found.log_loss < np.log(6)
    assert 0 <= found.calibration_error < 0.3
    worst = np.full((len(held_out), 6), -np.inf)
    with pytest.raises(ConfigError, match="no held-out query"):
        intent_quality(worst, held_out, channel.clusters)


def test_a_reason_names_the_cluster_and_its_chance(channel: Divide, queries: Queries) -> None:
    found = channel.retrieve(queries, 5)
    log_chances = channel.intent.log_chances(queries, 150)
    for at, (reason,) in enumerate(channel.explain(queries, found)):
        cluster = int(channel.clusters.labels[found.items[at]])
        assert reason.cluster == f"group {cluster}"
        assert reason.chance == pytest.approx(np.exp(log_chances[found.rows[at], cluster]), rel=1e-5)
    assert channel.explain(queries, found.select(np.zeros(len(found), bool))) == []


def test_a_resumed_training_ends_as_one_that_was_never_stopped(
    marketplace: Dataset, queries: Queries, tmp_path: Path
) -> None:
    whole = Divide(settings(4)).fit(marketplace)
    limited = training(4, seconds_limit=1e-6, checkpoint_seconds=0)
    stopped = settings(
        4, training=limited, intent=IntentConfig(dimension=16, layers=1, dropout=0.0, training=training(4))
    )
    first = Divide(stopped).fit(marketplace, checkpoint=tmp_path)
    assert first.report is not None
    assert first.report.epochs < 4
    again = Divide(settings(4)).fit(marketplace, checkpoint=tmp_path, resume=True)
    one, other = (found.with_merge("calibrated").retrieve(queries, 20) for found in (whole, again))
    assert one.items.tobytes() == other.items.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


def test_with_a_validation_the_intent_does_not_learn_from_what_it_is_validated_on(marketplace: Dataset) -> None:
    figures = iter([0.1, 0.3, 0.2])
    short = training(3, validate_every=1)
    config = settings(3, training=short, intent=IntentConfig(dimension=16, layers=1, training=short))
    channel = Divide(config).fit(marketplace, validate=lambda _: next(figures))
    assert channel.report is not None
    assert (channel.report.best_epoch, channel.report.best_value) == (1, 0.3)
    report = channel.intent.report
    assert report is not None
    assert report.best_value is not None
    assert report.best_value < 0, "a mean log-chance"


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
def test_an_alpha_that_is_no_exponent_is_refused(channel: Divide, alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        channel.with_merge("quota", alpha)
    with pytest.raises(ValidationError):
        settings(alpha=alpha)


@pytest.mark.parametrize("loss", ["bce", "gbce"])
def test_scores_that_popular_negatives_bend_have_no_calibrated_merge(loss: str) -> None:
    with pytest.raises(ValidationError, match=f"under {loss} with popularity negatives"):
        settings(merge="calibrated", objective=objective(loss, 1, negatives="popularity"))
    assert settings(merge="calibrated", objective=objective(loss, 1)).merge == "calibrated"


def test_exponents_are_fitted_applied_and_kept(marketplace: Dataset, tmp_path: Path) -> None:
    split = leave_one_out(marketplace)
    whole = Divide(settings(3, objective=objective("bce", 1, shared=False))).fit(split.train)
    fitted = whole.calibrated_on(split.validation)
    assert fitted.config.merge == "calibrated"
    assert fitted.calibration != (1.0, 1.0)
    queries = split.test.queries.slice(0, 20)
    found = fitted.retrieve(queries, 150, allowed=Mask.seen(queries.latest(12)))
    total = np.bincount(found.rows, np.exp(found.scores), 20)
    assert total == pytest.approx(np.ones(20), rel=1e-3), "chances of all that the window does not hold"
    plain = whole.with_merge("calibrated").retrieve(queries, 150, allowed=Mask.seen(queries.latest(12)))
    assert plain.scores.tolist() != found.scores.tolist()
    fitted.save(tmp_path / "divide")
    again = Divide.load(tmp_path / "divide", marketplace.items)
    assert again.retrieve(queries, 20).items.tolist() == fitted.retrieve(queries, 20).items.tolist()
    assert whole.calibration == (1.0, 1.0), "the channel itself stays as it was"


def test_more_clusters_than_items_are_refused(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="151 clusters"):
        Divide(settings(clusters=ClusterConfig(source="column", n=151))).fit(marketplace)


def test_a_user_whose_likeliest_cluster_holds_nothing_allowed_is_served_by_the_others(
    channel: Divide, queries: Queries
) -> None:
    likeliest = channel.intent.log_chances(queries, 150).argmax(1)
    members = [channel.clusters.members(int(cluster)) for cluster in likeliest]
    refused = Mask(25 * np.arange(len(queries) + 1), np.concatenate(members).astype(np.int32))
    for alpha in (0.0, 1.0, 1e6):
        found = channel.with_merge("quota", alpha).retrieve(queries, 10, allowed=refused)
        assert (np.diff(found.offsets) == 10).all()
        assert (channel.clusters.labels[found.items] != likeliest[found.rows]).all()


def test_an_untrained_channel_says_so() -> None:
    for part in ("network", "intent", "clusters"):
        with pytest.raises(ConfigError, match="not trained yet"):
            getattr(Divide(), part)


def test_clusters_of_one_item_and_of_none_are_served(marketplace: Dataset, tmp_path: Path) -> None:
    from small import cut

    from headwater.retrieval.divide.clusters import save_clusters

    labels = np.ones(150)
    labels[7] = 0
    save_clusters(cut(labels, 3), marketplace, tmp_path / "c.npz")
    config = settings(clusters=ClusterConfig(source="file", path=tmp_path / "c.npz"))
    channel = Divide(config).fit(marketplace)
    queries = marketplace.queries(everybody(marketplace))
    for merge, alpha in (("quota", 0.0), ("calibrated", 1.0)):
        found = channel.with_merge(merge, alpha).retrieve(queries, 20)
        assert (np.diff(found.offsets) == 20).all()
    assert (found.items == 7).sum() <= len(queries)
    assert channel.with_merge("quota", 0.0).retrieve(queries, 2).items.tolist().count(7) == len(queries)


def grown(data: Dataset, n: int = 3) -> Dataset:
    """With new items, the first of which some users chose between items of group 2, the last of which nobody did."""
    ids = [f"new {at}" for at in range(n)]
    table = data.item_attributes
    names = {"id": ids, "title": ids, "category": ["group 2"] * (n - 1) + ["never heard of"]}
    users = np.repeat(np.arange(2, 200, 6), 2)
    items = np.tile([50, 150], len(users) // 2)
    late = np.arange(len(users)) % 2 + data.event_times.max() + 1
    return Dataset.from_events(
        "grown",
        data.users,
        data.items.extended(ids),
        event_users=np.concatenate([data.event_users, users]).astype(np.int32),
        event_items=np.concatenate([data.event_items, items]).astype(np.int32),
        event_times=np.concatenate([data.event_times, late]),
        item_attributes=pa.concat_tables([table, pa.table(names)]),
    )


@pytest.mark.parametrize("source", ["column", "item2vec"])
def test_new_items_join_a_cluster_and_are_found_without_training(
    marketplace: Dataset, source: Any, tmp_path: Path
) -> None:
    config = settings(8, clusters=ClusterConfig(source=source, n=6, dimension=16, epochs=30))
    channel = Divide(config).fit(marketplace)
    data = grown(marketplace)
    serving = channel.with_new_items(data)
    assert len(serving.clusters.labels) == 153
    assert serving.clusters.labels[150] == channel.clusters.labels[50]
    vectors = serving.network.items.table().detach()
    torch.testing.assert_close(vectors[150], vectors[50])
    assert vectors[152].abs().sum() == 0
    if source == "column":
        assert serving.clusters.labels[151:].tolist() == [channel.clusters.labels[50], 5]
    queries = marketplace.queries(np.arange(2, 200, 6, dtype=np.int32))
    found = serving.retrieve(queries, 150)
    for row in range(0, len(queries), 8):
        ranks = {item: rank for rank, item in enumerate(found.of(row).tolist())}
        assert abs(ranks[150] - ranks[50]) <= 6, "beside the item that it was chosen with"
    serving.save(tmp_path / "grown")
    again = Divide.load(tmp_path / "grown", data.items)
    assert again.retrieve(queries, 9).items.tolist() == serving.retrieve(queries, 9).items.tolist()
    assert 150 not in channel.retrieve(queries, 150).items


def test_items_that_are_no_continuation_are_refused(channel: Divide, marketplace: Dataset) -> None:
    with pytest.raises(LineageError, match="do not continue"):
        channel.with_new_items(marketplace.with_frequent_items(10))
