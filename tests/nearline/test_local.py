"""The stream process: what it writes, what it survives, and that a crash at any moment changes nothing."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from reference import reference

from headwater.errors import ArtefactError
from headwater.nearline import (
    DirectorySource,
    Policy,
    PolicyFile,
    RankedItem,
    RankLog,
    Stream,
    UserEvent,
    Visit,
    dead_letters,
    forget,
)
from headwater.nearline.arrow import SCHEMA, ArrowRankLog, to_batch
from headwater.nearline.candidates import combine, decode
from headwater.nearline.deadletter import KEPT_BYTES
from headwater.nearline.records import MAX_LINE, Record, encode_line
from headwater.nearline.scenarios import SCENARIOS
from headwater.nearline.stored import CANDIDATES, POSITIONS, STATES, VISITS, candidates_key, is_content, visit_key
from headwater.store import LmdbStore, Put, RedisStore, key_bytes
from redis_server import RedisServer

NOW = int(time.time())
LIMIT = 120.0
"""Seconds after which what has not happened will not: far above what a busy machine needs."""
NAMESPACES = (STATES, CANDIDATES, SCENARIOS, POSITIONS, "nearline-dead-letter")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


def visit(user: int, request_id: str, timestamp: int, items: list[int], scenario: str = "mini_detail") -> Visit:
    ranked = [RankedItem(item, 0.5, item % 4) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=user, timestamp=timestamp, items=ranked)


def records(n: int, seed: int = 0, *, long: float = 0.0) -> list[Record]:
    """Visits and events of a few users, late and repeated ones among them; a part of the lists are long."""
    generator = random.Random(seed)
    made: list[Record] = []
    for at in range(n):
        user, when = generator.randrange(6), NOW - generator.randrange(10_000)
        if made and generator.random() < 0.1:
            made.append(generator.choice(made))
        elif generator.random() < 0.3:
            made.append(UserEvent(user=user, item=generator.randrange(60), behaviour="click", timestamp=when))
        else:
            scenario = generator.choice(["mini_detail", "in_shop", "homepage"])
            n_items = 600 if long and generator.random() < long else 20
            made.append(visit(user, f"r{at}", when, generator.sample(range(3 * n_items), n_items), scenario))
    return made


def write(path: Path, lines: list[Record | bytes]) -> None:
    with path.open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else encode_line(line))


def drain(stream: Stream) -> None:
    while stream.run_once():
        pass


def stored(store: LmdbStore, user: int, *scenarios: str) -> list[int]:
    names = scenarios or ("mini_detail", "in_shop", "homepage")
    raws = store.get_many(CANDIDATES, [candidates_key(user, name) for name in names])
    return combine([decode(raw) for raw in raws if raw is not None]).items.tolist()


@contextmanager
def running(stream: Stream, **pauses: float) -> Iterator[threading.Thread]:
    """The stream runs in a thread, which ends with the block, however that ends."""
    stop = threading.Event()
    thread = threading.Thread(target=stream.run, args=(stop,), kwargs=pauses, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(LIMIT)
    assert not thread.is_alive()


def wait_until(claim: Callable[[], bool], thread: threading.Thread) -> None:
    """Return when the claim holds; fail where the thread that should bring it about has died."""
    until = time.monotonic() + LIMIT
    while not claim():
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.001)


def contents(store: LmdbStore) -> list[bytes]:
    """Keys of the queued visits' contents, which stand among the candidates."""
    return [key for key, _ in store.scan(VISITS) if is_content(key)]


