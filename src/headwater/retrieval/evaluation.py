"""Measure a channel as it serves: through `Channel.retrieve`, under a named protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import headwater
from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.data.schema import TIE_RULE
from headwater.data.splits import HeldOut, Split
from headwater.metrics import (
    FullRanking,
    Hits,
    ListedNegatives,
    Protocol,
    SampledNegatives,
    average_popularity,
    catalogue_coverage,
    category_coverage,
    hit_rate,
    ndcg,
    popularity_ratio,
    recall,
    reciprocal_rank,
)
from headwater.retrieval.base import Candidates, Channel, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORE_TIE_RULE = "targets stand behind all candidates with an equal score"
"""Printed with every result: a channel gains nothing from scoring all items alike."""

QUERIES_PER_BATCH = 512


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one channel under one protocol, with all that is needed to read them.

    Attributes
    ----------
    channel, protocol : str
    metrics : dict of str to float
        `hr@k`, `recall@k`, `ndcg@k`, `mrr@k`, `coverage@k`, `category_coverage@k`, `popularity@k` (ARP),
        `popularity_ratio@k`; means over all queries.
    n_queries, n_items : int
        Queries that were asked, and items in the catalogue.
    n_repeated : int
        Targets that stand in the query's own history: seen, hence never returned, and counted as missed.
    n_tied : int
        Queries in which a target's score equals another candidate's, so that the tie rule placed it.
    n_unanswered : int
        Queries that the channel returned nothing for; they count as missed.
    seed : int or None
        Of sampled negatives.
    time_tie_rule, score_tie_rule : str
    headwater : str
        Version of the package.
    target_ranks : (targets,) int32, or None
        The place of every target in its query's list, from 0, and -1 where it was not found: what a second look
        at one run needs (which hits only one channel has, which kind of query is hit). Not part of the JSON.
    """

    channel: str
    protocol: str
    metrics: dict[str, float]
    n_queries: int
    n_items: int
    n_repeated: int
    n_tied: int
    n_unanswered: int
    seed: int | None
    time_tie_rule: str = TIE_RULE
    score_tie_rule: str = SCORE_TIE_RULE
    headwater: str = headwater.__version__
    target_ranks: NDArray[np.int32] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document; a figure that is not defined (nan) is None."""
        fields = asdict(self)
        del fields["target_ranks"]
        fields["metrics"] = {name: value if np.isfinite(value) else None for name, value in self.metrics.items()}
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Evaluation:
        """Read what `to_json` gave; raises `TypeError` where a field is missing or unknown."""
        metrics = {name: np.nan if value is None else float(value) for name, value in fields["metrics"].items()}
        return cls(**{**fields, "metrics": metrics})


def evaluate(
    channel: Channel,
    held_out: HeldOut,
    protocol: Protocol,
    *,
    train: Dataset,
    interactions: Dataset | None = None,
    ks: Sequence[int] = (10, 20, 50),
    depth: int = 0,
) -> Evaluation:
    """Ask `channel` every held-out query and compare its lists with the targets.

    Parameters
    ----------
    channel : Channel
    held_out : HeldOut
    protocol : FullRanking, SampledNegatives or ListedNegatives
    train : Dataset
        What the channel learned from: its popularity and catalogue are the reference of the diversity figures.
    interactions : Dataset, optional
        All interactions, train, validation and test, of which sampled negatives are drawn outside. By default
        train with the held-out histories and targets: on the test part of a leave-one-out split, that is all.
        Give the whole data set when a validation part is measured.
    ks : sequence of int
        Cut-offs.
    depth : int
        How far down `target_ranks` are wanted, where that is deeper than the cut-offs.

    Raises
    ------
    ValueError
        There is no query, a cut-off is not positive, or negatives are listed for another number of queries.
    """
    if not len(held_out):
        raise ValueError("there is no query to evaluate; the held-out part is empty")
    if not ks or min(ks) < 1:
        raise ValueError(f"cut-offs must be at least 1, not {list(ks)}")
    queries = held_out.queries
    n_items = len(train.items)
    target_rows = np.repeat(np.arange(len(held_out)), np.diff(held_out.offsets))
    is_repeated = ~Mask.seen(queries).allows(target_rows, held_out.targets)
    allowed = Mask.seen(queries)
    if isinstance(protocol, SampledNegatives):
        known = train if interactions is None else interactions
        allowed = _among(*_drawn(protocol, held_out, known, target_rows, n_items), held_out, target_rows, is_repeated)
    if isinstance(protocol, ListedNegatives):
        allowed = _among(protocol.offsets, protocol.items, held_out, target_rows, is_repeated)

    # One more than is measured: whether a tie goes on beyond the cut is then seen.
    limit = max(*ks, depth) + 1
    parts = [
        (start, channel.retrieve(batch, limit, allowed=allowed.slice(start, start + len(batch))))
        for start, batch in queries.batches(QUERIES_PER_BATCH)
    ]
    candidates = Candidates.stack(parts)
    hits = Hits.locate(
        candidates.rows, candidates.items, candidates.scores, held_out.offsets, held_out.targets, limit=limit
    )
    return Evaluation(
        channel=channel.name,
        protocol=protocol.name,
        metrics=_metrics(candidates, hits, held_out, target_rows, train, ks),
        n_queries=len(held_out),
        n_items=n_items,
        n_repeated=int(is_repeated.sum()),
        n_tied=hits.n_tied,
        n_unanswered=int((np.diff(candidates.offsets) == 0).sum()),
        seed=protocol.seed if isinstance(protocol, SampledNegatives) else None,
        target_ranks=hits.target_ranks,
    )


def validation_figure(split: Split, metric: str = "ndcg@10") -> Callable[[Channel], float]:
    """What `fit` takes as `validate`: `metric` on the validation part of `split` under full ranking."""
    k = int(metric.partition("@")[2])

    def measure(channel: Channel) -> float:
        return evaluate(channel, split.validation, FullRanking(), train=split.train, ks=(k,)).metrics[metric]

    return measure


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall time of `Channel.retrieve`, one query at a time, in ms."""

    p50_ms: float
    p99_ms: float
    n: int
    k: int


