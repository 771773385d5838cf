"""The super-domain: products as the scenarios show them, and beside them blocks of videos and of ads, of one world.

As in the shop that KEEP was measured in, a video and an ad each show an item that is for sale; what differs is which
items, to whom, how often, and how readily they are clicked. The reasons for every default stand in docs/bazaar.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from headwater.config import Settings, parse, read_toml
from headwater.simulation.config import BazaarConfig, Share, WorldConfig

DOMAINS = ("product", "video", "ad")
"""The sub-domains, in the order of their codes; the first are the pages of the six scenarios."""

PRODUCT, VIDEO, AD = range(len(DOMAINS))


class BlockConfig(Settings):
    """One sub-domain that is shown in blocks beside the pages of the scenarios."""

    campaign: float = Field(gt=0)
    """Days for which an item is shown in this sub-domain before others take its place."""
    shown: Annotated[float, Field(gt=0, le=1)]
    """Share of the items that are shown in it at a time."""
    reach: Share
    """Share of the users who are shown such blocks at all."""
    visits: Share
    """Share of their visits, of any scenario, with a block."""
    slots: int = Field(ge=1)
    """Items in a block."""
    candidates: int = Field(ge=1)
    """Items that compete for it."""
    delay: int = Field(ge=0, lt=60)
    """Seconds after the page that it stands beside."""
    click_logit: float
    """Of a click on an examined item without any utility."""
    kinship: float = Field(ge=0)
    """How much of an item's utility counts here; 1 as in the scenarios."""
    appeal: float = Field(ge=0)
    """Standard deviation of what an item's own video or ad adds to the logit of its click, alike for all users."""
    habit: float = Field(ge=0)
    """Standard deviation of what a user's own liking of videos or ads adds, alike for all items."""
    cart_logit: float
    """Of a cart, given a click, without any utility."""
    purchase_logit: float
    """Of a purchase, given a click, without any utility."""
    bids: float = Field(default=0.0, ge=0)
    """Standard deviation of the logarithm of what is bid for an item, which adds to its score."""
    exploration: float = Field(default=0.5, ge=0)
    """Standard deviation of noise on the score."""

    @model_validator(mode="after")
    def _fills_its_slots(self) -> Self:
        if self.slots > self.candidates:
            raise ValueError(f"slots ({self.slots}) exceed candidates ({self.candidates}): more is shown than competes")
        return self


VIDEOS = BlockConfig(
    campaign=14, shown=0.2, reach=1.0, visits=0.35, slots=12, candidates=100, delay=20, click_logit=-4.6, kinship=0.8,
    appeal=0.5, habit=0.5, cart_logit=-6.0, purchase_logit=-7.9,
)  # fmt: skip
ADS = BlockConfig(
    campaign=7, shown=0.1, reach=0.5, visits=1.0, slots=4, candidates=60, delay=0, click_logit=-4.5, kinship=0.8,
    appeal=0.4, habit=0.3, cart_logit=-6.4, purchase_logit=-8.0, bids=0.5,
)  # fmt: skip


class LogsConfig(Settings):
    """What `headwater simulate logs` plays."""

    bazaar: BazaarConfig = BazaarConfig(world=WorldConfig(days=8))
    """Its world, over the eight days that KEEP's log has."""
    video: BlockConfig = VIDEOS
    """Short videos about an item."""
    ad: BlockConfig = ADS
    """Advertised items."""

    @model_validator(mode="before")
    @classmethod
    def _keeps_what_is_not_named(cls, given: Any) -> Any:
        """A table that sets one key of a sub-domain leaves its others as they are."""
        if not isinstance(given, dict):
            return given
        defaults = {"video": VIDEOS, "ad": ADS}
        named = {name: given[name] for name in defaults if isinstance(given.get(name), dict)}
        return given | {name: defaults[name].model_dump() | values for name, values in named.items()}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a TOML file; raises `ConfigError`, which names a faulty key and the nearest valid one."""
        return parse(cls, read_toml(Path(path)), str(path))

    def fast(self) -> Self:
        """The same in a small world."""
        return self.model_copy(update={"bazaar": self.bazaar.fast()})

    def blocks(self) -> tuple[tuple[int, BlockConfig], ...]:
        """(code, settings) of the sub-domains that are shown in blocks."""
        return (VIDEO, self.video), (AD, self.ad)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of SHA-256 over every parameter: two logs of one hash are the same logs."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
