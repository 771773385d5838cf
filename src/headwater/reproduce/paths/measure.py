"""What is measured of one trained channel: Table 2's figures, Table 4's by length of history, and what is drawn."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headwater.data import Dataset, Queries, Split
from headwater.experiment.measure import Say, evaluate_recipe
from headwater.metrics import FullRanking, ListedNegatives, Protocol, SampledNegatives
from headwater.nn.devices import threads_of
from headwater.reproduce.jobs import Job
from headwater.reproduce.paths.views import has_item_to_item, views
from headwater.retrieval.base import Candidates, Channel, Mask, Reasons
from headwater.retrieval.evaluation import evaluate
from headwater.retrieval.item_to_item import ItemToItem

LENGTHS = (15, 30, 45, None)
"""Latest events that a channel is told of in Table 4; None: all of them."""

LENGTH_CUTOFFS = (10, 50, 300)
"""Of Table 4 (HR@300) and Figure 7 (category coverage)."""


@dataclass(frozen=True, slots=True)
class Forgetful:
    """A channel that is told of the latest `length` events of a history only.

    What was seen before stays refused, since the caller's mask says so: only what is known of the user differs.
    """

    channel: Channel
    length: int

    @property
    def name(self) -> str:
        return self.channel.name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        return self.channel.retrieve(queries.latest(self.length), k, allowed=allowed)

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        return self.channel.explain(queries.latest(self.length), candidates)


def measure(job: Job, dataset: Dataset, say: Say) -> dict[str, Any]:
    """Train the job's channel and say everything that tables and figures need, as plain values.

    Returns
    -------
    dict
        `row`: as `headwater evaluate` has it, both protocols. `item_to_item`: the same of retrieval by the similarity
        of items, None where the model has none. `by_length`: full ranking for each of `LENGTHS`. `views`: see `views`.
        `seconds`: of all of it.
    """
    started = time.perf_counter()
    kept: list[Channel] = []
    with threads_of(getattr(getattr(job.settings, "training", None), "threads", None)):
        table = evaluate_recipe(job.recipe, dataset, say=say, keep=kept.append)
        channel, split, row = kept[0], job.recipe.split.split(dataset), table.rows[0]
        sampled = published_negatives(dataset, split) or SampledNegatives(seed=job.recipe.evaluate.seed)
        if isinstance(sampled, ListedNegatives):
            row = replace(
                row, sampled=evaluate(channel, split.test, sampled, train=split.train, ks=job.recipe.evaluate.ks)
            )
        return {
            "row": row.to_json(),
            "item_to_item": _item_to_item(channel, job, dataset, split, sampled, say),
            "by_length": _by_length(channel, split, say),
            "views": views(channel, split, say),
            "seconds": round(time.perf_counter() - started, 1),
        }


def published_negatives(dataset: Dataset, split: Split) -> ListedNegatives | None:
    """The negatives that came with the data, as the user attribute `negatives` (item ids).

    None where there are none, or not for every user that is asked. Ids without an interaction are left out.
    """
    if "negatives" not in dataset.user_attributes.column_names:
        return None
    of_users = dataset.user_attributes.column("negatives").to_pylist()
    codes = [dataset.items.encode(of_users[user] or []) for user in split.test.queries.users.tolist()]
    known = [listed[listed >= 0] for listed in codes]
    if not all(len(listed) for listed in known):
        return None
    offsets = np.concatenate([[0], np.cumsum([len(listed) for listed in known])]).astype(np.int64)
    return ListedNegatives(offsets, np.concatenate(known))


def _item_to_item(
    channel: Channel, job: Job, dataset: Dataset, split: Split, protocol: Protocol, say: Say
) -> dict[str, Any] | None:
    if not has_item_to_item(channel):
        return None
    say(f"evaluating {channel.name} from item to item")
    by_items, ks = ItemToItem(channel), job.recipe.evaluate.ks
    full = evaluate(by_items, split.test, FullRanking(), train=split.train, ks=ks)
    sampled = evaluate(by_items, split.test, protocol, train=split.train, interactions=dataset, ks=ks)
    return {"full": full.to_json(), "sampled": sampled.to_json()}


def _by_length(channel: Channel, split: Split, say: Say) -> list[dict[str, Any]]:
    found = []
    for length in LENGTHS:
        say(f"evaluating {channel.name} on {'whole histories' if length is None else f'the latest {length} events'}")
        asked = channel if length is None else Forgetful(channel, length)
        full = evaluate(asked, split.test, FullRanking(), train=split.train, ks=LENGTH_CUTOFFS)
        found.append({"length": length, "full": full.to_json()})
    return found
