"""What is measured of one trained channel: recall by exact quotas, within clusters and outside, intent, coverage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headwater.data import Dataset, Split
from headwater.data.queries import Queries
from headwater.data.splits import HeldOut
from headwater.errors import ConfigError
from headwater.experiment.measure import Say, evaluate_recipe
from headwater.metrics import category_coverage
from headwater.nn.devices import threads_of
from headwater.recipe import Recipe
from headwater.reproduce.jobs import Job
from headwater.retrieval.base import Candidates, Channel, Mask
from headwater.retrieval.divide.channel import Divide
from headwater.retrieval.divide.clusters import ClusterConfig, Clusters, clusters_of, load_clusters
from headwater.retrieval.divide.intent import Intent, intent_quality
from headwater.retrieval.divide.lists import asked_by_quota, gather, shared_out
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.merged import LogChances, QuotaMerged, chances_of_scores
from headwater.retrieval.divide.mixed import SASRecPlus

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 1e6)
"""Of quotas; 0 is equal shares, the last the likeliest cluster alone."""

WITHIN = {"kuairand": (100, 500, 1000), "generated": (100, 500, 1000)}
"""Cut-offs of Table 3, by data set; otherwise those of MovieLens-1M."""

FITTED = "calibrated, fitted"
"""The calibrated merge with exponents fitted on validation; see `Divide.calibrated_on`."""

BATCH = 1024
"""Requests answered at a time; few large ones, so that a device is not kept waiting."""


def measure(
    job: Job, dataset: Dataset, say: Say, *, clusters: Path | None = None, alphas: Sequence[float] = ALPHAS
) -> dict[str, Any]:
    """Train the job's channel and say everything that tables and figures need, as plain values.

    Parameters
    ----------
    clusters : Path, optional
        A file of `headwater data cluster`, or a folder that may hold `NAME.clusters.npz` for the data set, in place of
        what the settings say of item2vec.
    alphas : sequence of float
        Of quotas.

    Returns
    -------
    dict
        `row`: as `headwater evaluate` has it. `merges`: for each way to merge, validation and test recall and test
        coverage by cut-off. `within`, `outside`: recall among the items of the truth's cluster, and among it and all
        others'. `ranks`: where each test target stands in the channel's own lists, -1 beyond `depth`. `intent`: by
        source of chances. `calibration`: the exponents that validation gave.
        `positives_per_epoch`, `sizes` of clusters, `seconds` of all of it.
    """
    started = time.perf_counter()
    recipe, kept = with_given_clusters(job.recipe, dataset, clusters), []
    with threads_of(getattr(getattr(job.settings, "training", None), "threads", None)):
        table = evaluate_recipe(recipe, dataset, say=say, keep=kept.append)
        channel, split, ks = kept[0], recipe.split.split(dataset), recipe.evaluate.ks
        row = table.rows[0].to_json() | {"settings": job.settings.model_dump(mode="json")}
        found: dict[str, Any] = {"row": row, "merges": {}, "within": None, "outside": None, "intent": {}}
        if (ranks := table.rows[0].target_ranks) is not None:
            found["ranks"] = {"depth": max(*ks, *recipe.evaluate.incremental_ks), "targets": ranks.tolist()}
        own = getattr(recipe.channels[0], "clusters", None)
        if own is None:
            found["merges"] = _merges(_beginnings(channel, "plain", ks), split, None, ks)
        else:
            cut = channel.clusters if isinstance(channel, Divide) else clusters_of(split.train, own)
            found |= _by_cluster(channel, cut, split, ks, WITHIN.get(dataset.name, (5, 20, 50)), alphas, say)
            found["sizes"] = cut.sizes.tolist()
            found["positives_per_epoch"] = positives_per_epoch(channel, split.train, cut)
        return found | {"seconds": round(time.perf_counter() - started, 1)}


def with_given_clusters(recipe: Recipe, dataset: Dataset, clusters: Path | None) -> Recipe:
    """The recipe with its item2vec clusters taken from a file, where there is one for the data set."""
    settings = recipe.channels[0]
    own = getattr(settings, "clusters", None)
    if clusters is not None and clusters.is_dir():
        clusters = clusters / f"{dataset.name.partition(' ')[0]}.clusters.npz"
        clusters = clusters if clusters.exists() else None
    if clusters is None or own is None or own.source != "item2vec":
        return recipe
    given = ClusterConfig(source="file", path=clusters)
    n = len(load_clusters(clusters, dataset))
    if n != own.n:
        raise ConfigError(
            f"{clusters} has {n} clusters, and the recipe asks for {own.n}; make it again with -n {own.n}"
        )
    return recipe.model_copy(update={"channels": (settings.model_copy(update={"clusters": given}),)})


def _by_cluster(
    channel: Any,
    clusters: Clusters,
    split: Split,
    ks: Sequence[int],
    within: Sequence[int],
    alphas: Sequence[float],
    say: Say,
) -> dict[str, Any]:
    merges = _merges(_beginnings(channel, "plain", ks), split, clusters, ks)
    sources: dict[str, LogChances] = {}
    n_items = len(split.train.items)
    calibration: dict[str, float] = {}
    if isinstance(channel, Divide):
        sources["classifier"] = lambda queries: channel.intent.log_chances(queries, n_items)
        if channel.config.merge == "calibrated":
            fitted = channel.calibrated_on(split.validation)
            calibration = fitted.calibration._asdict()
            merges |= _merges(_beginnings(fitted, FITTED, ks), split, clusters, ks)
        merged: Divide | QuotaMerged = channel
    else:
        say(f"learning the intent beside {channel.name}")
        intent = Intent.fit(split.train, clusters, channel.config, stops_early=True)
        sources["scores"] = chances_of_scores(channel, clusters)
        sources["classifier"] = lambda queries: intent.log_chances(queries, n_items)
        merged = QuotaMerged(channel, clusters, sources["scores"])
    say(f"merging {channel.name} by quotas, chances of the {' and the '.join(sources)}")
    merges |= _merges(_by_quotas(merged, sources, alphas, ks), split, clusters, ks)
    say(f"ranking with {channel.name} within the truth's cluster, and outside it")
    return {
        "merges": merges,
        "calibration": calibration,
        "within": _among(channel, split.test, clusters, within, is_within=True),
        "outside": _among(channel, split.test, clusters, ks, is_within=False),
        "intent": {
            source: asdict(intent_quality(log_chances(split.test.queries), split.test, clusters))
            for source, log_chances in sources.items()
        },
    }


Lists = dict[tuple[str, int], Candidates]
"""By the way to merge, and k."""


def _beginnings(channel: Channel, name: str, ks: Sequence[int]) -> Callable[[Queries], Lists]:
    """Answers of a channel whose list for k begins every longer one."""

    def answer(queries: Queries) -> Lists:
        found = channel.retrieve(queries, max(ks), allowed=Mask.seen(queries))
        ranks = found.ranks()
        return {(name, k): found.select(ranks < k) for k in ks}

    if isinstance(channel, Divide) and channel.config.merge == "quota":
        return lambda queries: {(name, k): channel.retrieve(queries, k, allowed=Mask.seen(queries)) for k in ks}
    return answer


def _by_quotas(
    merged: Divide | QuotaMerged, sources: dict[str, LogChances], alphas: Sequence[float], ks: Sequence[int]
) -> Callable[[Queries], Lists]:
    """Answers by every quota; each history is encoded for each cluster, and each cluster searched for it, once.

    A short list is the beginning of a long one, which holds of exact search alone.
    """
    clusters = merged.clusters

    @torch.inference_mode()
    def answer(queries: Queries) -> Lists:
        masks = ClusterMasks.of(Mask.seen(queries), clusters, len(queries))
        deepest = np.minimum(masks.rooms(), max(ks))
        everything = gather(deepest, clusters, merged.states_of(queries), merged.indexes.searching(masks))
        found = {}
        for source, log_chances in sources.items():
            chances = log_chances(queries)
            for alpha in alphas:
                for k in ks:
                    asked = asked_by_quota(chances, masks, k, alpha)
                    found[f"{source}, alpha {alpha:g}", k] = shared_out(merged.name, everything, chances, asked, alpha)
        return found

    return answer


def _merges(
    answer: Callable[[Queries], Lists], split: Split, clusters: Clusters | None, ks: Sequence[int]
) -> dict[str, Any]:
    """Recall at each k of a list that is made for k, on both parts, and how many clusters and categories it shows."""
    categories, _ = split.train.categories
    parts = {"validation": _lists(answer, split.validation), "test": _lists(answer, split.test)}
    made: dict[str, Any] = {}
    for name, k in parts["test"]:
        found = made.setdefault(name, {"validation": {}, "test": {}, "clusters_shown": {}, "category_coverage": {}})
        for part, lists in parts.items():
            rows, items = lists[name, k]
            found[part][str(k)] = _share_found(rows, items, getattr(split, part))
        rows, items = parts["test"][name, k]
        if clusters is not None:
            shown = np.unique(rows.astype(np.int64) * len(clusters) + clusters.labels[items])
            found["clusters_shown"][str(k)] = len(shown) / len(split.test)
        found["category_coverage"][str(k)] = category_coverage(
            rows, items, np.zeros(len(rows), np.int64), k, n_queries=len(split.test), categories=categories
        )
    return made


def _lists(
    answer: Callable[[Queries], Lists], held_out: HeldOut
) -> dict[tuple[str, int], tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Rows and items of every kind of list."""
    parts: dict[tuple[str, int], list[tuple[NDArray[np.int32], NDArray[np.int32]]]] = {}
    for start, batch in held_out.queries.batches(BATCH):
        for kind, found in answer(batch).items():
            parts.setdefault(kind, []).append((found.rows + np.int32(start), found.items))
    joined = {kind: [np.concatenate(column) for column in zip(*of, strict=True)] for kind, of in parts.items()}
    return {kind: (rows, items) for kind, (rows, items) in joined.items()}


