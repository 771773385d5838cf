"""What a bazaar is made of: every parameter, its range and its default's reason; hashed, so that a world can be frozen.

The reasons stand together in docs/bazaar.md. Times are in seconds unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from headwater.config import Settings, parse, read_toml
from headwater.nearline.records import MAX_ITEMS

START = 1_700_006_400
"""Midnight UTC at which day 0 begins, Unix seconds."""

SCENARIOS = ("homepage", "main_search", "photo_search", "post_purchase", "in_shop", "mini_detail")
"""The six surfaces, in the order of their codes."""

Share = Annotated[float, Field(ge=0, le=1)]


class WorldConfig(Settings):
    """Who and what there is."""

    seed: int = Field(default=1, ge=0)
    """Of everything: two runs of one config are equal to the byte."""
    users: int = Field(default=5_000, ge=1, le=2_000_000)
    """The size at which the full loop takes minutes."""
    items: int = Field(default=20_000, ge=10, le=10_000_000)
    """Ever on sale; some arrive late or retire early."""
    days: int = Field(default=7, ge=1, le=366)
    """Days that can be played: arrivals, retirements and drift are laid out over them."""
    departments: int = Field(default=12, ge=1)
    """Top level of the category tree."""
    categories: int = Field(default=100, ge=1)
    """Leaves of the category tree."""
    styles: int = Field(default=8, ge=1)
    """Looks within a category: what a photo shows."""
    shops: int = Field(default=250, ge=1)
    """Each sells in one department; 80 items a shop by default."""
    brands: int = Field(default=240, ge=1)
    """A brand leans to some departments."""
    dimensions: int = Field(default=16, ge=2, le=256)
    """Of latent vectors of items and tastes."""
    zipf: float = Field(default=0.9, ge=0, le=3)
    """Exponent of past sales over popularity rank."""
    arriving: Share = 0.1
    """Share of items that come on sale during the days."""
    retiring: Share = 0.1
    """Share of items that go off sale during the days."""
    tastes: int = Field(default=3, ge=1, le=16)
    """Tastes of a user, each a category with a style."""
    drift: float = Field(default=0.08, ge=0, le=2)
    """Daily step of a taste's vector, beside its length 1."""
    new_taste: Share = 0.03
    """Chance a day that a taste is replaced by another one."""
    sessions: float = Field(default=1.4, gt=0, le=20)
    """Mean sessions of a user and day."""
    activity_spread: float = Field(default=0.6, ge=0, le=3)
    """Standard deviation of the logarithm of a user's own rate of sessions."""

    source: str = ""
    """Data set, with its checksum, that the latents were fitted to; empty where they were drawn. Set by the fit."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.categories < self.departments:
            raise ValueError(f"categories ({self.categories}) must be at least departments ({self.departments})")
        if self.categories > self.items:
            raise ValueError(f"categories ({self.categories}) must not exceed items ({self.items})")
        if self.arriving + self.retiring > 1:
            raise ValueError(f"arriving ({self.arriving}) and retiring ({self.retiring}) exceed 1 together")
        return self


class BehaviourConfig(Settings):
    """What users do with what they see. Logits are natural; utilities enter clicks and purchases alike."""

    intent_in_search: Share = 0.85
    """Chance that a search without an intent begins one."""
    intent_on_click: Share = 0.06
    """Chance that a click without an intent begins one."""
    intent_on_purchase: Share = 0.35
    """Chance that a purchase begins an intent for a category that goes with it."""
    intent_minutes: float = Field(default=90.0, gt=0)
    """Median life of an intent that is not fulfilled: it is remembered over a break, and rarely for days."""
    intent_spread: float = Field(default=1.2, ge=0, le=4)
    """Standard deviation of the logarithm of that life."""
    intent_in_taste: Share = 0.6
    """Chance that an intent lies in a category of the user's tastes; any category by its sales otherwise."""
    taste_weight: float = Field(default=1.5, ge=0)
    """Logits of click for an item that points the way of a taste."""
    intent_weight: float = Field(default=1.2, ge=0)
    """Logits of click for an item of the intent's category."""
    intent_match: float = Field(default=2.5, ge=0)
    """Logits of click for an item that points the way of the intent, inside its category."""
    quality_weight: float = Field(default=0.35, ge=0)
    """Logits of one standard deviation of quality."""
    price_weight: float = Field(default=0.6, ge=0)
    """Logits lost for one unit of the logarithm of price away from the wanted price, times the user's sensitivity."""
    examination: float = Field(default=0.5, ge=0, le=5)
    """Exponent of position: the chance to be looked at is (1 + position)^-examination."""
    cart_logit: float = -3.3
    """Of a cart, given a click, without any utility."""
    purchase_logit: float = -7.3
    """Of a purchase, given a click, without any utility."""
    purchase_intent: float = Field(default=1.8, ge=0)
    """Logits of purchase for an item of the intent's category."""
    follow: float = Field(default=0.6, ge=0)
    """How much of the click's utility counts again for the purchase."""
    stay: Share = 0.62
    """Chance that a session goes on after a visit, the first time it is asked."""
    patience: Share = 0.95
    """What that chance is multiplied by with every visit of the session."""
    stay_with_click: Share = 0.2
    """What a visit with a click adds to it."""
    stay_with_intent: Share = 0.1
    """What an intent adds to it."""
    dwell_seconds: float = Field(default=18.0, gt=0)
    """Median seconds on an item without any utility; each unit of utility makes it e^0.25 times as long."""


