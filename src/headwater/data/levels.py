"""Levels of a categorical column: dense codes from 1, with level 0 for what is empty or was never seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

CLOCK = {
    "hour": ("", *(f"{hour:02d}" for hour in range(24))),
    "weekday": ("", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
"""Levels of the context that every time gives."""


def levels_of(values: Sequence[Any]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Codes of `values` and the levels' names: the distinct values as text, sorted, after the empty level 0.

    Numbers sort as numbers. None and the empty text are level 0.
    """
    filled = {value for value in values if value is not None and value != ""}
    kinds = {type(value) for value in filled}
    names = ("", *(str(value) for value in sorted(filled, key=None if len(kinds) <= 1 else str)))
    return encode_levels(values, names), names


def encode_levels(values: Sequence[Any], names: Sequence[str]) -> NDArray[np.int32]:
    """(n,) the level of each value among `names`; 0 where it is None, empty, or no level was made for it."""
    code = {name: at for at, name in enumerate(names)}
    return np.fromiter((0 if value is None else code.get(str(value), 0) for value in values), np.int32, len(values))


def attribute_levels(attributes: pa.Table, column: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """`levels_of` one attribute, by code of the user or item; of a list, its first entry."""
    values = attributes.column(column).to_pylist()
    return levels_of([(value[0] if value else None) if isinstance(value, list) else value for value in values])


def clock_context(times: NDArray[np.int64], utc_offset: int) -> dict[str, NDArray[np.int32]]:
    """Levels of `CLOCK` at Unix seconds `times`, by a clock that is `utc_offset` seconds ahead of UTC."""
    local = times + utc_offset
    return {
        "hour": (local % 86_400 // 3_600 + 1).astype(np.int32),
        # 1970-01-01 was a Thursday.
        "weekday": ((local // 86_400 + 3) % 7 + 1).astype(np.int32),
    }
