"""Building knowledge: what the two small models say of every user, item, and observed pair of user and category."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.impressions import DAY, Impressions
from headwater.data.levels import attribute_levels
from headwater.data.vocabulary import UNKNOWN, key_of
from headwater.errors import ConfigError
from headwater.knowledge.built import MAX_CATEGORIES, Built, write_built
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build(
    decomposition: Decomposition,
    degeneration: Degeneration,
    impressions: Impressions,
    folder: Path,
    *,
    as_of: int | None = None,
) -> Built:
    """Write [K̂_u, K̂_i, K̂_uc] of everybody into `folder`, for a center to publish.

    Parameters
    ----------
    decomposition, degeneration
        Trained on the super-domain.
    impressions : Impressions
        Of the super-domain: whose users and items there are, and which categories each user was shown or acted on.
    as_of : int, optional
        Unix second; histories hold the events before it. One after the last impression and event without.

    Raises
    ------
    ConfigError
        There are more categories than 16 bits tell apart.
    LineageError
        A model was trained on other vocabularies.
    ArtefactError
        A number does not fit half precision.
    """
    attribute = degeneration.config.item_attributes[0]
    of_items, names = attribute_levels(impressions.item_attributes, attribute)
    if len(names) > MAX_CATEGORIES:
        raise ConfigError(f"{attribute!r} has {len(names):,} values, and a center tells {MAX_CATEGORIES:,} apart")
    if as_of is None:
        as_of = 1 + int(max(impressions.times.max(initial=0), impressions.history_times.max(initial=0)))
    n_users, n_items, n_categories = len(impressions.users), len(impressions.items), len(names)
    user_order, item_order = np.argsort(impressions.users.keys), np.argsort(impressions.items.keys)

    # Codes of categories follow their keys; an empty name is no category.
    keys = np.array([key_of(name) for name in names], np.int64)
    is_named = np.array([bool(name) for name in names], bool)
    by_key = np.flatnonzero(is_named)[np.argsort(keys[is_named])]
    code = np.full(n_categories, len(by_key))
    code[by_key] = np.arange(len(by_key))
    categories = code[of_items]
    examples = np.full(len(by_key), UNKNOWN)  # an item of each category: the model reads nothing else of it
    seen, first = np.unique(categories, return_index=True)
    examples[seen[seen < len(by_key)]] = first[seen < len(by_key)]

    pair_users, pair_categories = _observed(impressions, categories, len(by_key))
    place = np.empty(n_users, np.int64)
    place[user_order] = np.arange(n_users)
    order = np.lexsort((pair_categories, place[pair_users]))
    pair_users, pair_categories = pair_users[order], pair_categories[order]
    width = decomposition.config.hidden[-1]

    def of(users: NDArray[np.integer], items: NDArray[np.integer]) -> Impressions:
        return _probe(impressions, users, items, as_of)

    nobody = np.full(1, UNKNOWN)
    nobodys_users, nobodys_items = np.full(n_users, UNKNOWN), np.full(n_items, UNKNOWN)
    of_users = decomposition.knowledge(of(user_order, nobodys_users))[:, :width]
    of_items_ = decomposition.knowledge(of(nobodys_items, item_order))[:, width : 2 * width]
    default = decomposition.knowledge(of(nobody, nobody))[0]
    with_unknown = np.append(examples, UNKNOWN)
    arrays = {
        "user_keys": impressions.users.keys[user_order],
        "users": of_users,
        "pair_offsets": np.append(0, np.cumsum(np.bincount(place[pair_users], minlength=n_users))),
        "pair_categories": pair_categories,
        "pairs": degeneration.knowledge(of(pair_users, examples[pair_categories])),
        "item_keys": impressions.items.keys[item_order],
        "items": of_items_,
        "item_categories": categories[item_order],
        "category_keys": keys[by_key],
        "default_user": default[:width],
        "default_item": default[width : 2 * width],
        "default_pairs": degeneration.knowledge(of(np.full(len(with_unknown), UNKNOWN), with_unknown)),
    }
    about = {
        "parts": {**decomposition.parts, **degeneration.parts},
        "users": impressions.users.fingerprint(),
        "items": impressions.items.fingerprint(),
        "made_of": [decomposition.identity, degeneration.identity],
        "as_of": as_of,
        "data": impressions.name,
    }
    return write_built(folder, arrays, about)


def _observed(
    impressions: Impressions, categories: NDArray[np.int64], n_categories: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct (user, category) of impressions and of histories; what has no category has no pair."""
    owners = np.repeat(np.arange(len(impressions.users)), np.diff(impressions.history_offsets))
    users = np.concatenate([impressions.user_codes, owners]).astype(np.int64)
    items = np.concatenate([impressions.item_codes, impressions.history_items])
    known = (users != UNKNOWN) & (items != UNKNOWN)
    users, of_pairs = users[known], categories[items[known]]
    found = np.unique((users * (n_categories + 1) + of_pairs)[of_pairs < n_categories])
    return found // (n_categories + 1), found % (n_categories + 1)


def _probe(
    impressions: Impressions, users: NDArray[np.integer], items: NDArray[np.integer], moment: int
) -> Impressions:
    """Questions at one moment, as impressions without labels that say anything."""
    n = len(users)
    return replace(
        impressions,
        user_codes=users.astype(np.int32),
        item_codes=items.astype(np.int32),
        times=np.full(n, moment, np.int64),
        days=np.full(n, (moment - impressions.day_zero) // DAY, np.int32),
        labels={task: np.zeros(n, np.int8) for task in impressions.labels},
        context={name: np.zeros(n, np.int32) for name in impressions.context},
        sub_domains=None,
        sub_domain_names=(),
    )
