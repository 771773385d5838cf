"""Six surfaces, each with its own source of candidates: which shelves a visit's candidates come from, and how many.

What a source knows is the request (user, item on view or query) and the user's clicks; never what the user wants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.queries import Queries
from headwater.data.schema import Behaviour
from headwater.simulation.catalogue import Catalogue, Shelves
from headwater.simulation.config import SCENARIOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOMEPAGE, MAIN_SEARCH, PHOTO_SEARCH, POST_PURCHASE, IN_SHOP, MINI_DETAIL = range(len(SCENARIOS))
NO_ITEM = -1
NO_SHELF = -1
SHELVES = 5
"""Shelves that one visit's candidates come from, at most."""


@dataclass(frozen=True, slots=True)
class Requests:
    """n visits as the platform sees them before it answers.

    Attributes
    ----------
    users : (n,) int32
    scenarios : (n,) int8
        Codes, see `SCENARIOS`.
    times : (n,) int64
        Seconds after the start.
    moments : (n,) int64
        Number the visits of a user: what draws are named by.
    context : (n,) int32
        The item on view (mini-detail), bought (post-purchase), photographed (photo search) or whose shop it is
        (in-shop); `NO_ITEM` elsewhere.
    queries : (n,) int32
        The category that a search asked for; -1 elsewhere.
    """

    users: NDArray[np.int32]
    scenarios: NDArray[np.int8]
    times: NDArray[np.int64]
    moments: NDArray[np.int64]
    context: NDArray[np.int32]
    queries: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, at: NDArray[np.bool_] | NDArray[np.integer]) -> Requests:
        """The requests at these places."""
        return Requests(
            self.users[at], self.scenarios[at], self.times[at], self.moments[at], self.context[at], self.queries[at]
        )


def shelves_of(
    requests: Requests, catalogue: Catalogue, shelves: Shelves, latest: NDArray[np.int32], ranked: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where each visit's candidates come from.

    Parameters
    ----------
    latest : (n, 3) int32
        The items that each user clicked last, newest first; `NO_ITEM` where there were fewer.
    ranked : (6,) int64
        Candidates of each scenario, at most.

    Returns
    -------
    shelves : (n, SHELVES) int32
        `NO_SHELF` where there are fewer.
    quotas : (n, SHELVES) int32
        Items to take of each; what is left over by one goes to the next.
    """
    n = len(requests)
    found = np.full((n, SHELVES), NO_SHELF, np.int32)
    quotas = np.zeros((n, SHELVES), np.int32)
    categories, looks = catalogue.categories, catalogue.looks
    for scenario in np.unique(requests.scenarios).tolist():
        at = np.flatnonzero(requests.scenarios == scenario)
        item, k = requests.context[at], int(ranked[scenario])
        if scenario == HOMEPAGE:
            # Categories of the last clicks, and what sells.
            clicked = latest[at]
            found[at, :3] = np.where(clicked == NO_ITEM, NO_SHELF, shelves.of_category(categories[clicked]))
            found[at, 3] = shelves.everything
            quotas[at, :4] = k // 4
            quotas[at, 3] = k
        elif scenario == MAIN_SEARCH:
            found[at, 0] = shelves.of_category(requests.queries[at])
            quotas[at, 0] = k
        elif scenario == PHOTO_SEARCH:
            # What looks alike, then the rest of the category.
            found[at, 0] = shelves.of_look(looks[item])
            found[at, 1] = shelves.of_category(categories[item])
            quotas[at, :2] = k
        elif scenario == POST_PURCHASE:
            many = min(catalogue.complements.shape[1], SHELVES)
            found[at, :many] = shelves.of_category(catalogue.complements[categories[item]])[:, :many]
            quotas[at, :many] = -(-k // many)
        elif scenario == IN_SHOP:
            found[at, 0] = shelves.of_shop(catalogue.shops[item])
            quotas[at, 0] = k
        else:
            # The category of the item on view, half of it by look, and its department.
            found[at, 0] = shelves.of_look(looks[item])
            found[at, 1] = shelves.of_category(categories[item])
            found[at, 2] = shelves.of_department(catalogue.departments[item])
            quotas[at, 0], quotas[at, 1], quotas[at, 2] = k // 2, k // 2, k
    return found, quotas


def on_view(queries: Queries, requests: Requests) -> Queries:
    """The queries with the item on view, where there is one, as the newest click: what a service makes of it."""
    has_item = requests.context != NO_ITEM
    if not has_item.any():
        return queries
    ends = queries.offsets[1:][has_item]

    def added(values: NDArray, new: NDArray) -> NDArray:
        return np.insert(values, ends, new.astype(values.dtype))

    return replace(
        queries,
        offsets=queries.offsets + np.concatenate([[0], np.cumsum(has_item)]),
        items=added(queries.items, requests.context[has_item]),
        times=added(queries.times, queries.request_times[has_item]),
        behaviours=added(queries.behaviours, np.full(len(ends), Behaviour.CLICK)),
    )
