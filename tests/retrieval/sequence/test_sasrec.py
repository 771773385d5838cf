from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwater.config import parse
from headwater.data import Dataset, Queries, Vocabulary, leave_one_out
from headwater.errors import ConfigError, LineageError
from headwater.metrics import FullRanking
from headwater.nn.sequences import Histories
from headwater.retrieval import Candidates, Mask, evaluate
from headwater.retrieval.classic import Popular
from headwater.retrieval.learned import without_each
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def config(**changes: Any) -> SASRecConfig:
    training = {"epochs": 10, "batch_size": 32, "device": "cpu", **changes.pop("training", {})}
    base = {"length": 20, "dimension": 16, "layers": 1, "heads": 2, "dropout": 0.1}
    return parse(SASRecConfig, {**base, **changes, "training": training}, "test")


def walks(n_users: int, n_items: int, length: int, **columns: Any) -> Dataset:
    """Users who step from each item to the next one, from a start of their own: order says everything."""
    items = (np.arange(n_users)[:, None] * 7 + np.arange(length)) % n_items
    return Dataset.from_events(
        "walks",
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        event_users=np.repeat(np.arange(n_users, dtype=np.int32), length),
        event_items=items.ravel().astype(np.int32),
        event_times=np.tile(np.arange(length), n_users),
        **columns,
    )


@pytest.fixture(scope="module")
def walker() -> SASRec:
    torch.set_num_threads(1)
    return SASRec(config(training={"epochs": 60, "learning_rate": 0.01})).fit(walks(60, 30, 12))


def asked(histories: list[list[int]]) -> Queries:
    """Requests of people nobody has met."""
    n = len(histories)
    items = np.array([item for history in histories for item in history], np.int32)
    return Queries(
        users=np.full(n, -1, np.int32),
        user_keys=np.arange(n),
        offsets=np.cumsum([0, *map(len, histories)]),
        items=items,
        times=np.arange(len(items)),
        behaviours=np.ones(len(items), np.int8),
        request_times=np.full(n, len(items)),
        scenarios=("homepage",) * n,
    )


def test_it_learns_what_follows_and_serves_people_it_has_never_met(walker: SASRec) -> None:
    found = walker.retrieve(asked([[4, 5, 6], [20, 21], [28, 29]]), 1)
    assert found.items.tolist() == [7, 22, 0]


def test_order_matters_to_it(walker: SASRec) -> None:
    forwards, other = walker.retrieve(asked([[4, 20], [20, 4]]), 1).items.tolist()
    assert (forwards, other) == (21, 5)


def test_a_history_longer_than_the_context_counts_by_its_latest_events(walker: SASRec) -> None:
    recent = [item % 30 for item in range(5, 25)]
    long = [9, 9, 3, *recent]
    one, other = walker.retrieve(asked([long]), 10), walker.retrieve(asked([recent]), 10)
    assert one.items.tolist() == other.items.tolist()
    assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_beats_popularity_where_tastes_differ(marketplace: Dataset, precision: str) -> None:
    split = leave_one_out(marketplace)

    def figure(channel: Any) -> float:
        return evaluate(channel, split.test, FullRanking(), train=split.train, ks=(10,)).metrics["ndcg@10"]

    channel = SASRec(config(training={"precision": precision})).fit(split.train)
    assert figure(channel) > 2 * figure(Popular().fit(split.train))
    assert {weight.dtype for weight in channel.network.parameters()} == {torch.float32}


def test_early_stopping_hears_the_channel_itself(marketplace: Dataset) -> None:
    split = leave_one_out(marketplace)
    answers: list[bytes] = []

    def validate(channel: SASRec) -> float:
        answers.append(channel.retrieve(split.validation.queries, 5).scores.tobytes())
        return evaluate(channel, split.validation, FullRanking(), train=split.train, ks=(10,)).metrics["ndcg@10"]

    channel = SASRec(config(training={"epochs": 4, "validate_every": 1})).fit(split.train, validate=validate)
    assert len(set(answers)) == 4  # each time with the weights of that epoch
    assert channel.report is not None
    assert validate(channel) == channel.report.best_value


def test_a_model_with_attributes_beats_one_without_where_items_are_rare(marketplace: Dataset) -> None:
    split = leave_one_out(marketplace)

    def figure(**changes: Any) -> float:
        channel = SASRec(config(training={"epochs": 8}, **changes)).fit(split.train)
        return evaluate(channel, split.test, FullRanking(), train=split.train, ks=(10,)).metrics["ndcg@10"]

    assert figure(inputs={"attributes": ["category"]}) > figure()


