"""Which log a place names: a folder, or a stream on a server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlencode

from headwater.errors import ConfigError
from headwater.nearline.sources.base import Source
from headwater.nearline.sources.directory import DirectorySource
from headwater.store.connection import SCHEMES

KAFKA_SCHEME = "kafka"


def parse_kafka(url: str) -> tuple[str, str, dict[str, str]]:
    """The servers, the topic and librdkafka's options of ``kafka://host:port,host:port/topic?name=value``.

    Raises `ConfigError` where there is no server or no topic.
    """
    before, _, query = url.removeprefix(f"{KAFKA_SCHEME}://").partition("?")
    servers, _, topic = before.partition("/")
    if not servers or not topic or "/" in topic:
        raise ConfigError("a log on Kafka is kafka://host:port,host:port/topic: servers and one topic are needed")
    return servers, topic, {name: values[-1] for name, values in parse_qs(query).items()}


def open_source(place: Path | str, *, share: tuple[int, int] = (0, 1)) -> Source:
    """The log at a place, read by positions.

    Parameters
    ----------
    place : Path or str
        A folder, for `DirectorySource`; or a URL for `RedisSource`, such as
        ``redis://127.0.0.1:6379/0?stream=shop-ranklog`` (without ``stream``: ``headwater-ranklog``); or one for
        `KafkaSource`, ``kafka://host:port,host:port/topic``, in which ``?name=value`` are librdkafka's options.
    share : (int, int)
        (i, n): the i-th of n consumers that share the log's files or partitions between them.

    Raises
    ------
    ConfigError
        The URL has another scheme, the place is a file, or the log cannot be shared.
    StoreError
        The URL cannot be read, or the package `redis` or `confluent-kafka` is not installed.
    """
    if isinstance(place, Path) or "://" not in place:
        if Path(place).is_file():
            raise ConfigError(f"{place} is a file; name the folder that it lies in, for a log is a folder of files")
        return DirectorySource(place, share=share)
    scheme = place.partition("://")[0]
    if scheme == KAFKA_SCHEME:
        from headwater.nearline.sources.kafka import KafkaSource  # its package may not be there

        servers, topic, options = parse_kafka(place)
        return KafkaSource(servers, topic, options=options, share=share)
    if scheme not in SCHEMES:
        raise ConfigError(
            f"no log has the scheme {scheme!r}: give a folder, or a URL with {', '.join((*SCHEMES, KAFKA_SCHEME))}"
        )
    if share[1] != 1:
        raise ConfigError("a Redis stream is one sequence, and one reader reads it: give a stream to each reader")
    from headwater.nearline.sources.redis import STREAM, RedisSource

    before, _, query = place.partition("?")
    options = parse_qs(query)
    stream = options.pop("stream", [STREAM])[-1]
    return RedisSource(before + ("?" + urlencode(options, doseq=True) if options else ""), stream)
