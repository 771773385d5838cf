"""What the job's functions leave in a store, whatever Flink does to them; Flink itself is in test_flink_cluster.py."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from simulated import SimulatedJob

from headwater.errors import ArtefactError, StoreAway
from headwater.nearline import DirectorySource, Policy, RankedItem, Stream, UserEvent, Visit, forget
from headwater.nearline.columns import RecordColumns
from headwater.nearline.flink.reading import notes
from headwater.nearline.flink.updates import EPOCH_BYTES, Updates
from headwater.nearline.flink.wire import by_user, unpack
from headwater.nearline.records import Record, encode_line
from headwater.nearline.stored import CANDIDATES, STATES
from headwater.store import LmdbStore, Put, Store

NOW = 1_700_000_000
COMPARED = ("nearline", "nearline-state", "nearline-scenario", "nearline-dead-letter")
"""What both runtimes must leave alike; positions are each one's own."""


def made_records(n: int, seed: int) -> list[Record]:
    """Visits and clicks of a few users, late and repeated ones and some that age others out among them."""
    generator = random.Random(seed)
    made: list[Record] = []
    for at in range(n):
        user, when = generator.randrange(5), NOW - generator.randrange(12 * 86_400)
        if made and generator.random() < 0.1:
            made.append(generator.choice(made))
        elif generator.random() < 0.3:
            made.append(UserEvent(user=user, item=generator.randrange(60), behaviour="click", timestamp=when))
        else:
            items = [RankedItem(item, 0.5, item % 4) for item in generator.sample(range(60), 15)]
            scenario = generator.choice(["mini_detail", "in_shop", "homepage"])
            made.append(Visit(request_id=f"r{at}", scenario=scenario, user=user, timestamp=when, items=items))
    return made