def test_attention_that_sees_intervals_finds_the_event_of_a_time_ago() -> None:
    """The next item repeats the one event that lies a thousand seconds back, wherever it stands."""
    rng = np.random.default_rng(0)
    n, length = 400, 8
    items = rng.integers(0, 6, (n, length))
    at = rng.integers(0, length, n)
    ago = np.where(np.arange(length) < at[:, None], 100_000, np.where(np.arange(length) == at[:, None], 1_000, 1))
    ago = ago + np.arange(length)[::-1]
    times = 1_000_000 - ago
    items = np.concatenate([items, items[np.arange(n), at][:, None]], 1)
    data = Dataset.from_events(
        "echoes",
        Vocabulary(np.arange(n)),
        Vocabulary(np.arange(6)),
        event_users=np.repeat(np.arange(n, dtype=np.int32), length + 1),
        event_items=items.ravel().astype(np.int32),
        event_times=np.concatenate([times, np.full((n, 1), 1_000_000)], 1).ravel(),
    )
    train = leave_one_out(data).test
    queries = train.queries
    found = {}
    for intervals in (False, True):
        settings = config(intervals=intervals, layers=1, training={"epochs": 60, "learning_rate": 0.01})
        channel = SASRec(settings).fit(data)
        found[intervals] = (channel.retrieve(queries, 1).items == items[:, -1]).mean()
    assert found[True] > 0.9
    assert found[False] < 0.6


@pytest.mark.parametrize("name", ["ratings", "gaps", "request_time"])
def test_an_input_that_decides_what_follows_is_read(name: str) -> None:
    """The next item is 0 or 1, and nothing but the input says which."""
    rng = np.random.default_rng(0)
    n, length = 150, 8
    bits = rng.integers(0, 2, (n, length))
    items = np.concatenate([np.full((n, 1), 2), bits[:, :-1]], 1)
    # The signal at event t tells item t + 1: as its rating, the gap before it, or the gap behind it.
    gap = np.where(bits == 1, 1000, 1)
    before = np.cumsum(gap, 1)
    behind = np.concatenate([np.zeros((n, 1), int), np.cumsum(gap, 1)[:, :-1]], 1)
    times = behind if name == "request_time" else before
    request_times = times[:, -1] + (gap[:, -1] if name == "request_time" else 1)
    data = Dataset.from_events(
        "signals",
        Vocabulary(np.arange(n)),
        Vocabulary([0, 1, 2]),
        event_users=np.repeat(np.arange(n, dtype=np.int32), length),
        event_items=items.ravel().astype(np.int32),
        event_times=times.ravel() + 1,
        event_ratings=(1.0 + bits).ravel().astype(np.float32),
    )
    channel = SASRec(config(inputs={name: True}, training={"epochs": 25, "learning_rate": 0.01})).fit(data)
    queries = data.queries(np.arange(n, dtype=np.int32), request_times=request_times + 1)
    shown = channel.retrieve(queries, 1).items
    assert (shown == bits[:, -1]).mean() > 0.95


def test_training_takes_the_threads_it_is_given_and_gives_them_back(marketplace: Dataset) -> None:
    seen: list[int] = []

    def validate(_: SASRec) -> float:
        seen.append(torch.get_num_threads())
        return 0.0

    SASRec(config(training={"epochs": 1, "validate_every": 1, "threads": 2})).fit(marketplace, validate=validate)
    assert seen == [2]
    assert torch.get_num_threads() == 1  # as this module's fixture set it


def test_a_catalogue_of_one_item_works() -> None:
    data = walks(5, 1, 4)
    channel = SASRec(config(training={"epochs": 1})).fit(data)
    assert channel.retrieve(asked([[0]]), 5).items.tolist() == [0]
    assert len(channel.retrieve(asked([[0]]), 5, allowed=Mask.seen(asked([[0]])))) == 0