class ScenarioConfig(Settings):
    """One surface."""

    ranked: int = Field(ge=1, le=MAX_ITEMS)
    """Candidates that its ranker puts in order, at most."""
    page: int = Field(ge=1)
    """Items exposed, at most."""
    click_logit: float = -3.0
    """Of a click on an examined item without any utility."""
    exploration: float = Field(default=0.3, ge=0)
    """Standard deviation of noise on the ranker's score, so that its own log teaches it something new."""

    @model_validator(mode="after")
    def _shows_what_it_ranks(self) -> Self:
        if self.page > self.ranked:
            raise ValueError(f"page ({self.page}) exceeds ranked ({self.ranked}): more would be exposed than is ranked")
        return self


class ScenariosConfig(Settings):
    """The six surfaces."""

    homepage: ScenarioConfig = ScenarioConfig(ranked=300, page=10, click_logit=-3.9)
    """No question asked: many candidates, few shown."""
    main_search: ScenarioConfig = ScenarioConfig(ranked=500, page=20, click_logit=-4.3)
    """A whole category competes."""
    photo_search: ScenarioConfig = ScenarioConfig(ranked=100, page=20, click_logit=-4.2)
    """Few items look like a photo."""
    post_purchase: ScenarioConfig = ScenarioConfig(ranked=300, page=10, click_logit=-3.6)
    """Complements of what was just bought."""
    in_shop: ScenarioConfig = ScenarioConfig(ranked=200, page=60, click_logit=-3.9)
    """A shop has tens to hundreds of items, of which most are seen."""
    mini_detail: ScenarioConfig = ScenarioConfig(ranked=400, page=10, click_logit=-4.6)
    """Beside the item on view."""

    def all(self) -> tuple[ScenarioConfig, ...]:
        """In the order of `SCENARIOS`."""
        return tuple(getattr(self, name) for name in SCENARIOS)


class BazaarConfig(Settings):
    """A whole bazaar."""

    world: WorldConfig = WorldConfig()
    """Who and what there is."""
    behaviour: BehaviourConfig = BehaviourConfig()
    """What users do."""
    scenarios: ScenariosConfig = ScenariosConfig()
    """Where they do it."""

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a TOML file; raises `ConfigError`, which names a faulty key and the nearest valid one."""
        return parse(cls, read_toml(Path(path)), str(path))

    def fast(self) -> Self:
        """The same at a size that takes seconds, where it is not smaller already."""
        most = {"users": 250, "items": 1_000, "departments": 4, "categories": 16, "shops": 16, "brands": 16}
        smaller = {name: min(getattr(self.world, name), limit) for name, limit in most.items()}
        return self.model_copy(update={"world": self.world.model_copy(update=smaller)})

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of SHA-256 over every parameter: two worlds of one hash are the same world."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