def everything(path: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    store = LmdbStore(path)
    found = {namespace: list(store.scan(namespace)) for namespace in NAMESPACES}
    store.close()
    return found


# -- what it does


def test_every_users_candidates_are_those_of_the_reference(log: Path, store: LmdbStore) -> None:
    made = records(300)
    write(log / "1.jsonl", list(made[:150]))
    write(log / "2.jsonl", list(made[150:]))
    policy = Policy(k=15, visits=3)
    stream = Stream(DirectorySource(log), store, policy, batch=40)
    drain(stream)
    for user in range(6):
        own = [record for record in made if record.user == user]
        for scenario in ("mini_detail", "in_shop", "homepage"):
            assert stored(store, user, scenario) == [row.item for row in reference(own, policy, scenario)]
    assert stream.status().records == 300


def test_what_the_service_appends_is_read_by_a_running_stream(log: Path, store: LmdbStore) -> None:
    stream = Stream(DirectorySource(log), store, Policy())
    with running(stream, poll_seconds=0.005) as thread:
        writer = RankLog(log)
        for at in range(20):
            writer.append(visit(1, f"r{at}", NOW, [at]))
        writer.close()
        wait_until(lambda: stream.status().records == 20, thread)
    assert stored(store, 1)[0] == 9  # of one second, the greatest request id is the newest


def test_a_new_stream_goes_on_where_the_old_one_stopped(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", list(records(50)))
    drain(Stream(DirectorySource(log), store, Policy()))
    write(log / "1.jsonl", list(records(10, seed=1)))
    again = Stream(DirectorySource(log), store, Policy())
    drain(again)
    assert again.status().records == 10


def test_reading_the_whole_log_again_under_another_name_changes_no_byte(
    log: Path, store: LmdbStore, tmp_path: Path
) -> None:
    write(log / "1.jsonl", [*records(200), b"torn\n"])
    drain(Stream(DirectorySource(log), store, Policy(), batch=7))
    before = {namespace: list(store.scan(namespace)) for namespace in NAMESPACES}
    drain(Stream(DirectorySource(log), store, Policy(), name="again", batch=31))
    after = {namespace: list(store.scan(namespace)) for namespace in NAMESPACES}
    assert after.pop(POSITIONS) == [(b"again", before[POSITIONS][0][1]), *before[POSITIONS]]
    before.pop(POSITIONS)
    assert after == before


def test_the_status_tells_what_waits_and_how_old_it_is(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", list(records(30)))
    os.utime(log / "1.jsonl", (NOW, NOW))
    stream = Stream(DirectorySource(log), store, Policy(), batch=10, clock=lambda: NOW + 5.0)
    stream.run_once()
    assert (stream.status().records, stream.status().lag_seconds) == (10, 5.0)
    assert 0 < stream.status().pending_bytes < (log / "1.jsonl").stat().st_size
    drain(stream)
    assert (stream.status().records, stream.status().pending_bytes, stream.status().lag_seconds) == (30, 0, 0.0)


# -- what it survives


def test_malformed_records_become_dead_letters_with_place_and_reason_and_the_stream_goes_on(
    log: Path, store: LmdbStore
) -> None:
    good = visit(1, "r", NOW, [5])
    ahead = visit(1, "ahead", NOW + 366 * 86_400, [6])
    bad: list[Record | bytes] = [
        b"not json\n",
        b"\n",
        b"\xff\xfe\n",
        encode_line(good).replace(b"0.5", b"NaN"),
        b'{"type":"visit","user":1}\n',
        b"x" * (50 << 20) + b"\n",
        ahead,
        visit(1, "empty", NOW, []),
        visit(1, "long", NOW, list(range(10_000))),
        visit(1, "negative", -5, [6]),
        visit(1, "s", NOW, [7], "unheard of"),
    ]
    write(log / "1.jsonl", [*bad, good, visit(1, "h", NOW, [8], "homepage"), visit(1, "twice", NOW + 1, [9, 9, 5])])
    stream = Stream(DirectorySource(log), store, Policy(truncate_other=0))
    drain(stream)
    letters = list(dead_letters(store))
    assert [letter.part for letter in letters] == ["1.jsonl"] * len(bad)
    assert [letter.offset for letter in letters] == sorted({letter.offset for letter in letters})
    reasons = "\n".join(letter.reason for letter in letters).splitlines()
    expected = [
        "malformed",
        "truncated",
        "malformed",
        "malformed",
        "request_id",
        str(MAX_LINE),
        "ahead|after",
        "$.items",
        "$.items",
        "$.timestamp",
        "unheard of",
    ]
    assert len(reasons) == len(expected)
    for reason, part in zip(reasons, expected, strict=True):
        assert any(word in reason for word in part.split("|")), reason
    assert letters[0].raw == b"not json\n"
    assert (letters[5].length, len(letters[5].raw)) == ((50 << 20) + 1, KEPT_BYTES)
    assert stored(store, 1) == [9, 5]
    assert (stream.status().records, stream.status().dead_letters) == (3, len(bad))


def test_a_torn_state_costs_one_user_the_queue_and_nobody_else(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(user, "r1", NOW, [user]) for user in (1, 2)])
    stream = Stream(DirectorySource(log), store, Policy())
    drain(stream)
    with store._env.begin(write=True) as txn:
        address = STATES.encode() + b"\0" + key_bytes(1)
        txn.put(address, bytes(txn.get(address))[:-5])
    write(log / "1.jsonl", [visit(user, "r2", NOW + 1, [10 + user]) for user in (1, 2)])
    again = Stream(DirectorySource(log), store, Policy())
    drain(again)
    assert (stored(store, 1), stored(store, 2)) == ([11], [12, 2])
    assert again.status().torn_states == 1


def test_a_torn_content_costs_one_visit_and_no_other(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(1, f"r{at}", NOW + at, [at]) for at in range(3)])
    drain(Stream(DirectorySource(log), store, Policy()))
    with store._env.begin(write=True) as txn:
        address = VISITS.encode() + b"\0" + visit_key(1, "mini_detail", "r1")
        txn.put(address, bytes(txn.get(address))[:-5])
    store.put_many([Put(VISITS, visit_key(1, "mini_detail", "r0"), b"of another visit")])
    write(log / "1.jsonl", [visit(1, "r3", NOW + 3, [3])])
    again = Stream(DirectorySource(log), store, Policy())
    drain(again)
    assert stored(store, 1) == [3, 2]
    assert again.status().torn_states == 2
    assert len(contents(store)) == 2


def test_a_state_of_another_version_stops_the_stream_and_nothing_is_lost(log: Path, store: LmdbStore) -> None:
    future = b"HN\x09 written by a later Headwater"
    store.put_many([Put(STATES, key_bytes(1), future)])
    write(log / "1.jsonl", [visit(1, "r", NOW, [5])])
    stream = Stream(DirectorySource(log), store, Policy())
    with pytest.raises(ArtefactError, match="version 09"):
        stream.run(threading.Event())
    assert store.get_many(STATES, [key_bytes(1)]) == [future]
    assert list(store.scan(POSITIONS)) == []


def test_a_store_that_is_away_is_tried_again(log: Path, tmp_path: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(1, "r", NOW, [5])])
    store.close()
    stream = Stream(DirectorySource(log), store, Policy())
    with running(stream, retry_seconds=0.001) as thread:
        wait_until(lambda: stream.status().failures >= 3, thread)
    assert stream.status().records == 0


