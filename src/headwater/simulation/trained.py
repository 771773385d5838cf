"""What learns from a bazaar's first days, channels and rankers: trained once, read back by every arm that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from headwater.data.impressions import Impressions
from headwater.ranking import ranker_class
from headwater.ranking.base import Ranker
from headwater.ranking.config import RankerSettings
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel, ChannelSettings
from headwater.simulation.arms import Scenario
from headwater.simulation.config import SCENARIOS, START
from headwater.simulation.warmup import Say, WarmUp


def trained(settings: ChannelSettings, start: WarmUp, say: Say = lambda _: None) -> Channel:
    """The channel of these settings, trained on the clicks of the first days.

    Where the first days are kept on disk, the channel is kept beside them, under the hash of its settings, and read
    from there the next time. Raises as `fit`, `save` and `load` of the channel do.
    """
    return _kept(channel_class(settings.kind), settings, lambda: start.clicks, "channels", start, say)


def trained_ranker(settings: RankerSettings, scenario: str, start: WarmUp, say: Say = lambda _: None) -> Ranker:
    """The ranker of these settings, trained on what `scenario` showed in the first days; kept as `trained` does."""
    return _kept(
        ranker_class(settings.kind), settings, lambda: impressions(scenario, start), f"rankers/{scenario}", start, say
    )


def rankers_of(settings: Mapping[Scenario, RankerSettings], start: WarmUp, say: Say = lambda _: None) -> list[Ranker]:
    """One for each scenario: of these settings where it has any, else the one that the first days trained."""
    rankers: dict[str, Ranker] = dict(zip(SCENARIOS, start.rankers, strict=True))
    return list((rankers | {name: trained_ranker(one, name, start, say) for name, one in settings.items()}).values())


def impressions(scenario: str, start: WarmUp) -> Impressions:
    """What one scenario showed in the first days, with clicks, carts and conversions."""
    log, clicks = start.logs[SCENARIOS.index(scenario)], start.clicks
    return Impressions.of_columns(
        f"{clicks.name}, {scenario}",
        clicks.users,
        clicks.items,
        user_codes=log.users,
        item_codes=log.items,
        times=log.times,
        labels={"click": log.clicks, "cart": log.carts, "conversion": log.purchases},
        histories=clicks,
        user_attributes=clicks.user_attributes,
        item_attributes=clicks.item_attributes,
        day_zero=START,
    )


def _kept(
    own: type[Any],
    settings: ChannelSettings | RankerSettings,
    data: Callable[[], Any],
    kind: str,
    start: WarmUp,
    say: Say,
) -> Any:
    """What `own` makes of the settings and the data, or made of them before."""
    if start.place is None:
        say(f"training {settings.name}")
        return own(settings).fit(data())
    key = hashlib.sha256(f"{start.checksum()} {settings.model_dump_json()}".encode()).hexdigest()[:12]
    place = start.place / kind / f"{settings.name}-{key}"
    if not place.exists():
        say(f"training {settings.name}")
        own(settings).fit(data()).save(place)
    return own.load(place, start.clicks.items)