def _share_found(rows: NDArray[np.int32], items: NDArray[np.int32], held_out: HeldOut) -> float:
    """The share of all targets that is listed; no item stands twice in a list, nor among a request's targets."""
    owners = np.repeat(np.arange(len(held_out)), np.diff(held_out.offsets))
    width = int(max(items.max(initial=0), held_out.targets.max(initial=0))) + 1
    wanted = np.sort(owners * width + held_out.targets)
    listed = rows.astype(np.int64) * width + items
    at = np.searchsorted(wanted, listed).clip(max=len(wanted) - 1)
    return float(np.count_nonzero(wanted[at] == listed) / len(wanted))


def _among(
    channel: Channel, held_out: HeldOut, clusters: Clusters, ks: Sequence[int], *, is_within: bool
) -> dict[str, float]:
    """Recall@k where each truth is ranked among the items of its own cluster, or among itself and all others', of what
    is not seen."""
    ranks = np.full(len(held_out), np.iinfo(np.int32).max)
    truths = held_out.targets[held_out.offsets[:-1]]
    for start, batch in held_out.queries.batches(BATCH):
        mine = truths[start : start + len(batch)]
        listed = []
        for row, truth in enumerate(mine.tolist()):
            seen = np.setdiff1d(batch.items[batch.offsets[row] : batch.offsets[row + 1]], [truth])
            members = clusters.members(int(clusters.labels[truth]))
            listed.append(
                np.setdiff1d(members, seen) if is_within else np.union1d(np.setdiff1d(members, [truth]), seen)
            )
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in listed])]).astype(np.int64)
        allowed = Mask(offsets, np.concatenate(listed).astype(np.int32), is_allowlist=is_within)
        found = channel.retrieve(batch, max(ks), allowed=allowed)
        is_truth = found.items == mine[found.rows]
        ranks[start + found.rows[is_truth]] = found.ranks()[is_truth]
    return {str(k): float((ranks < k).mean()) for k in ks}


def positives_per_epoch(channel: Any, train: Dataset, clusters: Clusters) -> float | None:
    """How many positives an epoch of its training sees, on average; None of a channel that is trained otherwise."""
    config = channel.config
    counts = np.minimum(train.lengths - 1, config.length).clip(min=0)
    if isinstance(channel, SASRecPlus) or (isinstance(channel, Divide) and config.adaptation == "output"):
        return float(counts.sum())
    if not isinstance(channel, Divide):
        return None
    # Of the clusters that a window has targets of, `tasks_per_user` are drawn, all alike.
    users = np.repeat(np.arange(len(train.users)), train.lengths)
    from_end = train.offsets[users + 1] - 1 - np.arange(len(train))
    is_target = from_end < counts[users]
    pairs = np.unique(users[is_target] * len(clusters) + clusters.labels[train.event_items[is_target]])
    present = np.bincount(pairs // len(clusters), minlength=len(train.users))
    return float((counts * np.minimum(1.0, config.tasks_per_user / np.maximum(present, 1))).sum())
