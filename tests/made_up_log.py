"""A made-up log that ranking models can learn something from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from headwater.data import Dataset, Impressions, Vocabulary
from headwater.data.schema import Behaviour

DAY = 86_400
CATEGORIES = 4


def made_up(
    n: int = 6_000, *, days: int = 8, users: int = 40, items: int = 60, seed: int = 3, conversions: bool = True
) -> Impressions:
    """Users click what is of their home category, good items more, and buy half of the cheap things that they click.

    Click logit: 2.5 where the item is of the user's category, plus the item's quality in -1..1, minus 1.5.
    """
    random = np.random.default_rng(seed)
    who, what = random.integers(0, users, n), random.integers(0, items, n)
    when = np.sort(random.integers(0, days * DAY, n)) + 1_600_000_000 // DAY * DAY
    quality, price = random.uniform(-1, 1, items), random.uniform(0, 1, items)
    is_home = what % CATEGORIES == who % CATEGORIES
    click = random.random(n) < 1 / (1 + np.exp(-(2.5 * is_home + quality[what] - 1.5)))
    conversion = click & (price[what] < 0.5) & (random.random(n) < 0.8)
    user_vocabulary, item_vocabulary = (
        Vocabulary(np.arange(500, 500 + users)),
        Vocabulary([f"i{at}" for at in range(items)]),
    )
    histories = Dataset.from_events(
        "clicks",
        user_vocabulary,
        item_vocabulary,
        event_users=who[click].astype(np.int32),
        event_items=what[click].astype(np.int32),
        event_times=when[click],
        event_behaviours=np.full(int(click.sum()), Behaviour.CLICK, np.int8),
    )
    labels = {"click": click.astype(np.int8)}
    return Impressions.of_columns(
        "made up",
        user_vocabulary,
        item_vocabulary,
        user_codes=who.astype(np.int32),
        item_codes=what.astype(np.int32),
        times=when,
        labels=labels | ({"conversion": conversion.astype(np.int8)} if conversions else {}),
        histories=histories,
        context={"scenario": random.integers(1, 3, n).astype(np.int32)},
        context_levels={"scenario": ("", "home", "search")},
        sub_domains=(what % 2).astype(np.int32),
        sub_domain_names=("even", "odd"),
        item_attributes=pa.table(
            {
                "category": [f"c{at % CATEGORIES}" for at in range(items)],
                "tags": [[f"t{at % 3}", f"t{at % 5}"] if at % 7 else None for at in range(items)],
                "price": pa.array([None if at % 11 == 0 else float(price[at]) for at in range(items)], pa.float64()),
            }
        ),
        user_attributes=pa.table({"level": [at % 3 for at in range(users)]}),
    )
