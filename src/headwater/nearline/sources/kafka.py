"""A log on Kafka, or on what speaks its protocol: a topic whose messages are a record's JSON line each."""

# confluent_kafka has no complete type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false, reportMissingModuleSource=false
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.errors import ConfigError, StoreAway, StoreError
from headwater.nearline.records import MAX_LINE, Record, stamped_lines
from headwater.nearline.sources.base import Batch, Line, Position
from headwater.store.base import key_bytes

_SECONDS = 10.0
"""How long a broker may take for an answer."""

_PARTITIONS_SECONDS = 30.0
"""Between two looks at which partitions there are."""


class KafkaSource:
    """A topic, read by positions: a part is a partition, and its number is the offset of the next message.

    Kafka keeps no note of the reader: no consumer group takes part, and nothing is committed there.

    Parameters
    ----------
    servers : str
        ``host:port,host:port``.
    topic : str
        May be made later.
    options : mapping of str to str
        Further settings of librdkafka, such as ``security.protocol``.
    share : (int, int)
        (i, n): the i-th of n consumers that share the partitions. `KafkaRankLog` writes all records of a user to one.
    clock : callable
        Seconds that never jump back; decides when to look for new partitions.

    Raises
    ------
    ConfigError
        `share` is not (i, n) with 0 <= i < n, or an option is none of librdkafka's.
    StoreError
        The package `confluent-kafka` is not installed.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        *,
        options: Mapping[str, str] | None = None,
        share: tuple[int, int] = (0, 1),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 <= share[0] < share[1]:
            raise ConfigError(f"share is (i, n) with 0 <= i < n, not {share}")
        self._kafka = _kafka()
        self._servers, self._topic, self._share, self._clock = servers, topic, share, clock
        settings = {
            "group.id": "headwater",  # asked for by librdkafka; nothing is ever committed under it
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": "20",
            "topic.metadata.refresh.fast.interval.ms": "20",
            "reconnect.backoff.ms": "20",
        }
        self._consumer = _client(self._kafka.Consumer, servers, settings, options)
        self._at: dict[int, int] = {}
        self._partitions: list[int] = []
        self._looked_at = float("-inf")

    def poll(self, position: Position, max_records: int) -> Batch:
        """See `Source.poll`. `Batch.pending_bytes` is estimated from the lengths of what was read.

        Messages that Kafka deleted before they were read become one fault, so that their loss is not silent.
        """
        try:
            return self._poll(position, max_records)
        except self._kafka.KafkaException as error:
            raise StoreAway(f"kafka://{self._servers}/{self._topic}: {error.args[0].str()}; try again later") from error

    def commit(self, position: Position) -> None:
        """See `Source.commit`: a topic keeps its messages, however often they are read."""

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()

    def _poll(self, position: Position, max_records: int) -> Batch:
        lines: list[Line] = []
        reached: dict[int, int] = {}
        ends: dict[int, int] = {}
        for partition in self._mine():
            here = self._kafka.TopicPartition(self._topic, partition)
            first, ends[partition] = self._consumer.get_watermark_offsets(here, timeout=_SECONDS, cached=False)
            start = reached[partition] = position.get(self._part(partition), first)
            if start < first:
                fault = f"messages {start} to {first - 1} were deleted before they were read"
                lines.append(Line(b"", self._part(partition), start, first - start, time.time(), fault))
                reached[partition] = first
        self._read(reached, ends, max_records, lines)
        pending = sum(max(ends[partition] - at, 0) for partition, at in reached.items())
        mean = max(1, sum(line.length for line in lines) // max(len(lines), 1))
        moved = {self._part(partition): at for partition, at in reached.items() if at}
        return Batch(lines, {**position, **moved}, pending * mean)

    def _read(self, reached: dict[int, int], ends: Mapping[int, int], max_records: int, lines: list[Line]) -> None:
        """Add messages up to the `ends`, at most so many, and move what is reached."""
        waiting = {partition for partition, at in reached.items() if at < ends[partition]}
        if not waiting:
            return
        if any(self._at.get(partition) != at for partition, at in reached.items() if partition in waiting):
            places = [self._kafka.TopicPartition(self._topic, partition, at) for partition, at in reached.items()]
            self._consumer.assign(places)
            self._at = dict(reached)
        until = time.monotonic() + _SECONDS
        while waiting and len(lines) < max_records:
            messages = self._consumer.consume(max_records - len(lines), timeout=0.05)
            for message in messages:
                partition, offset = message.partition(), message.offset()
                if message.error() is None:
                    lines.append(self._line(message))
                    offset += 1
                elif message.error().code() != self._kafka.KafkaError._PARTITION_EOF:
                    self._at = {}
                    raise self._kafka.KafkaException(message.error())
                # Behind the last message may stand marks of transactions, which are passed by their end alone.
                reached[partition] = self._at[partition] = max(offset, reached[partition])
                if reached[partition] >= ends[partition]:
                    waiting.discard(partition)
            if not messages and lines:
                return
            if time.monotonic() > until:
                self._at = {}
                raise StoreAway(
                    f"kafka://{self._servers}/{self._topic}: messages wait, and none came in {_SECONDS:g} s; try again"
                )

    def _mine(self) -> list[int]:
        if self._clock() >= self._looked_at + _PARTITIONS_SECONDS or not self._partitions:
            found = self._consumer.list_topics(self._topic, timeout=_SECONDS).topics[self._topic]
            index, n = self._share
            # A topic that is not there yet has none.
            self._partitions = sorted(number for number in found.partitions if number % n == index)
            self._looked_at = self._clock()
        return self._partitions

    def _part(self, partition: int) -> str:
        return f"{self._topic}/{partition}"

    def _line(self, message: Any) -> Line:
        raw = message.value()
        fault = "the message has no value" if raw is None else ""
        raw = raw or b""
        appended = message.timestamp()[1] / 1_000
        part = self._part(message.partition())
        return Line(raw[: MAX_LINE + 1], part, message.offset(), max(len(raw), 1), appended, fault)


class KafkaRankLog:
    """The writer of a rank log on Kafka, for `KafkaSource`; threads may share one.

    A record whose `append` returned has been taken by all replicas that are in sync. All records of a user go to one
    partition, so that consumers that share the partitions share the users.

    Parameters
    ----------
    servers, topic, options
        As of `KafkaSource`.
    columnar : bool
        Write visits by columns; see `RankLog`.
    clock : callable
        Unix seconds, stamped on every record as `appended`.

    Raises
    ------
    ConfigError, StoreError
        As `KafkaSource` does.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        *,
        options: Mapping[str, str] | None = None,
        columnar: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = _kafka()
        self._name, self._topic = f"kafka://{servers}/{topic}", topic
        settings = {
            "acks": "all",
            "enable.idempotence": "true",
            "linger.ms": "1",
            "delivery.timeout.ms": str(round(_SECONDS * 1_000)),
        }
        self._producer = _client(self._kafka.Producer, servers, settings, options)
        self._columnar = columnar
        self._clock = clock

    def append(self, record: Record) -> None:
        """Write one record.

        Raises
        ------
        SchemaError
            The record could not be read back; see `RankLog.append`.
        StoreAway
            No broker took it in time. It may have been written; a second copy changes nothing.
        """
        self.append_many([record])

    def append_many(self, records: Sequence[Record]) -> None:
        """Write several records and wait for all. Raises as `append` does; some may have been written then."""
        lines = stamped_lines(records, now=self._clock(), columnar=self._columnar)
        failures: list[str] = []
        waiting = len(lines)

        def delivered(error: Any, _: Any) -> None:
            nonlocal waiting
            waiting -= 1
            if error is not None:
                failures.append(error.str())

        try:
            for record, line in zip(records, lines, strict=True):
                self._producer.produce(self._topic, line, key=key_bytes(record.user), on_delivery=delivered)
        except (BufferError, self._kafka.KafkaException) as error:
            raise StoreAway(f"{self._name}: {error}; try again later") from error
        until = time.monotonic() + 2 * _SECONDS
        while waiting and time.monotonic() < until:
            self._producer.poll(0.05)
        if waiting or failures:
            reason = failures[0] if failures else "no broker answers"
            raise StoreAway(f"{self._name}: {len(failures) + waiting} of {len(lines)} records failed: {reason}")

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.flush(_SECONDS)


def _kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError as error:
        raise StoreError("the package confluent-kafka is not installed: pip install 'headwater[kafka]'") from error
    return confluent_kafka


def _client(kind: Any, servers: str, settings: Mapping[str, str], options: Mapping[str, str] | None) -> Any:
    try:
        # Errors come as exceptions and events; librdkafka's own lines on stderr would say them twice.
        return kind({**settings, "log_level": "2", **(options or {}), "bootstrap.servers": servers})
    except _kafka().KafkaException as error:
        raise ConfigError(f"Kafka's client refuses its settings: {error.args[0].str()}") from error
