"""Redis streams pass the Source contract on real servers, and a group loses nothing when its consumers die."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from source_contract import SharingContract, SourceContract, drain

from headwater.data import Queries, Vocabulary
from headwater.errors import SchemaError, StoreAway
from headwater.nearline import NearlineChannel, Policy, Stream
from headwater.nearline.records import MAX_LINE, RankedItem, UserEvent, Visit, decode_line
from headwater.nearline.sources import Batch, RedisGroupSource, RedisRankLog, RedisSource, Source
from headwater.nearline.sources.redis import STREAM
from headwater.store import RedisStore
from redis_server import RedisServer

NOW = 1_700_000_000


class EventLog:
    """Events by the real producer; a stream has one part only."""

    def __init__(self, url: str) -> None:
        self.writer = RedisRankLog(url, clock=lambda: NOW + 0.5)

    def append(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.writer.append(UserEvent(user=1, item=number, behaviour="click", timestamp=NOW))

    def rotate(self) -> None:
        pass

    def read(self, batch: Batch) -> list[int]:
        assert not any(line.fault for line in batch.lines)
        records = [decode_line(line.raw, appended=line.appended) for line in batch.lines]
        return [record.item for record in records if isinstance(record, UserEvent)]


@pytest.fixture
def log(redis_server: RedisServer) -> Iterator[EventLog]:
    written = EventLog(redis_server.url)
    yield written
    written.writer.close()


@pytest.fixture
def opened() -> Iterator[list[RedisSource]]:
    sources: list[RedisSource] = []
    yield sources
    for source in sources:
        source.close()


@pytest.fixture
def group(redis_server: RedisServer, opened: list[RedisSource]) -> Callable[..., RedisGroupSource]:
    def group(consumer: str, idle_seconds: float = 60.0) -> RedisGroupSource:
        source = RedisGroupSource(redis_server.url, consumer=consumer, idle_seconds=idle_seconds)
        opened.append(source)
        return source

    return group


class TestGroup(SourceContract, SharingContract):
    @pytest.fixture
    def source(self, group: Callable[..., RedisGroupSource]) -> Source:
        return group("a")

    @pytest.fixture
    def again(self, group: Callable[..., RedisGroupSource]) -> Callable[[], Source]:
        return lambda: group("a")

    @pytest.fixture
    def sharers(self, group: Callable[..., RedisGroupSource]) -> Callable[[int], list[RedisGroupSource]]:
        return lambda n: [group(f"consumer {at}") for at in range(n)]


class TestPositions(SourceContract):
    @pytest.fixture
    def source(self, redis_server: RedisServer, opened: list[RedisSource]) -> Source:
        opened.append(RedisSource(redis_server.url))
        return opened[-1]

    @pytest.fixture
    def again(self, redis_server: RedisServer, opened: list[RedisSource]) -> Callable[[], Source]:
        def again() -> Source:
            opened.append(RedisSource(redis_server.url))
            return opened[-1]

        return again


def test_the_records_of_a_process_that_was_killed_go_to_another_consumer(
    redis_server: RedisServer, log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    log.append(range(30))
    code = (
        "import sys, time; from headwater.nearline.sources import RedisGroupSource\n"
        "source = RedisGroupSource(sys.argv[1], consumer='dead')\n"
        "batch = source.poll({}, 8); source.commit(batch.position)\n"
        "print(len(source.poll(batch.position, 8).lines), flush=True); time.sleep(600)\n"
    )
    consumer = subprocess.Popen([sys.executable, "-c", code, redis_server.url], stdout=subprocess.PIPE, text=True)
    assert consumer.stdout
    assert consumer.stdout.readline() == "8\n"
    os.kill(consumer.pid, signal.SIGKILL)
    consumer.wait()
    consumer.stdout.close()
    patient = group("patient")
    assert drain(patient, log)[0] == list(range(16, 30))
    heir = group("heir", idle_seconds=0.001)
    numbers, position = drain(heir, log, max_records=3)
    assert numbers == list(range(8, 16))
    assert drain(heir, log, position)[0] == []
    with redis_server.client() as client:
        assert client.xpending(STREAM, "headwater")["pending"] == 0


def test_a_consumer_that_takes_long_does_not_take_its_own_records_twice(
    log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    log.append(range(10))
    slow = group("slow", idle_seconds=0.001)
    first = slow.poll({}, 4)
    second = slow.poll(first.position, 100)
    assert log.read(first) + log.read(second) == list(range(10))
    assert slow.poll(second.position, 100).records == 0


def test_an_answer_that_was_lost_loses_no_record(
    redis_server: RedisServer, log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    log.append(range(10))
    source = group("a")
    first = source.poll({}, 4)
    redis_server.kill()
    try:
        with pytest.raises(StoreAway):
            source.poll(first.position, 4)
        with pytest.raises(StoreAway):
            source.commit(first.position)
        with pytest.raises(StoreAway):
            log.append([10])
    finally:
        redis_server.start()
    # As if the server had given out 4, 5 and 6 with an answer that never came.
    with redis_server.client() as client:
        client.xreadgroup("headwater", "a", {STREAM: ">"}, count=3)
    source.commit(first.position)
    log.append([10])
    assert drain(source, log, first.position)[0] == list(range(4, 11))


def test_a_group_that_is_gone_begins_anew(
    redis_server: RedisServer, log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    log.append(range(3))
    source = group("a")
    _, position = drain(source, log)
    with redis_server.client() as client:
        client.xgroup_destroy(STREAM, "headwater")
    with pytest.raises(Exception, match="NOGROUP"):
        source.poll(position, 10)
    assert drain(source, log, position)[0] == [0, 1, 2]


def test_entries_that_hold_no_record_are_faults(
    redis_server: RedisServer, log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    with redis_server.client() as client:
        client.xadd(STREAM, {"other": "text"})
        client.xadd(STREAM, {"record": b"x" * (MAX_LINE + 10)})
    log.append([1])
    source = group("a")
    first, second, third = source.poll({}, 10).lines
    assert (first.raw, first.fault) == (b"other text", "the entry has no field 'record'")
    assert (len(second.raw), second.length, second.fault) == (MAX_LINE + 1, MAX_LINE + 10, "")
    assert third.fault == ""


def test_an_entry_that_was_trimmed_after_it_was_given_out_is_a_fault(
    redis_server: RedisServer, log: EventLog, group: Callable[..., RedisGroupSource]
) -> None:
    log.append(range(3))
    assert group("a").poll({}, 10).records == 3
    with redis_server.client() as client:
        client.xtrim(STREAM, maxlen=1, approximate=False)
    lines = group("a").poll({}, 10).lines
    assert [line.fault for line in lines] == ["the stream was trimmed before the entry was read"] * 2 + [""]


def test_the_producer_stamps_and_checks_all_or_nothing(redis_server: RedisServer, log: EventLog) -> None:
    good = Visit(request_id="r", scenario="s", user=1, timestamp=NOW, items=[RankedItem(1, 0.5)])
    bad = Visit(request_id="r", scenario="s", user=1, timestamp=NOW, items=[RankedItem(1, float("nan"))])
    with pytest.raises(SchemaError):
        log.writer.append_many([good, bad])
    source = RedisSource(redis_server.url)
    assert source.poll({}, 10).records == 0
    log.writer.append_many([good, good])
    lines = source.poll({}, 10).lines
    assert [decode_line(line.raw, appended=0).appended for line in lines] == [NOW + 0.5] * 2
    source.close()


def test_a_stream_keeps_about_as_many_entries_as_it_is_told(redis_server: RedisServer) -> None:
    writer = RedisRankLog(redis_server.url, max_entries=100, clock=lambda: NOW)
    writer.append_many([UserEvent(user=1, item=at, behaviour="click", timestamp=NOW) for at in range(1_000)])
    with redis_server.client() as client:
        assert 100 <= client.xlen(STREAM) < 400
    writer.close()


@pytest.mark.parametrize("kind", ["positions", "group"])
def test_a_stream_from_redis_to_redis_outlives_a_server_that_is_killed(redis_server: RedisServer, kind: str) -> None:
    now = int(time.time())
    visits = [
        Visit(request_id=f"r{at}", scenario="mini_detail", user=at % 7, timestamp=now + at, items=[RankedItem(at, 0.5)])
        for at in range(100)
    ]
    writer, store = RedisRankLog(redis_server.url), RedisStore(redis_server.url)
    source = (
        RedisSource(redis_server.url) if kind == "positions" else RedisGroupSource(redis_server.url, consumer="one")
    )
    stream, stop = Stream(source, store, Policy(), batch=9), threading.Event()
    running = threading.Thread(target=stream.run, args=(stop,), kwargs={"retry_seconds": 0.05})
    running.start()
    try:
        writer.append_many(visits[:50])
        redis_server.kill()
        redis_server.start()
        writer.append_many(visits[50:])
        deadline = time.monotonic() + 60
        while stream.status().records < 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        stop.set()
        running.join()
    found = NearlineChannel(store, Vocabulary(np.arange(100))).retrieve(
        Queries(
            users=np.full(7, -1, np.int32),
            user_keys=np.arange(7),
            offsets=np.zeros(8, np.int64),
            items=np.zeros(0, np.int32),
            times=np.zeros(0, np.int64),
            behaviours=np.zeros(0, np.int8),
            request_times=np.full(7, now + 100),
            scenarios=("homepage",) * 7,
        ),
        200,
    )
    newest = {user: sorted(at for at in range(100) if at % 7 == user)[-10:] for user in range(7)}
    assert {user: sorted(found.items[found.rows == user].tolist()) for user in range(7)} == newest
    for opened_ in (writer, store, source):
        opened_.close()
