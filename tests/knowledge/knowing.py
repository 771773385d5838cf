"""Small settings that tests of knowledge share."""

from typing import Any

from made_up import TRAINING

SMALL: dict[str, Any] = {
    "dimension": 4,
    "user_dimension": 6,
    "unit_hidden": 6,
    "hidden": (12, 10, 8, 6),
    "length": 10,
    "training": TRAINING,
}
