"""Settings of knowledge extraction and of plugs, read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.config import Settings
from headwater.ranking.config import NetworkConfig


class ExtractionConfig(NetworkConfig):
    """Settings of `Extraction`; widths and layers are those of section 6.2 of KEEP."""

    kind: Literal["extraction", "decomposition", "degeneration"] = "extraction"
    """What is learned."""

    name: str = "extraction"
    """Name in logs and releases."""

    item_attributes: tuple[str, ...] = ("shop", "category")
    """Item attributes beside the item's id, each 16 wide; data without shops leave `shop` out."""

    user_dimension: int = Field(default=48, ge=1)
    """Width of the embedding of the user's id, which is what is known of a user alone."""

    hidden: tuple[int, ...] = Field(default=(512, 256, 128, 64), min_length=1)
    """Widths of each task's own hidden layers; the last one is what is known of user and item together."""

    alpha: float = Field(default=0.25, ge=0)
    """Weight of the pairwise loss (eq. 3)."""

    together: int = Field(default=8, ge=1)
    """So many impressions of one user and day stay together in the shuffled day, and are paired among themselves
    (2..32). Were a large day shuffled freely, hardly two of one user would meet in a batch."""

    forgotten: float = Field(default=0.02, ge=0, lt=1)
    """Share of impressions whose user is hidden, id and history, and share whose item is hidden: what is said of
    somebody or something unknown is learned by these."""


class DecompositionConfig(ExtractionConfig):
    """Settings of `Decomposition`: two towers, whose product is what is known of a pair (section 5.2.1 of KEEP)."""

    kind: Literal["decomposition"] = "decomposition"  # type: ignore[assignment]
    """What is learned."""

    name: str = "decomposition"
    """Name in logs and releases."""

    hidden: tuple[int, ...] = Field(default=(256, 128, 64), min_length=1)
    """Widths of the layers of each tower; the last one, which has no activation, is what is known of a user, and of an
    item."""


class DegenerationConfig(ExtractionConfig):
    """Settings of `Degeneration`: the category stands for the item (section 5.2.2 of KEEP)."""

    kind: Literal["degeneration"] = "degeneration"  # type: ignore[assignment]
    """What is learned."""

    name: str = "degeneration"
    """Name in logs and releases."""

    item_attributes: tuple[str, ...] = Field(default=("category",), min_length=1, max_length=1)
    """The attribute that stands for the item, in the target and in each event."""

    @property
    def item_dimension(self) -> int:
        """Of an item nothing but its category is read."""
        return 0


class PlugConfig(Settings):
    """How knowledge is added to a ranker."""

    layer: str = "hidden_1"
    """The hidden layer of each task's tower that it is added to; m of eq. 5."""

    hidden: int = Field(default=64, ge=1)
    """Width of the layer between knowledge and what is added."""

    is_concatenated: bool = False
    """Let `layer` read knowledge beside its input in place of a plug, which is what plugs are compared with."""

    is_standardised: bool = True
    """Take the mean and deviation of knowledge out of it: embeddings are a hundredth of what hidden layers hold."""

    parts: tuple[str, ...] | None = None
    """Which knowledge, by the names of its parts, such as `user`, `item`, `click`; none: all."""
