"""Evaluation through `retrieve` alone: both protocols, ties, repeats, and what a result says of itself."""

import json

import numpy as np
import pytest
from channel_contract import generated_dataset

import headwater
from headwater.data import TIE_RULE, Dataset, HeldOut, Queries, Vocabulary, leave_one_out
from headwater.metrics import FullRanking, ListedNegatives, SampledNegatives
from headwater.retrieval import Candidates, Mask, Reasons, evaluate, latency
from headwater.retrieval.classic import ItemCF, Popular

N = 30


class Scripted:
    """A channel with one list of scores for everybody; remembers what it was asked."""

    name = "scripted"

    def __init__(self, scores: list[float]) -> None:
        self.scores = np.array(scores, np.float32)
        self.asked: list[tuple[int, int, Mask]] = []

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        assert allowed is not None
        self.asked.append((len(queries), k, allowed))
        dense = np.tile(self.scores, (len(queries), 1))
        allowed.apply(dense)
        return Candidates.from_scores(self.name, dense, k)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        return [()] * len(candidates)


def world(histories: list[list[int]], targets: list[list[int]]) -> tuple[Dataset, HeldOut]:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    train = Dataset.from_events(
        "by hand",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(N)),
        event_users=users,
        event_items=np.array([item for history in histories for item in history], np.int32),
        event_times=np.arange(len(users)),
    )
    offsets = np.concatenate([[0], np.cumsum([len(wanted) for wanted in targets])])
    flat = np.array([item for wanted in targets for item in wanted], np.int32)
    return train, HeldOut(train.queries(np.arange(len(histories), dtype=np.int32)), offsets, flat)


DESCENDING = [float(N - item) for item in range(N)]


def test_a_target_is_ranked_among_unseen_items_only() -> None:
    train, held_out = world([[0, 1, 2], [5]], [[3], [2]])  # unseen ranks: 0, and 2 behind 0 and 1
    figures = evaluate(Scripted(DESCENDING), held_out, FullRanking(), train=train, ks=(1, 3)).metrics
    assert figures["hr@1"] == 0.5
    assert figures["hr@3"] == 1.0
    assert figures["ndcg@3"] == pytest.approx((1 + 1 / 2) / 2)  # 1 / log2(2) and 1 / log2(4)
    assert figures["mrr@3"] == pytest.approx((1 + 1 / 3) / 2)


def test_a_channel_that_scores_all_items_alike_hits_nothing_at_any_place() -> None:
    train, held_out = world([[0], [1]], [[2], [0]])
    result = evaluate(Scripted([1.0] * N), held_out, FullRanking(), train=train, ks=(10, 20))
    assert (result.metrics["hr@10"], result.metrics["hr@20"]) == (0.0, 0.0)
    assert result.n_tied == 2


def test_a_tie_is_settled_against_the_target_even_where_the_cut_divides_it() -> None:
    scores = [9.0, 5.0, 5.0, 5.0, *([1.0] * (N - 4))]
    train, held_out = world([[29]], [[1]])  # target 1 ties with 2 and 3: the worst of places 1..3
    figures = evaluate(Scripted(scores), held_out, FullRanking(), train=train, ks=(2, 3)).metrics
    assert (figures["hr@2"], figures["hr@3"]) == (0.0, 0.0)
    assert evaluate(Scripted(scores), held_out, FullRanking(), train=train, ks=(4,)).metrics["hr@4"] == 1.0


def test_repeated_targets_are_counted_and_never_hit() -> None:
    train, held_out = world([[0, 1], [4]], [[1], [0]])
    for protocol in (FullRanking(), SampledNegatives(5)):
        result = evaluate(Scripted(DESCENDING), held_out, protocol, train=train, ks=(N,))
        assert result.n_repeated == 1
        assert result.metrics[f"hr@{N}"] == 0.5


def test_sampled_lists_hold_the_target_and_items_without_any_interaction() -> None:
    train, held_out = world([[0, 1, 2], [5]], [[3], [6, 7]])
    channel = Scripted(DESCENDING)
    evaluate(channel, held_out, SampledNegatives(99, seed=4), train=train, ks=(10,))
    ((_, _, mask),) = channel.asked
    assert mask.is_allowlist
    first, second = (set(mask.items[mask.offsets[row] : mask.offsets[row + 1]].tolist()) for row in range(2))
    assert first == set(range(3, N))  # fewer than 99 are left: all of them, and the target
    assert second == set(range(N)) - {5}


def test_listed_negatives_are_those_and_no_others() -> None:
    train, held_out = world([[0, 1, 2], [5]], [[3], [9]])
    channel = Scripted(DESCENDING)
    negatives = ListedNegatives(np.array([0, 2, 5]), np.array([20, 4, 6, 10, 7], np.int32))
    result = evaluate(channel, held_out, negatives, train=train, ks=(1, 3))
    ((_, _, mask),) = channel.asked
    assert mask.is_allowlist
    lists = [sorted(mask.items[mask.offsets[row] : mask.offsets[row + 1]].tolist()) for row in range(2)]
    assert lists == [[3, 4, 20], [6, 7, 9, 10]]
    assert (result.metrics["hr@1"], result.metrics["hr@3"]) == (0.5, 1.0)
    assert (result.protocol, result.seed) == ("2-3 listed negatives", None)


