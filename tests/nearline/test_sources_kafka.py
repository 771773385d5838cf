"""A topic on Kafka passes the Source contract, and what the rank log writes to it comes out of the stream."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import confluent_kafka
import pytest
from source_contract import Log, SharingContract, SourceContract

from headwater.errors import ConfigError, StoreAway
from headwater.nearline import KafkaRankLog, KafkaSource, Policy, RankedItem, Stream, UserEvent, Visit, dead_letters
from headwater.nearline.candidates import decode
from headwater.nearline.sources import Batch, Source, open_source
from headwater.nearline.stored import CANDIDATES, candidates_key
from headwater.store import LmdbStore
from kafka_server import KafkaServer

NOW = 1_700_000_000
PARTITIONS = 4


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    with KafkaServer() as server:
        yield server


@pytest.fixture
def topic() -> str:
    return f"ranklog-{uuid4().hex}"


class TopicLog:
    """What is appended goes to one partition, until the log is rotated."""

    def __init__(self, servers: str, topic: str) -> None:
        self.producer = confluent_kafka.Producer({"bootstrap.servers": servers, "log_level": 2})
        self.topic, self.rotations = topic, 0

    def append(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.producer.produce(self.topic, b"%d" % number, partition=self.rotations % PARTITIONS)
        assert self.producer.flush(30) == 0

    def rotate(self) -> None:
        self.rotations += 1

    def read(self, batch: Batch) -> list[int]:
        return [int(line.raw) for line in batch.lines]


class TestTopic(SourceContract, SharingContract):
    @pytest.fixture
    def log(self, kafka: KafkaServer, topic: str) -> Log:
        return TopicLog(kafka.servers, topic)

    @pytest.fixture
    def source(self, kafka: KafkaServer, topic: str) -> Iterator[KafkaSource]:
        opened = KafkaSource(kafka.servers, topic)
        yield opened
        opened.close()

    @pytest.fixture
    def again(self, kafka: KafkaServer, topic: str) -> Callable[[], Source]:
        return lambda: KafkaSource(kafka.servers, topic)

    @pytest.fixture
    def sharers(self, kafka: KafkaServer, topic: str) -> Callable[[int], list[KafkaSource]]:
        return lambda n: [KafkaSource(kafka.servers, topic, share=(i, n)) for i in range(n)]


def test_what_the_rank_log_writes_becomes_candidates_and_poison_a_dead_letter(
    kafka: KafkaServer, topic: str, tmp_path: Path
) -> None:
    log = KafkaRankLog(kafka.servers, topic)
    items = [RankedItem(5, 0.9), RankedItem(3, 0.4)]
    log.append(Visit(request_id="r", scenario="mini_detail", user=1, timestamp=NOW, items=items))
    log.append(UserEvent(user=1, item=5, behaviour="click", timestamp=NOW))
    producer = TopicLog(kafka.servers, topic)
    producer.producer.produce(topic, None, key=b"a tombstone")
    producer.producer.produce(topic, b"poison")
    assert producer.producer.flush(30) == 0
    store = LmdbStore(tmp_path)
    source = open_source(f"kafka://{kafka.servers}/{topic}?client.id=shop")
    stream = Stream(source, store, Policy())
    while stream.run_once():
        pass
    (raw,) = store.get_many(CANDIDATES, [candidates_key(1, "mini_detail")])
    assert decode(raw or b"").items.tolist() == [3]
    reasons = sorted(letter.reason for letter in dead_letters(store))
    assert reasons == ["JSON is malformed: invalid character (byte 0)", "the message has no value"]
    store.close()


def test_all_records_of_a_user_are_in_one_partition(kafka: KafkaServer, topic: str) -> None:
    log = KafkaRankLog(kafka.servers, topic)
    log.append_many([UserEvent(user=at % 20, item=at, behaviour="click", timestamp=NOW) for at in range(100)])
    parts: dict[str, set[bytes]] = {}
    for line in KafkaSource(kafka.servers, topic).poll({}, 1_000).lines:
        parts.setdefault(line.raw.partition(b'"user":')[2].partition(b",")[0].decode(), set()).add(line.part.encode())
    assert len(parts) == 20
    assert all(len(found) == 1 for found in parts.values())
    assert len(set.union(*parts.values())) > 1


def test_messages_that_are_gone_before_they_are_read_are_a_dead_letter(kafka: KafkaServer, topic: str) -> None:
    log = TopicLog(kafka.servers, topic)
    log.append(range(5))
    source = KafkaSource(kafka.servers, topic)
    # As a broker says it that has deleted the first three.
    true = source._consumer.get_watermark_offsets
    consumer = source._consumer

    class Shortened:
        def __getattr__(self, name: str) -> object:
            return getattr(consumer, name)

        def get_watermark_offsets(self, place: confluent_kafka.TopicPartition, **options: object) -> tuple[int, int]:
            _, end = true(place, **options)
            return (min(3, end), end)

    source._consumer = Shortened()
    batch = source.poll({f"{topic}/0": 1}, 100)
    assert [line.fault for line in batch.lines if line.fault] == ["messages 1 to 2 were deleted before they were read"]
    assert [line.raw for line in batch.lines if not line.fault] == [b"3", b"4"]
    assert batch.position[f"{topic}/0"] == 5


def test_brokers_that_are_gone_are_named_and_nothing_is_lost() -> None:
    with KafkaServer() as server:
        log = KafkaRankLog(server.servers, "shop", options={"delivery.timeout.ms": "1500", "linger.ms": "0"})
        log.append(UserEvent(user=1, item=2, behaviour="click", timestamp=NOW))
        source = KafkaSource(server.servers, "shop")
        position = source.poll({}, 10).position
        server.kill()
        with pytest.raises(StoreAway, match=f"kafka://{server.servers}/shop"):
            log.append(UserEvent(user=1, item=3, behaviour="click", timestamp=NOW))
        with pytest.raises(StoreAway, match=f"kafka://{server.servers}/shop"):
            source.poll(position, 10)


@pytest.mark.parametrize("url", ["kafka://", "kafka://host:9092", "kafka:///topic", "kafka://host/a/b"])
def test_a_url_without_servers_or_topic_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="kafka://host:port"):
        open_source(url)


def test_a_setting_that_librdkafka_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.setting"):
        open_source("kafka://127.0.0.1:9/shop?no.such.setting=1")