def write_log(folder: Path, records: list[Record], files: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    for at in range(files):
        lines = b"".join(encode_line(record) for record in records[at::files])
        with (folder / f"{at}.jsonl").open("ab") as file:
            file.write(lines + b"poison\n")


def everything(store: Store) -> dict[str, list[tuple[bytes, bytes]]]:
    return {namespace: list(store.scan(namespace)) for namespace in COMPARED}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def policy() -> Policy:
    return Policy(k=15, visits=3)


def by_the_local_runtime(tmp_path: Path, policy: Policy) -> dict[str, list[tuple[bytes, bytes]]]:
    store = LmdbStore(tmp_path / "of-the-local-runtime")
    stream = Stream(DirectorySource(tmp_path / "log"), store, policy, batch=40)
    while stream.run_once():
        pass
    found = everything(store)
    store.close()
    return found


@pytest.mark.parametrize("readers", [1, 3])
def test_both_runtimes_leave_the_same_bytes(tmp_path: Path, store: LmdbStore, policy: Policy, readers: int) -> None:
    write_log(tmp_path / "log", made_records(300, 1))
    job = SimulatedJob(tmp_path / "log", store, policy, 1, readers=readers)
    job.drain()
    assert everything(store) == by_the_local_runtime(tmp_path, policy)
    assert sum(note.records for note in notes(store, "job")) == 300


@pytest.mark.parametrize("seed", range(6))
def test_crashes_and_other_orders_of_what_is_replayed_change_no_byte(
    tmp_path: Path, store: LmdbStore, policy: Policy, seed: int
) -> None:
    write_log(tmp_path / "log", made_records(300, seed))
    job = SimulatedJob(tmp_path / "log", store, policy, seed, readers=2)
    for _ in range(40):
        job.step()
        if job.random.random() < 0.3:
            job.checkpoint()
        if job.random.random() < 0.25:
            job.crash()
    job.crash()
    job.drain()
    assert everything(store) == by_the_local_runtime(tmp_path, policy)
    assert sum(note.replayed for note in notes(store, "job")) > 0


def test_a_write_that_a_crash_cut_off_is_made_by_the_timer_that_comes_again(
    tmp_path: Path, store: LmdbStore, policy: Policy
) -> None:
    write_log(tmp_path / "log", made_records(30, 2), files=1)
    job = SimulatedJob(tmp_path / "log", store, policy, 2)
    found, position = job.readings[0].poll(None)
    assert position is not None
    for user, raw in found:  # taken in, and checkpointed with the timers, and not written
        job.values[user] = job.updates.take_in(user, None, unpack(raw, user), 5)
        job.timers.add((user, 5))
    job.positions[0] = position
    job.checkpoint()
    assert not list(store.scan(STATES))
    job.crash()
    job.fire(10)
    assert len(list(store.scan(STATES))) == len(found)
    job.drain()
    assert everything(store) == by_the_local_runtime(tmp_path, policy)


def test_a_store_that_lost_everything_has_it_again_when_the_users_come(
    tmp_path: Path, store: LmdbStore, policy: Policy
) -> None:
    records = made_records(200, 3)
    write_log(tmp_path / "log", records)
    job = SimulatedJob(tmp_path / "log", store, policy, 3)
    job.drain()
    before = {namespace: list(store.scan(namespace)) for namespace in (CANDIDATES, STATES)}
    for namespace in before:
        store.delete_many(namespace, [key for key, _ in store.scan(namespace)])
    job.start()
    write_log(tmp_path / "log", [record for user in range(5) for record in records if record.user == user][:200])
    job.drain()
    assert {namespace: list(store.scan(namespace)) for namespace in before} == before


def test_a_user_who_is_forgotten_beside_the_job_stays_forgotten(
    tmp_path: Path, store: LmdbStore, policy: Policy
) -> None:
    records = made_records(200, 4)
    write_log(tmp_path / "log", records)
    job = SimulatedJob(tmp_path / "log", store, policy, 4)
    job.drain()
    forget(store, 2, at=NOW)
    write_log(tmp_path / "log", made_records(60, 5))  # all of it up to NOW
    job.drain()
    assert not [key for key, _ in store.scan(CANDIDATES) if key[:8] == (2 + 2**63).to_bytes(8, "big")]
    again = LmdbStore(tmp_path / "again")
    forget(again, 2, at=NOW)
    stream = Stream(DirectorySource(tmp_path / "log"), again, policy)
    while stream.run_once():
        pass
    assert everything(store) == everything(again)
    again.close()


def test_a_store_that_is_away_is_tried_again_and_then_named(store: LmdbStore, policy: Policy) -> None:
    class Away:
        def __init__(self, times: int) -> None:
            self.times = times

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def update_many(self, *arguments: object) -> int:
            if self.times:
                self.times -= 1
                raise StoreAway("redis://there cannot be reached")
            return store.update_many(*arguments)  # type: ignore[arg-type]

    columns = RecordColumns.of([UserEvent(user=1, item=2, behaviour="click", timestamp=NOW)])
    pauses: list[float] = []
    updates = Updates(Away(3), policy, pause=pauses.append)  # type: ignore[arg-type]
    updates.take_in(1, None, columns, 5)
    updates.flush()
    assert (len(pauses), len(list(store.scan(STATES)))) == (3, 1)
    never = Updates(Away(10**9), policy, patience_seconds=2, pause=pauses.append)  # type: ignore[arg-type]
    never.take_in(1, None, columns, 5)
    with pytest.raises(StoreAway, match="redis://there"):
        never.flush()


def test_a_value_of_a_later_version_is_refused_by_name(store: LmdbStore, policy: Policy) -> None:
    updates = Updates(store, policy)
    columns = RecordColumns.of([UserEvent(user=1, item=2, behaviour="click", timestamp=NOW)])
    value = bytearray(updates.take_in(1, None, columns, 5))
    value[EPOCH_BYTES + 2] = 9
    with pytest.raises(ArtefactError, match="version 09"):
        Updates(store, policy).take_in(1, bytes(value), columns, 6)


def test_records_come_off_the_wire_as_they_went_on() -> None:
    columns = RecordColumns.of(made_records(80, 6))
    seen = 0
    for user, raw in by_user(columns):
        mine = columns.take(np.flatnonzero(columns.users == user))
        came = unpack(raw, user)
        seen += len(came)
        for name in ("users", "timestamps", "behaviours", "offsets", "items", "categories"):
            assert (getattr(came, name) == getattr(mine, name)).all()
        assert came.request_ids == mine.request_ids
        names = [(*columns.scenario_names, None)[code] for code in mine.scenarios]
        assert [(*came.scenario_names, None)[code] for code in came.scenarios] == names
    assert seen == 80


def test_what_is_put_beside_the_values_does_not_disturb_a_scan(store: LmdbStore) -> None:
    store.put_many([Put("nearline-position", b"stream", b"{}")])
    assert notes(store, "job") == []
