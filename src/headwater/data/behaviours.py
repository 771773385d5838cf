"""Logs of clicks, carts and purchases as impressions, beside negatives that are drawn by a stated rule.

Such logs (Taobao's user behaviour among them) say what users did and not what they were shown, so no figure on them
speaks of a ranking that was served. What is drawn is labelled so wherever it is shown.
"""

from __future__ import annotations

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import DAY, Impressions
from headwater.data.levels import CLOCK, clock_context
from headwater.data.schema import Behaviour
from headwater.errors import SchemaError

ROUNDS = 16
"""A draw that hits what its user did that day is made again, so many times at most; then it is left out."""


def behaviour_impressions(dataset: Dataset, *, negatives: int = 4, seed: int = 0, utc_offset: int = 0) -> Impressions:
    """One clicked impression for each user, item and day, and `negatives` drawn ones at the same moment.

    The rule. The first click of a user on an item on a day is an impression with click = 1. It has cart = 1, or
    conversion = 1, where the user puts the item into the cart, or buys it, at that moment or later on that day;
    carts and purchases without a click earlier on their day are left out of the labels, and stay in the histories.
    For each such impression, `negatives` items are drawn with replacement, in proportion to how many users clicked
    them on that day, from those that the user did nothing with on that day; they have the same user and time and are
    labelled 0. So an item's popularity on a day says nothing about its label, and a position is unknown.

    Parameters
    ----------
    dataset : Dataset
        With times in seconds.
    negatives : int
        At least 1.
    seed : int
        Of the draw.
    utc_offset : int
        As in `Impressions.of_columns`.

    Raises
    ------
    SchemaError
        The data set has no times, no click, or its ids and days are too many for 64-bit keys.
    """
    if dataset.time_unit != "seconds":
        raise SchemaError(f"{dataset.name} has positions, not times: nobody can say what happened on one day")
    if negatives < 1:
        raise SchemaError(f"each clicked impression needs at least 1 negative beside it, not {negatives}")
    users, items, times = dataset.event_users, dataset.event_items, dataset.event_times
    days = (times + utc_offset) // DAY
    first_day = int(days.min()) if len(days) else 0
    span = int(days.max()) - first_day + 1 if len(days) else 1
    n_users, n_items = len(dataset.users), len(dataset.items)
    if span * n_users * n_items >= 1 << 63:
        raise SchemaError(
            f"{dataset.name}: {span:,} days of {n_users:,} users and {n_items:,} items are too many at once"
        )
    key = ((days - first_day) * n_users + users) * n_items + items

    # Events of a user are in time order, so the first of each key is the earliest click.
    is_click = dataset.event_behaviours == Behaviour.CLICK
    clicked, at = np.unique(key[is_click], return_index=True)
    if not len(clicked):
        raise SchemaError(f"{dataset.name} has no click, so there is no impression that was clicked")
    at = np.flatnonzero(is_click)[at]
    labels = {"click": np.ones(len(at), np.int8)}
    for task, behaviour in (("cart", Behaviour.CART), ("conversion", Behaviour.PURCHASE)):
        acted = dataset.event_behaviours == behaviour
        if acted.any():
            latest = _latest(key[acted], times[acted])
            labels[task] = (_look_up(latest, clicked, -1) >= times[at]).astype(np.int8)

    order = np.argsort(days[at], kind="stable")
    at = at[order]
    labels = {task: values[order] for task, values in labels.items()}
    rows, drawn = _draw(days[at] - first_day, users[at], items[at], np.unique(key), negatives, seed, n_users, n_items)
    row = np.concatenate([np.arange(len(at)), rows])
    shown = np.concatenate([items[at], drawn]).astype(np.int32)
    zeros = np.zeros(len(drawn), np.int8)
    return Impressions.of_columns(
        f"{dataset.name} ({negatives} sampled negatives)",
        dataset.users,
        dataset.items,
        user_codes=users[at][row],
        item_codes=shown,
        times=times[at][row],
        labels={task: np.concatenate([values, zeros]) for task, values in labels.items()},
        histories=dataset,
        context=clock_context(times[at][row], utc_offset),
        context_levels=CLOCK,
        user_attributes=dataset.user_attributes,
        item_attributes=dataset.item_attributes,
        utc_offset=utc_offset,
        sampled=f"{negatives} items for each clicked one, by clicks of the day, without what the user did that day, "
        f"seed {seed}",
    )


def _latest(keys: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, ascending, and the latest time of each."""
    order = np.lexsort((times, keys))
    keys, times = keys[order], times[order]
    is_last = np.append(keys[1:] != keys[:-1], True)
    return keys[is_last], times[is_last]


def _look_up(table: tuple[np.ndarray, np.ndarray], keys: np.ndarray, otherwise: int) -> np.ndarray:
    known, values = table
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, values[at], otherwise)


def _draw(
    days: np.ndarray,
    users: np.ndarray,
    items: np.ndarray,
    done: np.ndarray,
    negatives: int,
    seed: int,
    n_users: int,
    n_items: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(row of its positive, item) of each negative. Rows are sorted by day; a random one of a day is its popularity."""
    random = np.random.default_rng(seed)
    starts = np.searchsorted(days, days, side="left")
    sizes = np.searchsorted(days, days, side="right") - starts
    open_rows = np.repeat(np.arange(len(days)), negatives)
    drawn = np.full(len(open_rows), -1, np.int64)
    waiting = np.arange(len(open_rows))
    for _ in range(ROUNDS):
        row = open_rows[waiting]
        item = items[starts[row] + (random.random(len(row)) * sizes[row]).astype(np.int64)]
        key = (days[row] * n_users + users[row]) * n_items + item
        at = np.minimum(np.searchsorted(done, key), len(done) - 1)
        is_free = done[at] != key
        drawn[waiting[is_free]] = item[is_free]
        waiting = waiting[~is_free]
        if not len(waiting):
            break
    kept = drawn >= 0
    return open_rows[kept], drawn[kept]