def test_a_state_of_version_1_goes_on_where_it_was(log: Path, store: LmdbStore) -> None:
    content = struct.pack("<HH2q1q2H", 2, 1, 5, 6, 9, 0, 0)
    queue = struct.pack("<H2sH", 2, b"mm", 1) + struct.pack("<qH1s", NOW, 1, b"r") + struct.pack("<QI", 1, len(content))
    old = struct.pack("<2sBqqI", b"HN", 1, NOW, -1, 0) + struct.pack("<H", 1) + queue + content
    store.put_many([Put(STATES, key_bytes(1), old)])
    write(log / "1.jsonl", [visit(1, "s", NOW + 1, [7])])
    drain(Stream(DirectorySource(log), store, Policy()))
    assert (stored(store, 1, "mm"), stored(store, 1, "mini_detail", "mm")) == ([5, 6], [7, 5, 6])
    (state,) = store.get_many(STATES, [key_bytes(1)])
    assert state is not None
    assert state[:3] == b"HN\x02"
    assert len(contents(store)) == 2


@pytest.mark.parametrize("memory_bytes", [0, 20_000])
def test_states_that_do_not_fit_in_memory_are_read_from_the_store(log: Path, tmp_path: Path, memory_bytes: int) -> None:
    write(log / "1.jsonl", list(records(300)))
    found = []
    for name, room in (("roomy", 1 << 30), ("tight", memory_bytes)):
        store = LmdbStore(tmp_path / name)
        stream = Stream(DirectorySource(log), store, Policy(visits=3), batch=10, memory_bytes=room)
        drain(stream)
        assert stream.status().memory_bytes <= room
        store.close()
        found.append(everything(tmp_path / name))
    assert found[0] == found[1]


