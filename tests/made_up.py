"""Made-up impressions that rankers' tests share: users click what is of their home category."""

from typing import Any

import numpy as np
import pyarrow as pa

from headwater.data import Dataset, Impressions, Vocabulary
from headwater.data.impressions import DAY
from headwater.nn.training import TrainingConfig

USERS, ITEMS, CATEGORIES, PER_DAY = 40, 40, 4, 600
SCENARIOS = ("", "homepage", "search")

TRAINING = TrainingConfig(epochs=1, batch_size=32, device="cpu", learning_rate=1e-2, precision="fp32")
SMALL: dict[str, Any] = {
    "dimension": 4,
    "unit_hidden": 6,
    "hidden": (12, 8, 6),
    "length": 10,
    "training": TRAINING,
    "item_attributes": ("category", "shop"),
}


def impressions(
    days: int = 6, *, seed: int = 0, tasks: tuple[str, ...] = ("click", "cart", "conversion")
) -> Impressions:
    """`PER_DAY` impressions a day; some of unknown items and users. Of fewer days, the beginning of a longer log."""
    random = np.random.default_rng(seed)
    users, items, scenarios, click, cart, times = [], [], [], [], [], []
    for day in range(days):
        some = random.integers(0, USERS, PER_DAY)
        shown = random.integers(0, ITEMS, PER_DAY)
        liked = random.random(PER_DAY) < np.where(shown % CATEGORIES == some % CATEGORIES, 0.9, 0.1)
        users.append(np.where(random.random(PER_DAY) < 0.02, -1, some))
        items.append(np.where(random.random(PER_DAY) < 0.02, -1, shown))
        click.append(liked)
        cart.append(liked & (random.random(PER_DAY) < 0.5))
        scenarios.append(random.integers(1, 3, PER_DAY))
        times.append(day * DAY + np.sort(random.integers(0, DAY, PER_DAY)))
    columns = {
        "user_codes": np.concatenate(users).astype(np.int32),
        "item_codes": np.concatenate(items).astype(np.int32),
        "times": np.concatenate(times).astype(np.int64),
    }
    clicked, carted = np.concatenate(click), np.concatenate(cart)
    vocabularies = Vocabulary(np.arange(1, USERS + 1)), Vocabulary([f"item {code}" for code in range(ITEMS)])
    is_event = clicked & (columns["user_codes"] >= 0) & (columns["item_codes"] >= 0)
    histories = Dataset.from_events(
        "clicks",
        *vocabularies,
        event_users=columns["user_codes"][is_event],
        event_items=columns["item_codes"][is_event],
        event_times=columns["times"][is_event],
    )
    labels = {"click": clicked, "cart": carted, "conversion": carted & (columns["item_codes"] % 2 == 0)}
    return Impressions.of_columns(
        "made up",
        *vocabularies,
        **columns,
        labels={task: labels[task].astype(np.int8) for task in tasks},
        histories=histories,
        context={"scenario": np.concatenate(scenarios).astype(np.int32)},
        context_levels={"scenario": SCENARIOS},
        item_attributes=pa.table(
            {
                "id": vocabularies[1].ids,
                "category": [f"c{code % CATEGORIES}" for code in range(ITEMS)],
                "shop": [None if code % 9 == 0 else code % 5 for code in range(ITEMS)],
            }
        ),
        user_attributes=pa.table({"id": vocabularies[0].ids, "age": np.linspace(18, 80, USERS)}),
        day_zero=0,
    )