def test_negatives_listed_for_others_or_for_nobody_are_refused() -> None:
    train, held_out = world([[0], [5]], [[3], [9]])
    with pytest.raises(ValueError, match="listed for 1 queries, and 2 are asked"):
        evaluate(
            Scripted(DESCENDING), held_out, ListedNegatives(np.array([0, 1]), np.array([4], np.int32)), train=train
        )
    with pytest.raises(ValueError, match="no rival"):
        ListedNegatives(np.array([0, 1, 1]), np.array([4], np.int32))


def test_interactions_of_the_test_part_are_no_negatives_while_validating() -> None:
    data = generated_dataset()
    split = leave_one_out(data)
    channel = Scripted([float(code) for code in range(60)])
    evaluate(channel, split.validation, SampledNegatives(99), train=split.train, interactions=data)
    ((_, _, mask),) = channel.asked
    for row, user in enumerate(split.validation.queries.users):
        later = data.event_items[data.offsets[user + 1] - 1]
        if later != split.validation.targets[row]:
            assert later not in mask.items[mask.offsets[row] : mask.offsets[row + 1]]


def test_a_channel_is_asked_in_batches_for_one_more_than_is_measured() -> None:
    histories = [[item % N] for item in range(1_100)]
    train, held_out = world(histories, [[(item + 1) % N] for item in range(1_100)])
    channel = Scripted(DESCENDING)
    evaluate(channel, held_out, FullRanking(), train=train, ks=(5, 3))
    assert [(n, k) for n, k, _ in channel.asked] == [(512, 6), (512, 6), (76, 6)]


def test_a_result_prints_protocol_tie_rules_seed_and_version() -> None:
    train, held_out = world([[0]], [[1]])
    result = evaluate(Scripted(DESCENDING), held_out, SampledNegatives(7, seed=3), train=train, ks=(2,))
    said = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert said["protocol"] == "7 sampled negatives, uniform, seed 3"
    assert said["seed"] == 3
    assert said["time_tie_rule"] == TIE_RULE
    assert said["score_tie_rule"] == "targets stand behind all candidates with an equal score"
    assert said["headwater"] == headwater.__version__
    assert (said["channel"], said["n_queries"], said["n_items"]) == ("scripted", 1, N)
    full = evaluate(Scripted(DESCENDING), held_out, FullRanking(), train=train, ks=(2,)).to_json()
    assert (full["protocol"], full["seed"]) == ("full ranking over unseen items", None)


def test_queries_without_an_answer_are_counted_and_undefined_figures_are_null() -> None:
    train, held_out = world([[0], [1]], [[2], [3]])
    result = evaluate(Scripted([-np.inf] * N), held_out, FullRanking(), train=train, ks=(2,))
    assert result.n_unanswered == 2
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["metrics"]["popularity@2"] is None


def test_the_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    data = generated_dataset()
    split = leave_one_out(data)
    channel = ItemCF().fit(split.train)
    results = [
        evaluate(channel, split.test, SampledNegatives(10, seed), train=split.train, ks=(3,)) for seed in (1, 1, 2)
    ]
    assert results[0] == results[1]
    assert results[0].metrics != results[2].metrics


def test_diversity_is_measured_against_the_training_part() -> None:
    # Item 0 was chosen twice, 1 once. Lists of one: 1, 1, 0, of popularity 1, 1, 2; the targets' is 1, 0, 2.
    train, held_out = world([[0], [0], [1]], [[1], [2], [0]])
    figures = evaluate(Popular().fit(train), held_out, FullRanking(), train=train, ks=(1,)).metrics
    assert figures["popularity@1"] == pytest.approx(4 / 3)
    assert figures["popularity_ratio@1"] == pytest.approx(4 / 3)
    assert figures["coverage@1"] == pytest.approx(2 / N)
    assert figures["category_coverage@1"] == 1.0


def test_empty_or_senseless_requests_are_refused() -> None:
    train, held_out = world([[0]], [[1]])
    nothing = HeldOut(held_out.queries.slice(0, 0), np.zeros(1, np.int64), np.zeros(0, np.int32))
    with pytest.raises(ValueError, match="no query"):
        evaluate(Scripted(DESCENDING), nothing, FullRanking(), train=train)
    with pytest.raises(ValueError, match="cut-offs"):
        evaluate(Scripted(DESCENDING), held_out, FullRanking(), train=train, ks=(0,))
    with pytest.raises(ValueError, match="no query"):
        latency(Scripted(DESCENDING), nothing.queries)


def test_latency_is_that_of_single_queries_after_a_warm_up() -> None:
    _, held_out = world([[item] for item in range(N)], [[0]] * N)
    channel = Scripted(DESCENDING)
    ticks = iter(0.002 * tick for tick in range(10_000))
    measured = latency(channel, held_out.queries, k=7, n=10, warm_up=3, clock=lambda: next(ticks))
    assert [n for n, _, _ in channel.asked] == [1] * 13
    assert {k for _, k, _ in channel.asked} == {7}
    assert (measured.n, measured.k) == (10, 7)
    assert measured.p50_ms == pytest.approx(2.0)
    assert measured.p99_ms == pytest.approx(2.0)
