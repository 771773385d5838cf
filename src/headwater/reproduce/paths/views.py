"""What Figures 8 and 9 show of a trained channel, as numbers: they may be drawn on another machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from headwater.data import Dataset, Queries, Split
from headwater.experiment.measure import Say
from headwater.metrics import SampledNegatives
from headwater.retrieval.base import Channel
from headwater.retrieval.item_to_item import HasSimilarities, neighbours_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # Only where it is: Paths needs compiled kernels, and a machine without them can do the other jobs.
    from headwater.retrieval.paths.channel import Paths

WELL_KNOWN = 8
"""Items of the case study: the most chosen one of each of the largest categories."""

NEIGHBOURS = 10

SIDE = 32
"""Items of each category in Figure 8a: 32 × 32 pairs, about the paper's 1,000, of each pair of categories."""

PEOPLE = 1_000
"""Of each gender in Figure 8c; the paper's number, too."""

ITEMS_EACH = 3
"""Items, at random, that each of them is asked about in each category (the paper: 500 of several categories)."""


def views(channel: Channel, split: Split, say: Say) -> dict[str, Any]:
    """`neighbours` of well known items; of Paths also `category_similarity`, `trigger_weights` and `gender_interest`.

    The last one where users have a gender; nothing where a model does not know items from each other.
    """
    if not has_item_to_item(channel):
        return {}
    say(f"looking at what {channel.name} has learned")
    found: dict[str, Any] = {"neighbours": _neighbours(channel, split.train)}
    if _is_paths(channel):
        found["category_similarity"] = _category_similarity(channel, split.train)
        found["trigger_weights"] = _trigger_weights(channel, split)
        found |= _gender_interest(channel, split)
    return found


def has_item_to_item(channel: Channel) -> TypeGuard[HasSimilarities]:
    """Whether the model says how similar two items are; vectors of a path do not, without a user."""
    return isinstance(channel, HasSimilarities) and not (_is_paths(channel) and channel.config.is_vector)


def _is_paths(channel: object) -> TypeGuard[Paths]:
    return getattr(channel, "kind", "") == "paths"


def well_known(data: Dataset) -> list[int]:
    """The most chosen item of each of the categories with most interactions, those first; each item once."""
    codes, names = data.categories
    weight = np.bincount(codes, weights=data.item_counts, minlength=len(names))
    best = [
        int(np.flatnonzero(codes == code)[data.item_counts[codes == code].argmax()]) for code in np.argsort(-weight)
    ]
    if len(best) < WELL_KNOWN:  # no categories, or few
        best += np.argsort(-data.item_counts, kind="stable")[: 2 * WELL_KNOWN].tolist()
    return list(dict.fromkeys(best))[:WELL_KNOWN]


def _neighbours(channel: HasSimilarities, data: Dataset) -> list[dict[str, Any]]:
    return [
        {
            **_said(data, item),
            "neighbours": [
                {**_said(data, other), "similarity": float(similarity)}
                for other, similarity in zip(*neighbours_of(channel, item, NEIGHBOURS), strict=True)
            ],
        }
        for item in well_known(data)
    ]


def _said(data: Dataset, item: int) -> dict[str, Any]:
    codes, names = data.categories
    return {
        "title": data.titles[item],
        "category": names[codes[item]],
        "interactions": int(data.item_counts[item]),
    }


def _category_similarity(channel: Paths, data: Dataset) -> dict[str, Any]:
    """Figure 8a: the mean of softplus(s_ji) over pairs of different items, for each pair of categories."""
    random = np.random.default_rng(0)
    names, members = _categories(data)
    drawn = [random.choice(items, min(SIDE, len(items)), replace=False) for items in members]
    everything = np.concatenate(drawn)
    similarities = channel.similarities(everything, everything).astype(np.float64)
    np.fill_diagonal(similarities, np.nan)  # an item with itself is no pair
    starts = np.concatenate([[0], np.cumsum([len(items) for items in drawn])])
    mean = [[float(np.nanmean(similarities[a:b, c:d])) for c, d in pairwise(starts)] for a, b in pairwise(starts)]
    return {"categories": names, "mean": mean}