def test_several_streams_share_the_users_and_end_where_one_does(log: Path, tmp_path: Path) -> None:
    write(log / "1.jsonl", [*records(200), b"torn\n"])
    whole, shared = LmdbStore(tmp_path / "whole"), LmdbStore(tmp_path / "shared")
    drain(Stream(DirectorySource(log), whole, Policy()))
    streams = [Stream(DirectorySource(log), shared, Policy(), partition=(index, 3), batch=20) for index in range(3)]
    for _ in range(30):
        for stream in streams:
            stream.run_once()
    assert sum(stream.status().records for stream in streams) == 200
    assert sum(stream.status().dead_letters for stream in streams) == 1
    assert len(list(shared.scan(POSITIONS))) == 3
    whole.close()
    shared.close()
    one, three = everything(tmp_path / "whole"), everything(tmp_path / "shared")
    del one[POSITIONS], three[POSITIONS]
    assert one == three


@pytest.mark.parametrize("partition", [(1, 1), (-1, 2), (0, 0)])
def test_a_partition_that_is_none_is_refused(log: Path, store: LmdbStore, partition: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="partition"):
        Stream(DirectorySource(log), store, Policy(), partition=partition)


def test_two_streams_of_one_name_take_turns_and_lose_nothing(log: Path, tmp_path: Path) -> None:
    write(log / "1.jsonl", list(records(200)))
    alone, both = LmdbStore(tmp_path / "alone"), LmdbStore(tmp_path / "both")
    drain(Stream(DirectorySource(log), alone, Policy()))
    streams = [Stream(DirectorySource(log), both, Policy(), batch=7) for _ in range(2)]
    for turn in range(200):
        # Each is interrupted by the other between two of its own batches, with states of its own in memory.
        streams[turn // 3 % 2].run_once()
    alone.close()
    both.close()
    assert everything(tmp_path / "both") == everything(tmp_path / "alone")


def test_a_log_of_arrow_batches_ends_where_the_same_log_in_json_does(tmp_path: Path) -> None:
    made = records(200)
    for at in range(0, 200, 50):
        lines = b"".join(encode_line(record, columnar=at % 100 == 0) for record in made[at : at + 50])
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{at:03d}.jsonl").write_bytes(lines)
    arrow = ArrowRankLog(tmp_path / "arrow")
    arrow.append_many(made[:120])
    arrow.append_many(made[120:])
    arrow.close()
    found = []
    for name in ("json", "arrow"):
        store = LmdbStore(tmp_path / f"{name}-store")
        # One Arrow batch holds several batches of the stream.
        drain(Stream(DirectorySource(tmp_path / name), store, Policy(), batch=33))
        store.close()
        found.append(everything(tmp_path / f"{name}-store"))
        del found[-1][POSITIONS]
    assert found[0] == found[1]
    assert found[0][CANDIDATES]


def test_refused_rows_of_an_arrow_batch_become_dead_letters_and_the_others_are_taken_in(
    tmp_path: Path, store: LmdbStore
) -> None:
    rows = to_batch([visit(1, f"r{at}", NOW, [at]) for at in range(4)]).to_pylist()
    rows[1]["scores"] = [float("nan")]
    rows[2]["scenario"] = "unheard of"
    path = tmp_path / "log" / "1.arrows"
    path.parent.mkdir()
    with pa.ipc.new_stream(path, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    with pa.ipc.new_stream(tmp_path / "log" / "2.arrows", pa.schema({"user": pa.string()})) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"user": ["someone"]}))
    stream = Stream(DirectorySource(tmp_path / "log"), store, Policy(truncate_other=0))
    drain(stream)
    letters = list(dead_letters(store))
    assert [(letter.part, letter.row) for letter in letters] == [("1.arrows", 1), ("1.arrows", 2), ("2.arrows", None)]
    for letter, word in zip(letters, ("finite", "unheard of", "user"), strict=True):
        assert word in letter.reason
    assert b'"request_id":"r1"' in letters[0].raw
    assert stored(store, 1) == [3, 0]
    assert (stream.status().records, stream.status().dead_letters) == (2, 3)


