"""Channels that learn from a bazaar's first days: each is trained once and read back by every arm that has it."""

from __future__ import annotations

import hashlib

from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel, ChannelSettings
from headwater.simulation.warmup import Say, WarmUp

FOLDER = "channels"


def trained(settings: ChannelSettings, start: WarmUp, say: Say = lambda _: None) -> Channel:
    """The channel of these settings, trained on the clicks of the first days.

    Where the first days are kept on disk, the channel is kept beside them, under its settings' hash, and read from
    there the next time. Raises as `fit`, `save` and `load` of the channel do.
    """
    own = channel_class(settings.kind)
    if start.place is None:
        say(f"training {settings.name}")
        return own(settings).fit(start.clicks)
    key = hashlib.sha256(f"{start.checksum()} {settings.model_dump_json()}".encode()).hexdigest()[:12]
    place = start.place / FOLDER / f"{settings.name}-{key}"
    if not place.exists():
        say(f"training {settings.name}")
        own(settings).fit(start.clicks).save(place)
    return own.load(place, start.clicks.items)
