"""What a data set without impressions gives a ranker to learn from: rated events, or events beside sampled items."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.levels import CLOCK, clock_context
from headwater.data.rated import rated_impressions
from headwater.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.ranking.config import NetworkConfig

SAMPLING_POWER = 0.75
"""Negatives are drawn in proportion to interactions to this power, as in word2vec."""

ROUNDS = 20
"""How often a draw that the user has an event with is drawn again before it is left out."""


def examples_of(dataset: Dataset, config: NetworkConfig) -> Impressions:
    """Impressions by the rule that `config.examples` names.

    Unlike `rated_impressions`, the behaviour sequence holds *every* earlier event of the user: it is what a service's
    profile keeps, which knows no ratings.

    Raises
    ------
    ConfigError
        Ratings are asked for and there are none.
    """
    rule = config.examples
    if rule == "auto":
        rule = "sampled" if dataset.event_ratings is None else "rated"
    if rule == "sampled":
        return sampled_impressions(dataset, config.negatives, seed=config.training.seed)
    if dataset.event_ratings is None:
        raise ConfigError(f"{dataset.name} has no ratings: set examples = 'sampled'")
    return replace(
        rated_impressions(dataset, click=config.clicked_rating),
        history_offsets=dataset.offsets,
        history_items=dataset.event_items,
        history_times=dataset.event_times,
        history_behaviours=dataset.event_behaviours,
    )


def sampled_impressions(dataset: Dataset, negatives: int, *, seed: int = 0) -> Impressions:
    """Every event as a clicked impression, beside `negatives` at its time that were not clicked.

    Negatives are drawn in proportion to interactions^0.75 among items that the user has no event with at all; of a
    user who has nearly everything there are fewer.
    """
    users, items = dataset.event_users, dataset.event_items
    drawn_users = np.repeat(users, negatives)
    drawn, is_found = _draw(dataset, drawn_users, np.random.default_rng(seed))
    times = np.concatenate([dataset.event_times, np.repeat(dataset.event_times, negatives)[is_found]])
    has_clock = dataset.time_unit == "seconds"
    return Impressions.of_columns(
        f"{dataset.name} ({negatives} sampled)",
        dataset.users,
        dataset.items,
        user_codes=np.concatenate([users, drawn_users[is_found]]),
        item_codes=np.concatenate([items, drawn[is_found]]),
        times=times,
        labels={"click": np.repeat([1, 0], [len(users), int(is_found.sum())]).astype(np.int8)},
        histories=dataset,
        context=clock_context(times, 0) if has_clock else None,
        context_levels=CLOCK if has_clock else None,
        user_attributes=dataset.user_attributes,
        item_attributes=dataset.item_attributes,
        sampled=f"{negatives} an event, by interactions^{SAMPLING_POWER}, none that the user has an event with",
    )


def _draw(
    dataset: Dataset, users: NDArray[np.int32], random: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """An item for each user that they have no event with, and whether one was found."""
    weights = dataset.item_counts.astype(np.float64) ** SAMPLING_POWER
    heap = np.cumsum(weights) / max(weights.sum(), 1.0)
    known = np.unique(dataset.event_users.astype(np.int64) * len(dataset.items) + dataset.event_items)
    drawn = np.zeros(len(users), np.int32)
    open_rows = np.arange(len(users))
    for _ in range(ROUNDS):
        if not len(open_rows):
            break
        drawn[open_rows] = np.minimum(np.searchsorted(heap, random.random(len(open_rows)), "right"), len(heap) - 1)
        pairs = users[open_rows].astype(np.int64) * len(dataset.items) + drawn[open_rows]
        at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
        open_rows = open_rows[known[at] == pairs]
    is_found = np.ones(len(users), bool)
    is_found[open_rows] = False
    return drawn, is_found
