"""Rank logs in, fresh candidates out: what other scenarios ranked for a user feeds the next homepage.

Names are loaded when they are used, so that the operator comes without a store.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.nearline.arrow import ArrowRankLog
    from headwater.nearline.channel import NearlineChannel
    from headwater.nearline.deadletter import DeadLetter, dead_letters
    from headwater.nearline.local import Status, Stream, forget
    from headwater.nearline.policy import Policy, PolicyFile
    from headwater.nearline.ranklog import RankLog
    from headwater.nearline.records import RankedItem, UserEvent, Visit
    from headwater.nearline.sources import (
        DirectorySource,
        KafkaRankLog,
        KafkaSource,
        RedisGroupSource,
        RedisRankLog,
        RedisSource,
        Source,
        open_source,
    )

__all__ = [
    "ArrowRankLog",
    "DeadLetter",
    "DirectorySource",
    "KafkaRankLog",
    "KafkaSource",
    "NearlineChannel",
    "Policy",
    "PolicyFile",
    "RankLog",
    "RankedItem",
    "RedisGroupSource",
    "RedisRankLog",
    "RedisSource",
    "Source",
    "Status",
    "Stream",
    "UserEvent",
    "Visit",
    "dead_letters",
    "forget",
    "open_source",
]

_MODULES = {
    "arrow": ("ArrowRankLog",),
    "channel": ("NearlineChannel",),
    "deadletter": ("DeadLetter", "dead_letters"),
    "local": ("Status", "Stream", "forget"),
    "policy": ("Policy", "PolicyFile"),
    "ranklog": ("RankLog",),
    "records": ("RankedItem", "UserEvent", "Visit"),
    "sources": (
        "DirectorySource",
        "KafkaRankLog",
        "KafkaSource",
        "RedisGroupSource",
        "RedisRankLog",
        "RedisSource",
        "Source",
        "open_source",
    ),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"headwater.nearline.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
