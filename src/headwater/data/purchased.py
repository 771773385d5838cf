"""Purchases as impressions: what was bought was clicked, beside sampled items that were not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.levels import CLOCK, attribute_levels, clock_context
from headwater.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLING_POWER = 0.75
"""Items are drawn in proportion to purchases to this power, as in word2vec."""

ROUNDS = 20
"""How often an item that was bought in the same basket is drawn again before the draw is left out."""


def purchased_impressions(
    dataset: Dataset, *, negatives: int = 1, within: str = "department", seed: int = 0, utc_offset: int = 0
) -> Impressions:
    """Every event as a clicked impression, each followed by `negatives` at its time that were not clicked.

    Nobody recorded what a customer saw and left in a shop. Negatives are drawn among the items that share the attribute
    `within` with what was bought, so that which aisle a customer stood in says nothing; by popularity, so that what
    everybody buys says little; and without what is in the same basket, which is the customer's events of that second.
    What was bought on other days is not left out: then 'never bought before' would mark a negative.

    Parameters
    ----------
    dataset : Dataset
        With times in seconds.
    negatives : int
        Draws for each event.
    within : str
        An item attribute, whose values also are the sub-domains; items without one are one group.
    seed : int
    utc_offset : int
        As in `Impressions.of_columns`.

    Raises
    ------
    SchemaError
        There are no times, or no such attribute.
    """
    if dataset.time_unit != "seconds":
        raise SchemaError(f"{dataset.name} has positions and no times, so it cannot be read as purchases")
    if within not in dataset.item_attributes.column_names:
        known = ", ".join(dataset.item_attributes.column_names)
        raise SchemaError(f"{dataset.name} has no item attribute {within!r} to draw within; it has {known}")
    groups, names = attribute_levels(dataset.item_attributes, within)
    drawn, is_found = _draw(dataset, groups, negatives, np.random.default_rng(seed))
    items = np.concatenate([dataset.event_items[:, None], drawn], 1)
    is_row = np.concatenate([np.ones((len(dataset), 1), bool), is_found], 1)
    users = np.broadcast_to(dataset.event_users[:, None], items.shape)[is_row]
    times = np.broadcast_to(dataset.event_times[:, None], items.shape)[is_row]
    is_click = np.zeros(items.shape, np.int8)
    is_click[:, 0] = 1
    return Impressions.of_columns(
        f"{dataset.name} (purchases, {negatives} sampled for each)",
        dataset.users,
        dataset.items,
        user_codes=users,
        item_codes=items[is_row],
        times=times,
        labels={"click": is_click[is_row]},
        histories=dataset,
        context=clock_context(times, utc_offset),
        context_levels=CLOCK,
        sub_domains=groups[items[is_row]],
        sub_domain_names=names,
        user_attributes=dataset.user_attributes,
        item_attributes=dataset.item_attributes,
        utc_offset=utc_offset,
        sampled=f"{negatives} a purchase, of the same {within}, by purchases^{SAMPLING_POWER}, none of the same basket",
    )


def _draw(
    dataset: Dataset, groups: NDArray[np.int32], negatives: int, random: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(events, negatives) items of each event's group that its basket does not hold, and whether one was found."""
    by_group = np.argsort(groups, kind="stable")
    weights = np.concatenate([[0.0], np.cumsum(dataset.item_counts[by_group].astype(np.float64) ** SAMPLING_POWER)])
    borders = np.searchsorted(groups[by_group], np.arange(int(groups.max(initial=0)) + 2))
    wanted = groups[dataset.event_items]
    low, high = weights[borders[wanted]], weights[borders[wanted + 1]]
    baskets = _baskets(dataset) * len(dataset.items)
    known = np.unique(baskets + dataset.event_items)
    drawn = np.zeros((len(dataset), negatives), np.int32)
    is_open = np.ones(drawn.shape, bool)
    for _ in range(ROUNDS):
        rows, columns = np.nonzero(is_open)
        if not len(rows):
            break
        at = low[rows] + random.random(len(rows)) * (high - low)[rows]
        # Sums of floats: the last of a group must not be the first of the next one.
        place = np.clip(np.searchsorted(weights, at, "right") - 1, borders[wanted[rows]], borders[wanted[rows] + 1] - 1)
        drawn[rows, columns] = by_group[place]
        keys = baskets[rows] + drawn[rows, columns]
        found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        is_open[rows, columns] = known[found] == keys
    return drawn, ~is_open


def _baskets(dataset: Dataset) -> NDArray[np.int64]:
    """A number for each event that it shares with its user's events of the same second alone."""
    users, times = dataset.event_users, dataset.event_times
    is_new = np.append(True, (users[1:] != users[:-1]) | (times[1:] != times[:-1]))[: len(users)]
    return np.cumsum(is_new) - 1