def test_one_seed_gives_one_model_and_another_another(marketplace: Dataset, tmp_path: Path) -> None:
    files = []
    for seed in (0, 0, 1):
        channel = SASRec(config(training={"epochs": 2, "seed": seed})).fit(marketplace)
        channel.save(tmp_path / f"{len(files)}")
        files.append((tmp_path / f"{len(files)}" / "tensors.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_ratings_and_attributes_survive_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = walks(20, 10, 6, event_ratings=rng.integers(1, 6, 120).astype(np.float32))
    settings = config(inputs={"ratings": True, "attributes": ["id"]}, training={"epochs": 2})
    channel = SASRec(settings).fit(data)
    channel.save(tmp_path / "sasrec")
    again = SASRec.load(tmp_path / "sasrec", data.items)
    queries = data.queries(np.arange(20, dtype=np.int32))
    assert again.retrieve(queries, 5).scores.tobytes() == channel.retrieve(queries, 5).scores.tobytes()
    assert again.config == settings


# -- why


def test_a_reason_is_how_far_the_score_falls_without_the_event(walker: SASRec) -> None:
    queries = asked([[12, 3, 4], [8]])
    found = walker.retrieve(queries, 2)
    reasons = walker.explain(queries, found)
    item = int(found.items[0])

    def score(history: list[int]) -> float:
        everything = walker.retrieve(asked([history]), 30)
        return float(everything.scores[everything.items == item][0])

    falls = {out: score([12, 3, 4]) - score([i for i in (12, 3, 4) if i != out]) for out in (12, 3, 4)}
    total = sum(fall for fall in falls.values() if fall > 0)
    expected = {out: fall / total for out, fall in falls.items() if fall > 0}
    assert {reason.trigger: pytest.approx(reason.share, abs=1e-4) for reason in reasons[0]} == expected
    assert reasons[0][0].trigger == 4  # the event that the walk goes on from
    # Of a history of one event, all there is to leave out is that event.
    assert {reason.trigger for reason in reasons[2]} <= {8, None}


def test_only_the_latest_events_are_left_out() -> None:
    queries = asked([[1, 2, 3, 4], [], [5, 99, 6]])
    variants, triggers, starts = without_each(queries, np.array([0, 2]), 50, config(explained_events=2, length=3))
    cut = [variants.items[a:b].tolist() for a, b in zip(variants.offsets, variants.offsets[1:], strict=False)]
    assert cut == [[2, 3, 4], [2, 3], [2, 4], [5, 6], [5], [6]]
    assert triggers == [[4, 3], [6, 5]]
    assert starts.tolist() == [0, 3, 6]


# -- what is refused


def test_a_channel_that_is_not_trained_says_so() -> None:
    with pytest.raises(ConfigError, match="sasrec is not trained yet"):
        SASRec().retrieve(asked([[1]]), 3)


def test_settings_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="dimension 10 is no multiple of heads 4"):
        parse(SASRecConfig, {"dimension": 10}, "recipe")
    with pytest.raises(ConfigError, match=r"unknown key 'training\.epoch'; did you mean 'epochs'"):
        parse(SASRecConfig, {"training": {"epoch": 3}}, "recipe")


def test_users_with_one_interaction_alone_cannot_be_learned_from() -> None:
    with pytest.raises(ConfigError, match="no user has two interactions"):
        SASRec(config()).fit(walks(5, 10, 1))


def test_a_checkpoint_of_another_catalogue_or_config_is_refused(tmp_path: Path) -> None:
    short = {"training": {"epochs": 1}}
    SASRec(config(**short)).fit(walks(10, 12, 5), checkpoint=tmp_path)
    with pytest.raises(LineageError, match="another vocabulary"):
        SASRec(config(**short)).fit(walks(10, 13, 5), checkpoint=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="other settings"):
        SASRec(config(dropout=0.3, **short)).fit(walks(10, 12, 5), checkpoint=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="other training data"):
        SASRec(config(**short)).fit(walks(11, 12, 5), checkpoint=tmp_path, resume=True)


def test_items_of_a_grown_vocabulary_are_read_as_if_they_were_not_there(walker: SASRec) -> None:
    one, other = walker.retrieve(asked([[4, 5, 77, 6]]), 5), walker.retrieve(asked([[4, 5, 6]]), 5)
    assert one.items.tolist() == other.items.tolist()


def test_a_mask_row_stays_with_its_query_when_others_have_no_history(walker: SASRec) -> None:
    queries = asked([[], [4, 5, 6], [77], [20, 21]])
    refused = Mask(np.array([0, 1, 2, 3, 4]), np.array([7, 7, 22, 22], np.int32))
    found = walker.retrieve(queries, 3, allowed=refused)
    assert set(found.rows.tolist()) == {1, 3}
    assert 7 not in found.of(1)
    assert 22 not in found.of(3)


def test_queries_are_encoded_in_pieces_of_bounded_size(walker: SASRec, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = asked([[1, 2, 3]] * 9 + [[]] + [[4, 5]] * 8)
    whole = walker.retrieve(queries, 5)
    sizes = []
    encode = walker.network.encode

    def counted(histories: Histories, rows: np.ndarray) -> torch.Tensor:
        sizes.append(len(rows))
        return encode(histories, rows)

    monkeypatch.setattr("headwater.retrieval.learned.TOKENS_AT_ONCE", {"cpu": 12})
    monkeypatch.setattr(walker.network, "encode", counted)
    again = walker.retrieve(queries, 5)
    assert sizes == [4, 4, 4, 4, 1]
    assert again.items.tolist() == whole.items.tolist()


def test_explaining_nothing_costs_nothing(walker: SASRec) -> None:
    assert walker.explain(asked([[1]]), Candidates.empty("sasrec", 1)) == []


def test_a_missing_rating_column_at_serving_is_read_as_no_rating() -> None:
    data = walks(20, 10, 6, event_ratings=np.ones(120, np.float32))
    channel = SASRec(config(inputs={"ratings": True}, training={"epochs": 1})).fit(data)
    queries = data.queries(np.arange(3, dtype=np.int32))
    without = replace(queries, ratings=None)
    blank = replace(queries, ratings=np.full(len(queries.items), np.nan, np.float32))
    assert channel.retrieve(without, 3).items.tolist() == channel.retrieve(blank, 3).items.tolist()