def _categories(data: Dataset) -> tuple[list[str], list[NDArray[np.int64]]]:
    """Categories with two items that were chosen, and these items; those with most interactions first."""
    codes, names = data.categories
    weight = np.bincount(codes, weights=data.item_counts, minlength=len(names))
    found = [(names[code], np.flatnonzero((codes == code) & (data.item_counts > 0))) for code in np.argsort(-weight)]
    return [name for name, items in found if len(items) > 1], [items for _, items in found if len(items) > 1]


def _trigger_weights(channel: Paths, split: Split) -> dict[str, float]:
    """Figure 8b: the mean of t_uj over users, of the item that each chose next and of one that they never chose.

    Both are put in the place of the latest event, so that nothing else of the trigger differs.
    """
    test = split.test
    queries = _with_history(test.queries)
    kept = np.flatnonzero(test.queries.lengths > 0)
    chosen = test.targets[test.offsets[:-1]][kept]
    never = _never_chosen(queries, chosen, len(split.train.items))
    positive, negative = (channel.latest_interests(_latest_is(queries, items)) for items in (chosen, never))
    return {
        "positive": float(np.mean(positive, dtype=np.float64)),
        "negative": float(np.mean(negative, dtype=np.float64)),
        "higher": float((positive > negative).mean()),
        "users": len(queries),
    }


def _gender_interest(channel: Paths, split: Split) -> dict[str, Any]:
    """Figure 8c: for each category, how much more (or less) t_uj is for the first gender than for the second.

    Items of the category take the place of the latest event of people of either gender, some for each person.
    """
    attributes = split.train.user_attributes
    if "gender" not in attributes.column_names:
        return {}
    gender = np.array([str(value or "") for value in attributes.column("gender").to_pylist()])
    genders = sorted(set(gender.tolist()) - {""})
    queries = _with_history(split.test.queries)
    if len(genders) != 2 or (queries.users < 0).any():
        return {}
    random = np.random.default_rng(0)
    rows = [np.flatnonzero(gender[queries.users] == one) for one in genders]
    people = [queries.take(random.choice(of_one, min(PEOPLE, len(of_one)), replace=False)) for of_one in rows]
    names, members = _categories(split.train)
    difference = []
    for items in members:
        first, second = (
            np.mean(
                [
                    channel.latest_interests(
                        _latest_is(asked, random.choice(items, len(asked)).astype(np.int32))
                    ).mean()
                    for _ in range(ITEMS_EACH)
                ]
            )
            for asked in people
        )
        difference.append(float(second - first))
    return {
        "gender_interest": {
            "categories": names,
            "difference": difference,
            "more": genders[1],
            "less": genders[0],
            "people": [len(asked) for asked in people],
        }
    }


def _with_history(queries: Queries) -> Queries:
    return queries.take(np.flatnonzero(queries.lengths > 0))


def _latest_is(queries: Queries, item: NDArray[np.int32] | int) -> Queries:
    """The requests with another item as their latest event; all have one."""
    items = queries.items.copy()
    items[queries.offsets[1:] - 1] = item
    return replace(queries, items=items)


def _never_chosen(queries: Queries, targets: NDArray[np.int32], n_items: int) -> NDArray[np.int32]:
    """(n,) for each request an item outside its history and target, uniformly drawn under a fixed seed."""
    rows = np.concatenate([queries.rows(), np.arange(len(queries))])
    items = np.concatenate([queries.items, targets])
    order = np.argsort(rows, kind="stable")
    offsets = np.searchsorted(rows[order], np.arange(len(queries) + 1))
    return SampledNegatives(1, seed=0).draw(offsets, items[order], n_items)[1]
