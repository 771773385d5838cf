"""Built knowledge whose every number says which one it is of."""

from pathlib import Path

import numpy as np

from headwater.data.vocabulary import key_of
from headwater.knowledge.built import Built, write_built

USERS, ITEMS, CATEGORIES, WIDTH, OF_PAIRS = 60, 40, 5, 4, 6
NAMES = [f"c{code}" for code in range(CATEGORIES)]


def made_up_built(folder: Path, mark: float = 1.0, *, n_users: int = USERS, **changed: object) -> Built:
    """Users 1, 2, …, items 1, 2, …; user u was observed with the category codes below u % CATEGORIES.

    Vectors of users are `mark`, those of items `mark`, of pairs `mark`; defaults are minus `mark`.
    """
    observed = np.arange(n_users) % CATEGORIES
    counts = np.append(0, np.cumsum(observed))
    keys = np.sort([key_of(name) for name in NAMES])
    arrays = {
        "user_keys": np.arange(1, n_users + 1),
        "users": np.full((n_users, WIDTH), mark),
        "pair_offsets": counts,
        "pair_categories": np.concatenate([np.arange(n) for n in observed]),
        "pairs": np.full((counts[-1], OF_PAIRS), mark),
        "item_keys": np.arange(1, ITEMS + 1),
        "items": np.full((ITEMS, WIDTH), mark),
        "item_categories": np.arange(ITEMS) % (CATEGORIES + 1),
        "category_keys": keys,
        "default_user": np.full(WIDTH, -mark),
        "default_item": np.full(WIDTH, -mark),
        "default_pairs": np.full((CATEGORIES + 1, OF_PAIRS), -mark),
    }
    about = {
        "parts": {"user": WIDTH, "item": WIDTH, "product": WIDTH, "click": OF_PAIRS},
        "users": "u",
        "items": "i",
        "made_of": ["a", "b"],
        "as_of": 0,
        "data": "made up",
    }
    return write_built(folder, {**arrays, **changed}, about)
