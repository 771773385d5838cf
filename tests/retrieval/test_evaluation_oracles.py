"""`evaluate` end to end against figures that share no code with it: trec_eval's, and plain loops over plain lists.

The lists are built here from a channel's scores of all items: who competes, and in which order, is decided anew.
"""

from collections.abc import Callable

import numpy as np
import pytest
import pytrec_eval

from headwater.data import Dataset, HeldOut, Queries, Split, global_time, leave_one_out
from headwater.metrics import FullRanking, Protocol, SampledNegatives
from headwater.retrieval import Candidates, Channel, Evaluation, Mask, Reasons, evaluate
from headwater.retrieval.classic import ItemCF, Popular

KS = (1, 5, 10, 20)


class Arbitrary:
    """Another order of all items for every user, without ties."""

    name = "arbitrary"

    def __init__(self, train: Dataset) -> None:
        shape = (len(train.users), len(train.items))
        self.scores = np.random.default_rng(5).permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1)

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        dense = self.scores[queries.users].astype(np.float32)
        if allowed is not None:
            allowed.apply(dense)
        return Candidates.from_scores(self.name, dense, k)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        return [()] * len(candidates)


class Overheard:
    """A channel, and what it was allowed to return."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.name = channel, channel.name
        self.masks: list[Mask] = []

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        assert allowed is not None
        self.masks.append(allowed)
        return self.channel.retrieve(queries, k, allowed=allowed)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        return self.channel.explain(queries, candidates)


Lists = list[list[tuple[int, float]]]
"""Of each query: every competing item that the channel scores, and the score, as a user would see them."""


def targets_of(held_out: HeldOut) -> list[set[int]]:
    offsets = held_out.offsets
    return [set(held_out.targets[offsets[row] : offsets[row + 1]].tolist()) for row in range(len(held_out))]


def competitors(data: Dataset, held_out: HeldOut, protocol: Protocol, masks: list[Mask]) -> list[set[int]]:
    """Who may stand in each list; sampled negatives are taken as drawn, once they are known to be negatives."""
    allowed = [
        set(mask.items[mask.offsets[row] : mask.offsets[row + 1]].tolist())
        for mask in masks
        for row in range(len(mask))
    ]
    queries, found = held_out.queries, []
    for row, targets in enumerate(targets_of(held_out)):
        history = set(queries.items[queries.offsets[row] : queries.offsets[row + 1]].tolist())
        if isinstance(protocol, FullRanking):
            found.append(set(range(len(data.items))) - history)
            continue
        user = int(queries.users[row])
        ever = set(data.event_items[data.offsets[user] : data.offsets[user + 1]].tolist())
        assert not (allowed[row] - targets) & ever
        assert len(allowed[row] - targets) == protocol.n
        assert targets - history <= allowed[row]
        found.append(allowed[row] - history)
    return found


def ranked(channel: Channel, held_out: HeldOut, competing: list[set[int]], n_items: int) -> Lists:
    everything = channel.retrieve(held_out.queries, n_items)
    lists: Lists = [[] for _ in competing]
    for row, item, score in zip(everything.rows, everything.items, everything.scores, strict=True):
        if int(item) in competing[row]:
            lists[row].append((int(item), float(score)))
    return [sorted(pairs, key=lambda pair: (-pair[1], pair[0])) for pairs in lists]


def trec(lists: Lists, targets: list[set[int]]) -> dict[str, float]:
    """Means over all queries of what trec_eval says.

    It orders equal scores by name, the last first: the names of targets begin with the first letter, so that they
    stand behind what they tie with.
    """

    def named(item: int, row: int) -> str:
        return f"{'a' if item in targets[row] else 'z'}{item}"

    judged = {str(row): {named(item, row): 1 for item in wanted} for row, wanted in enumerate(targets)}
    runs = {str(row): {named(item, row): score for item, score in pairs} for row, pairs in enumerate(lists) if pairs}
    cuts = ",".join(map(str, KS))
    measures = {f"success.{cuts}", f"recall.{cuts}", f"ndcg_cut.{cuts}"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(runs)
    figures = {}
    for k in KS:
        for ours, theirs in (("hr", "success"), ("recall", "recall"), ("ndcg", "ndcg_cut")):
            figures[f"{ours}@{k}"] = sum(query[f"{theirs}_{k}"] for query in found.values()) / len(targets)
        # trec_eval has no cut of the reciprocal rank: it is given the first k alone.
        first = {
            row: dict(sorted(run.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:k])
            for row, run in runs.items()
        }
        reciprocal = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(first)
        figures[f"mrr@{k}"] = sum(query["recip_rank"] for query in reciprocal.values()) / len(targets)
    return figures


def plain(lists: Lists, targets: list[set[int]], train: Dataset) -> dict[str, float]:
    """Coverage and popularity, one list and one item at a time."""
    category = train.item_attributes.column("category").to_pylist()
    chosen = train.event_items.tolist()
    popularity = [chosen.count(item) for item in range(len(train.items))]

    def arp(some: list[list[int]]) -> float:
        means = [sum(popularity[item] for item in items) / len(items) for items in some if items]
        return sum(means) / len(means)

    figures = {}
    for k in KS:
        tops = [[item for item, _ in pairs[:k]] for pairs in lists]
        shown = {item for items in tops for item in items}
        figures[f"coverage@{k}"] = len(shown) / len(train.items)
        most = min(k, len(set(category)))
        kinds = [len({category[item] for item in items}) / most for items in tops]
        figures[f"category_coverage@{k}"] = sum(kinds) / len(kinds)
        figures[f"popularity@{k}"] = arp(tops)
        figures[f"popularity_ratio@{k}"] = arp(tops) / arp([list(wanted) for wanted in targets])
    return figures


CASES: list[tuple[Callable[[Dataset], Split], str, Callable[[Dataset], Channel]]] = [
    (leave_one_out, "test", lambda train: ItemCF().fit(train)),
    (leave_one_out, "validation", lambda train: ItemCF().fit(train)),  # later items are no negatives
    (leave_one_out, "test", lambda train: Popular().fit(train)),  # many ties
    (global_time, "test", Arbitrary),  # several targets a query
]


@pytest.mark.parametrize("protocol", [FullRanking(), SampledNegatives(99, seed=3)], ids=["full", "99 sampled"])
@pytest.mark.parametrize(("cut", "part", "make"), CASES, ids=["ItemCF", "validation", "Popular", "several targets"])
def test_an_evaluation_gives_the_figures_of_trec_eval_and_of_plain_loops(
    cut: Callable[[Dataset], Split],
    part: str,
    make: Callable[[Dataset], Channel],
    protocol: Protocol,
    marketplace: Dataset,
) -> None:
    split = cut(marketplace)
    held_out: HeldOut = getattr(split, part)
    channel = Overheard(make(split.train))
    result: Evaluation = evaluate(channel, held_out, protocol, train=split.train, interactions=marketplace, ks=KS)
    competing = competitors(marketplace, held_out, protocol, channel.masks)
    lists = ranked(channel.channel, held_out, competing, len(marketplace.items))
    targets = targets_of(held_out)
    expected = trec(lists, targets) | plain(lists, targets, split.train)
    assert result.metrics == pytest.approx(expected, rel=1e-9)
    # The world is neither too easy nor too hard to tell figures apart.
    assert 0 < expected["recall@5"] < expected["recall@20"] < 1
    assert 0 < expected["coverage@1"] < expected["coverage@20"]
