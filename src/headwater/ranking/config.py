"""Settings that all networks of the ranking stage share, read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from headwater.config import Settings
from headwater.nn.settings import TrainingConfig

SERVICE_CONTEXT = ("scenario", "hour", "weekday")
"""What a request of a service says of itself; hours and weekdays are UTC's."""

Activation = Literal["prelu", "dice"]


class RankerSettings(Settings):
    """Settings that every ranker has; its own class adds to them."""

    kind: str
    """Names the ranker class in a recipe."""

    name: str
    """Name in logs and releases."""


class SearchConfig(Settings):
    """Search-based interest: the events of a long history whose attribute is the candidate's (hard search of SIM)."""

    attribute: str = "category"
    """One of the item attributes; of a list of values the first one counts."""

    length: int = Field(default=200, ge=1)
    """Latest events that are searched (200..10,000)."""

    kept: int = Field(default=20, ge=1)
    """Latest events of those found that are read (10..50)."""


class NetworkConfig(RankerSettings):
    """Settings of every ranker over a network."""

    length: int = Field(default=50, ge=1)
    """Latest events of the behaviour sequence that target attention reads (20..200)."""

    item_attributes: tuple[str, ...] = ()
    """Item attributes that are embedded beside the item itself, in the target and in each event: `category`, `shop`;
    text, integers or lists of them, decimals in bins."""

    user_attributes: tuple[str, ...] = ()
    """User attributes, likewise."""

    context: tuple[str, ...] = ()
    """Features of the request, by their names in the impressions. A service knows `scenario`, `hour` and `weekday`
    (both UTC)."""

    user_dimension: int = Field(default=0, ge=0)
    """Width of the embedding of the user's id; 0 reads none. A stranger's is zero."""

    dimension: int = Field(default=16, ge=1)
    """Width of every other embedding (8..64); an event is as wide as item and attributes together."""

    unit_hidden: int = Field(default=36, ge=1)
    """Width of the activation unit's hidden layer; 36 in the paper."""

    activation: Activation = "prelu"
    """After every hidden layer. `dice` moves the kink of PReLU to the mean of its inputs (eq. 7 of DIN)."""

    hidden: tuple[int, ...] = Field(default=(200, 80), min_length=1)
    """Widths of each task's own hidden layers."""

    bins: int = Field(default=20, ge=2)
    """Levels of a decimal attribute, of equally many users or items each."""

    search: SearchConfig | None = None
    """Interest found by search in a longer history, beside target attention over the latest events; none: off."""

    training: TrainingConfig = TrainingConfig(epochs=1, batch_size=2_000, second_moment=0.999)
    """How. Every impression is learned from once, in the order of days, so `epochs` stays 1."""

    serves: str = "click"
    """The task whose logit orders candidates."""

    examples: Literal["auto", "rated", "sampled"] = "auto"
    """What a data set without impressions gives to learn from. `rated`: every rated event is one, clicked where the
    rating is at least `clicked_rating`. `sampled`: every event is a click, beside `negatives` items drawn by
    popularity^0.75 that the user has no event with. `auto`: rated where there are ratings, else sampled."""

    clicked_rating: float = 4.0
    """Least rating of a click, of `rated` examples."""

    negatives: int = Field(default=4, ge=1)
    """Draws for each event, of `sampled` examples."""

    @property
    def item_dimension(self) -> int:
        """Width of the embedding of the item's id."""
        return self.dimension

    @model_validator(mode="after")
    def _one_pass(self) -> NetworkConfig:
        if self.training.epochs != 1:
            raise ValueError("training.epochs must be 1: each day is learned from once, in order")
        if self.search is not None and self.search.attribute not in self.item_attributes:
            raise ValueError(f"search.attribute {self.search.attribute!r} must be one of item_attributes")
        return self