def test_a_changed_policy_file_is_used_from_the_next_batch_on_and_a_broken_one_is_not(
    log: Path, store: LmdbStore, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("k = 3")
    stream = Stream(DirectorySource(log), store, PolicyFile(path))

    def after(text: str) -> int:
        path.write_text(text)
        write(log / "1.jsonl", [visit(1, f"r{len(text)}", NOW + len(text), list(range(10)))])
        drain(stream)
        return len(stored(store, 1))

    assert after("k = 3 ") == 3
    assert after("k = 4  ") == 4
    assert after("k = nothing") == 4
    assert "policy.toml" in stream.status().policy_fault
    assert after("k = 5         ") == 5
    assert stream.status().policy_fault == ""


def test_a_clock_that_jumps_back_neither_loses_nor_reorders_anything(log: Path, store: LmdbStore) -> None:
    made = [visit(1, f"r{at}", NOW - at * 3_600, [at]) for at in range(5)]  # each appended after, and stamped before
    write(log / "1.jsonl", list(made))
    drain(Stream(DirectorySource(log), store, Policy(), batch=2, clock=lambda: 0.0))
    assert stored(store, 1) == [0, 1, 2, 3, 4]


def test_a_full_disk_is_waited_out_and_nothing_is_lost(log: Path, tmp_path: Path) -> None:
    write(log / "1.jsonl", list(records(400)))
    code = (
        "import resource, sys, threading, time\n"
        "from headwater.nearline import DirectorySource, Policy, Stream\n"
        "from headwater.store import LmdbStore\n"
        "stream = Stream(DirectorySource(sys.argv[1]), LmdbStore(sys.argv[2]), Policy(), batch=20)\n"
        "for _ in range(3): stream.run_once()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, resource.RLIM_INFINITY))\n"
        "stop = threading.Event()\n"
        "running = threading.Thread(target=stream.run, args=(stop,), kwargs={'retry_seconds': 0.01}, daemon=True)\n"
        "running.start()\n"
        "while stream.status().failures < 3 and running.is_alive(): time.sleep(0.001)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "while stream.status().records < 400 and running.is_alive(): time.sleep(0.001)\n"
        "stop.set(); running.join()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(log), str(tmp_path / "full")], check=True, timeout=LIMIT)
    store = LmdbStore(tmp_path / "roomy")
    drain(Stream(DirectorySource(log), store, Policy()))
    store.close()
    assert everything(tmp_path / "full") == everything(tmp_path / "roomy")


def test_a_store_that_was_away_takes_everything_when_it_is_back(
    log: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    write(log / "1.jsonl", list(records(200)))
    store = RedisStore(redis_server.url)
    stream = Stream(DirectorySource(log), store, Policy(), batch=20)
    for _ in range(3):
        stream.run_once()
    redis_server.kill()
    with running(stream, retry_seconds=0.01) as thread:
        wait_until(lambda: stream.status().failures >= 3, thread)
        redis_server.start()
        wait_until(lambda: stream.status().records == 200, thread)
    found = {namespace: list(store.scan(namespace)) for namespace in NAMESPACES}
    store.close()
    alone = LmdbStore(tmp_path / "alone")
    drain(Stream(DirectorySource(log), alone, Policy()))
    alone.close()
    assert found == everything(tmp_path / "alone")


STREAM = (
    "import sys, threading\n"
    "from headwater.nearline import DirectorySource, Policy, Stream\n"
    "from headwater.store import LmdbStore\n"
    "log, store, batch = sys.argv[1], LmdbStore(sys.argv[2]), int(sys.argv[3])\n"
    "stream = Stream(DirectorySource(log), store, Policy(), batch=batch)\n"
    "overlap = lambda: stream._guarded(stream._settle_unless_more_waits)\n"
    "step = {'waits': stream.run_once, 'overlaps': overlap}[sys.argv[4]]\n"
    "while step(): print('batch', flush=True)\n"
    "print('done', flush=True)\n"
)


@pytest.mark.parametrize("writing", ["waits", "overlaps"])
def test_a_stream_killed_at_random_moments_ends_in_the_bytes_of_an_uninterrupted_one(
    log: Path, tmp_path: Path, writing: str
) -> None:
    kills = int(os.environ.get("HEADWATER_KILLS", "5"))  # `make faults` asks for 100
    made = records(300 * kills, long=0.1)
    for at in range(3):
        write(log / f"{at}.jsonl", [*made[at::3], b"malformed\n"])

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", STREAM, str(log), str(tmp_path / name), "8", writing]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(LIMIT, process.kill)  # of a process that says nothing more, and would be waited for
        watchdog.daemon = True
        watchdog.start()
        return process

    whole = start("uninterrupted")
    assert whole.communicate()[0].endswith("batch\ndone\n")
    generator = random.Random(5)
    positions: list[int] = []
    for _ in range(kills):
        process = start("killed")
        assert process.stdout
        for _ in range(generator.randrange(1, 20)):
            assert process.stdout.readline() == "batch\n"
        time.sleep(generator.uniform(0, 0.006))  # somewhere within a batch
        os.kill(process.pid, signal.SIGKILL)
        assert "done" not in process.communicate()[0]
        positions.append(sum(sum(json.loads(raw).values()) for _, raw in everything(tmp_path / "killed")[POSITIONS]))
    assert positions == sorted(positions)
    # Where one batch is worked out while another is written, the first that was said may not be durable.
    assert len(set(positions)) == kills or writing == "overlaps"
    assert start("killed").communicate()[0].endswith("done\n")
    assert everything(tmp_path / "killed") == everything(tmp_path / "uninterrupted")


# -- forgetting


def test_a_forgotten_user_is_gone_and_no_replay_brings_the_user_back(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(user, "r1", NOW - 10, [user]) for user in (1, 2)])
    drain(Stream(DirectorySource(log), store, Policy()))
    forget(store, 1, at=NOW)
    assert (stored(store, 1), stored(store, 2)) == ([], [2])
    drain(Stream(DirectorySource(log), store, Policy(), name="replay"))
    assert (stored(store, 1), stored(store, 2)) == ([], [2])
    write(log / "1.jsonl", [visit(1, "r2", NOW + 1, [7])])
    drain(Stream(DirectorySource(log), store, Policy()))
    assert stored(store, 1) == [7]


def test_a_batch_under_way_while_its_user_is_forgotten_does_not_bring_the_user_back(
    log: Path, store: LmdbStore
) -> None:
    write(log / "1.jsonl", [visit(1, "r1", NOW - 10, [1])])
    drain(Stream(DirectorySource(log), store, Policy()))
    write(log / "1.jsonl", [visit(1, "r2", NOW - 9, [2])])

    class ForgettingJustBeforeTheWrite:
        """The store, with another process's `forget` between the stream's read and its write."""

        forgotten = False

        def __getattr__(self, name: str) -> Any:
            if name == "update_many" and not self.forgotten:
                self.forgotten = True
                forget(store, 1, at=NOW)
            return getattr(store, name)

    drain(Stream(DirectorySource(log), ForgettingJustBeforeTheWrite(), Policy()))
    assert stored(store, 1) == []


def test_a_user_forgotten_while_one_batch_is_written_and_the_next_worked_out_stays_forgotten(
    log: Path, store: LmdbStore
) -> None:
    write(log / "1.jsonl", [visit(1 + at % 2, f"r{at:02d}", NOW - 100 + at, [at]) for at in range(60)])
    writes = 0

    class ForgettingWithinTheThirdWrite:
        def __getattr__(self, name: str) -> Any:
            nonlocal writes
            if name == "update_many":
                writes += 1
                if writes == 3:
                    time.sleep(0.02)  # by now the next batch is worked out
                    forget(store, 1, at=NOW)
            return getattr(store, name)

    stream = Stream(DirectorySource(log), ForgettingWithinTheThirdWrite(), Policy(visits=100), batch=6)
    with running(stream) as thread:
        wait_until(lambda: stream.status().records == 60, thread)
    assert stored(store, 1) == []
    assert stored(store, 2) == list(range(59, 0, -2))
    assert stream.status().failures == 0


def test_what_a_stream_had_begun_to_write_when_it_was_stopped_is_written(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(1, f"r{at:02d}", NOW + at, [at]) for at in range(40)])
    stream, stop = Stream(DirectorySource(log), store, Policy(visits=100), batch=5), threading.Event()

    class StoppingWithinTheWrite:
        def __getattr__(self, name: str) -> Any:
            if name == "update_many":
                stop.set()
            return getattr(store, name)

    stream._store = StoppingWithinTheWrite()  # type: ignore[assignment]
    stream.run(stop)
    done = stream.status().records
    assert 5 <= done <= 10
    assert stored(store, 1) == list(range(done))[::-1]


def test_a_user_whose_state_is_torn_can_be_forgotten(log: Path, store: LmdbStore) -> None:
    with store._env.begin(write=True) as txn:
        txn.put(STATES.encode() + b"\0" + key_bytes(1), b"torn")
    forget(store, 1, at=NOW)
    write(log / "1.jsonl", [visit(1, "r1", NOW - 10, [1])])
    drain(Stream(DirectorySource(log), store, Policy()))
    assert stored(store, 1) == []


def test_the_operator_is_imported_without_a_store_or_torch() -> None:
    code = "import sys, headwater.nearline.operator; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lmdb", "torch", "polars", "headwater.store"} & set(loaded)
