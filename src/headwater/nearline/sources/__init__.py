"""Where records come from: an ordered, replayable log; how far it has been read is the consumer's to keep."""

from headwater.nearline.sources.base import Batch, Block, Line, Position, Source
from headwater.nearline.sources.directory import DirectorySource
from headwater.nearline.sources.kafka import KafkaRankLog, KafkaSource
from headwater.nearline.sources.place import open_source
from headwater.nearline.sources.redis import RedisGroupSource, RedisRankLog, RedisSource

__all__ = [
    "Batch",
    "Block",
    "DirectorySource",
    "KafkaRankLog",
    "KafkaSource",
    "Line",
    "Position",
    "RedisGroupSource",
    "RedisRankLog",
    "RedisSource",
    "Source",
    "open_source",
]