def latency(
    channel: Channel,
    queries: Queries,
    *,
    k: int = 200,
    n: int = 500,
    warm_up: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Ask `n` of the queries, spread evenly over them, one by one, as a service does.

    The mask is made outside the measured time, since the caller decides it once for all channels. `warm_up`
    queries are asked first and not counted. `clock` gives seconds.
    """
    if not len(queries):
        raise ValueError("there is no query to measure")
    chosen = np.unique(np.linspace(0, len(queries) - 1, n).astype(np.int64)).tolist()
    for row in chosen[:warm_up]:
        _ask(channel, queries, row, k, clock)
    seconds = [_ask(channel, queries, row, k, clock) for row in chosen]
    p50, p99 = np.percentile(seconds, [50, 99]) * 1_000
    return Latency(float(p50), float(p99), len(chosen), k)


def _ask(channel: Channel, queries: Queries, row: int, k: int, clock: Callable[[], float]) -> float:
    query = queries.slice(row, row + 1)
    allowed = Mask.seen(query)
    started = clock()
    channel.retrieve(query, k, allowed=allowed)
    return clock() - started


def _drawn(
    protocol: SampledNegatives,
    held_out: HeldOut,
    interactions: Dataset,
    target_rows: NDArray[np.integer],
    n_items: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """CSR over the queries of negatives outside all that is known of each query's user."""
    users = held_out.queries.users
    is_known = users >= 0
    of_user = np.where(is_known, interactions.lengths[users], 0)
    starts = np.where(is_known, interactions.offsets[users], 0)
    first = np.cumsum(of_user) - of_user
    events = np.arange(of_user.sum()) + np.repeat(starts - first, of_user)
    n = len(held_out)
    rows = np.concatenate([np.repeat(np.arange(n), of_user), held_out.queries.rows(), target_rows])
    items = np.concatenate([interactions.event_items[events], held_out.queries.items, held_out.targets])
    order = np.argsort(rows, kind="stable")
    return protocol.draw(np.searchsorted(rows[order], np.arange(n + 1)), items[order], n_items)


def _among(
    offsets: NDArray[np.int64],
    negatives: NDArray[np.int32],
    held_out: HeldOut,
    target_rows: NDArray[np.integer],
    is_repeated: NDArray[np.bool_],
) -> Mask:
    """Targets and negatives as a list of what alone may be returned; a repeated target stays refused, as seen."""
    n = len(held_out)
    if len(offsets) != n + 1:
        raise ValueError(f"negatives are listed for {len(offsets) - 1} queries, and {n} are asked")
    listed_rows = np.concatenate([np.repeat(np.arange(n), np.diff(offsets)), target_rows[~is_repeated]])
    listed = np.concatenate([negatives, held_out.targets[~is_repeated]])
    order = np.lexsort((listed, listed_rows))
    return Mask(np.searchsorted(listed_rows[order], np.arange(n + 1)), listed[order], is_allowlist=True)


def _metrics(
    candidates: Candidates,
    hits: Hits,
    held_out: HeldOut,
    target_rows: NDArray[np.integer],
    train: Dataset,
    ks: Sequence[int],
) -> dict[str, float]:
    rows, items, ranks = candidates.rows, candidates.items, candidates.ranks()
    categories, _ = train.categories
    figures: dict[str, float] = {}
    for k in ks:
        figures[f"hr@{k}"] = float(hit_rate(hits, k).mean())
        figures[f"recall@{k}"] = float(recall(hits, k).mean())
        figures[f"ndcg@{k}"] = float(ndcg(hits, k).mean())
        figures[f"mrr@{k}"] = float(reciprocal_rank(hits, k).mean())
        figures[f"coverage@{k}"] = catalogue_coverage(items, ranks, k, n_items=len(train.items))
        figures[f"category_coverage@{k}"] = category_coverage(
            rows, items, ranks, k, n_queries=len(held_out), categories=categories
        )
        figures[f"popularity@{k}"] = average_popularity(rows, items, ranks, k, popularity=train.item_counts)
        figures[f"popularity_ratio@{k}"] = popularity_ratio(
            rows,
            items,
            ranks,
            k,
            popularity=train.item_counts,
            target_rows=target_rows,
            targets=held_out.targets,
        )
    return figures
