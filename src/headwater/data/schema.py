"""What an event is: the columns, their types and the values that are allowed."""

from enum import IntEnum
from typing import Literal


class Behaviour(IntEnum):
    """What a user did with an item, weakest first. Stored as int8."""

    IMPRESSION = 0
    CLICK = 1
    CART = 2
    PURCHASE = 3

    @property
    def is_interaction(self) -> bool:
        """Whether the event counts as relevant; an impression alone does not."""
        return self > Behaviour.IMPRESSION


BEHAVIOURS = tuple(behaviour.name.lower() for behaviour in Behaviour)

IdKind = Literal["integer", "string"]
"""Ids of one vocabulary are all 64-bit integers or all strings, never mixed."""

TimeUnit = Literal["seconds", "position"]
"""`seconds`: Unix time. `position`: only the order within a user is known."""

LATEST_TIME = 4_102_444_800
"""2100-01-01 in Unix seconds: a later event time is absurd (milliseconds, as a rule) and refused."""

TIE_RULE = "events of one user at the same time keep the order of the input"
"""Printed with every result: on ML-1M 53% of a user's successive ratings tie."""
