"""Settings that the baselines share."""

from __future__ import annotations

from pydantic import Field

from headwater.config import Settings


class BaselineConfig(Settings):
    """What a baseline reads. The fields are those of the networks, so that a recipe says them once for all."""

    kind: str
    """Names the class in a recipe."""
    name: str
    """Name in tables and releases."""
    length: int = Field(default=50, ge=1)
    """Latest events of the history that count as recent; the counts over the whole history stand beside them."""
    item_attributes: tuple[str, ...] = ()
    """Item attributes that are read, and looked for in the history: `category`, `shop`; text, numbers or lists."""
    user_attributes: tuple[str, ...] = ()
    """User attributes that are read, likewise."""
    context: tuple[str, ...] = ()
    """Features of the request, by their names in the impressions."""
    bins: int = Field(default=20, ge=2)
    """Levels of a decimal attribute, and of every number where a model reads levels only."""
    smoothing: float = Field(default=20.0, gt=0)
    """Impressions that the overall rate counts as in the rate of an id: few of its own hardly move it."""
