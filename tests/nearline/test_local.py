"""The stream process: what it writes, what it survives, and that a crash at any moment changes nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reference import reference

from headwater.errors import ArtefactError
from headwater.nearline import (
    DirectorySource,
    Policy,
    RankedItem,
    RankLog,
    Stream,
    UserEvent,
    Visit,
    dead_letters,
    forget,
)
from headwater.nearline.candidates import decode
from headwater.nearline.deadletter import KEPT_BYTES
from headwater.nearline.local import CANDIDATES, POSITIONS, STATES
from headwater.nearline.ranklog import MAX_LINE, Record, encode_line
from headwater.store import LmdbStore, Put, key_bytes

NOW = int(time.time())
NAMESPACES = (STATES, CANDIDATES, POSITIONS, "nearline-dead-letter")


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


def records(n: int, seed: int = 0) -> list[Record]:
    """Visits and events of a few users, late and repeated ones among them."""
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
            made.append(visit(user, f"r{at}", when, generator.sample(range(60), 20), scenario))
    return made


def write(path: Path, lines: list[Record | bytes]) -> None:
    with path.open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else encode_line(line))


def drain(stream: Stream) -> None:
    while stream.run_once():
        pass


def stored(store: LmdbStore, user: int) -> list[int]:
    (raw,) = store.get_many(CANDIDATES, [key_bytes(user)])
    return [] if raw is None else decode(raw).items.tolist()


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
        expected = reference([record for record in made if record.user == user], policy)
        assert stored(store, user) == [row.item for row in expected]
    assert stream.status().records == 300


def test_what_the_service_appends_is_read_by_a_running_stream(log: Path, store: LmdbStore) -> None:
    stop = threading.Event()
    stream = Stream(DirectorySource(log), store, Policy())
    running = threading.Thread(target=stream.run, args=(stop,), kwargs={"poll_seconds": 0.005})
    running.start()
    writer = RankLog(log)
    for at in range(20):
        writer.append(visit(1, f"r{at}", NOW, [at]))
    writer.close()
    while stream.status().records < 20:
        time.sleep(0.005)
    stop.set()
    running.join()
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
        b"x" * (2 * MAX_LINE) + b"\n",
        ahead,
        visit(1, "s", NOW, [7], "unheard of"),
    ]
    write(log / "1.jsonl", [*bad, good, visit(1, "h", NOW, [8], "homepage")])
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
        "unheard of",
    ]
    assert len(reasons) == len(expected)
    for reason, part in zip(reasons, expected, strict=True):
        assert any(word in reason for word in part.split("|")), reason
    assert letters[0].raw == b"not json\n"
    assert (letters[5].length, len(letters[5].raw)) == (2 * MAX_LINE + 1, KEPT_BYTES)
    assert stored(store, 1) == [5]
    assert (stream.status().records, stream.status().dead_letters) == (2, len(bad))


def test_a_torn_state_costs_one_user_the_queue_and_nobody_else(log: Path, store: LmdbStore) -> None:
    write(log / "1.jsonl", [visit(user, "r1", NOW, [user]) for user in (1, 2)])
    stream = Stream(DirectorySource(log), store, Policy())
    drain(stream)
    with store._env.begin(write=True) as txn:
        address = STATES.encode() + b"\0" + key_bytes(1)
        txn.put(address, bytes(txn.get(address))[:-5])
    write(log / "1.jsonl", [visit(user, "r2", NOW + 1, [10 + user]) for user in (1, 2)])
    drain(stream)
    assert (stored(store, 1), stored(store, 2)) == ([11], [12, 2])
    assert stream.status().torn_states == 1


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
    stop = threading.Event()
    stream = Stream(DirectorySource(log), store, Policy())
    running = threading.Thread(target=stream.run, args=(stop,), kwargs={"retry_seconds": 0.001})
    running.start()
    while stream.status().failures < 3:
        time.sleep(0.001)
    stop.set()
    running.join()
    assert stream.status().records == 0


STREAM = (
    "import sys, threading\n"
    "from headwater.nearline import DirectorySource, Policy, Stream\n"
    "from headwater.store import LmdbStore\n"
    "log, store, batch = sys.argv[1], LmdbStore(sys.argv[2]), int(sys.argv[3])\n"
    "stream = Stream(DirectorySource(log), store, Policy(), batch=batch)\n"
    "while stream.run_once(): print('batch', flush=True)\n"
    "print('done', flush=True)\n"
)


def test_a_stream_killed_at_random_moments_ends_in_the_bytes_of_an_uninterrupted_one(log: Path, tmp_path: Path) -> None:
    made = records(1_500)
    for at in range(3):
        write(log / f"{at}.jsonl", [*made[at::3], b"malformed\n"])

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", STREAM, str(log), str(tmp_path / name), "8"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    whole = start("uninterrupted")
    assert whole.communicate()[0].endswith("batch\ndone\n")
    generator = random.Random(5)
    positions: list[int] = []
    for _ in range(5):
        process = start("killed")
        assert process.stdout
        for _ in range(generator.randrange(1, 20)):
            assert process.stdout.readline() == "batch\n"
        time.sleep(generator.uniform(0, 0.006))  # somewhere within a batch
        os.kill(process.pid, signal.SIGKILL)
        assert "done" not in process.communicate()[0]
        positions.append(sum(sum(json.loads(raw).values()) for _, raw in everything(tmp_path / "killed")[POSITIONS]))
    assert positions == sorted(set(positions))
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

        def __getattr__(self, name: str) -> Any:
            if name == "update_many":
                forget(store, 1, at=NOW)
            return getattr(store, name)

    drain(Stream(DirectorySource(log), ForgettingJustBeforeTheWrite(), Policy()))
    assert stored(store, 1) == []


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
