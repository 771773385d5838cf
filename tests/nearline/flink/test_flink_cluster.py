"""The job on a real Flink, of this machine: what it survives, and that its store is that of the local runtime."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from test_flink_functions import everything, made_records, write_log

from headwater.errors import ClusterError
from headwater.nearline import (
    DirectorySource,
    KafkaRankLog,
    KafkaSource,
    Policy,
    RedisRankLog,
    RedisSource,
    Source,
    Stream,
)
from headwater.nearline.flink.cluster import Installation, LocalCluster
from headwater.nearline.flink.control import Job
from headwater.nearline.flink.reading import notes
from headwater.nearline.flink.settings import JobSettings
from headwater.store import LmdbStore, open_store
from kafka_server import KafkaServer
from redis_server import BUNDLED, RedisServer

pytestmark = pytest.mark.servers

ENVIRONMENT = Path(__file__).parents[3] / ".venv-flink"
LIMIT = 240.0
"""Seconds after which what has not happened will not: far above what a busy machine needs."""


@pytest.fixture(scope="module")
def installation() -> Installation:
    return Installation(ENVIRONMENT)


@pytest.fixture(scope="module")
def cluster(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(installation, tmp_path_factory.mktemp("flink")) as started:
        yield started


def wait_until(claim: Callable[[], bool], job: Job) -> None:
    until = time.monotonic() + LIMIT
    while not claim():
        assert time.monotonic() < until, job.trouble()
        time.sleep(0.02)


def by_the_local_runtime(source: Source, folder: Path, policy: Policy) -> dict[str, list[tuple[bytes, bytes]]]:
    store = LmdbStore(folder)
    stream = Stream(source, store, policy)
    while stream.run_once():
        pass
    found = everything(store)
    store.close()
    return found


def test_a_task_manager_that_is_killed_costs_a_replay_and_no_byte(
    tmp_path: Path, installation: Installation, cluster: LocalCluster
) -> None:
    made = made_records(1_500, 1)
    write_log(tmp_path / "log", made[:500])
    store = open_store(tmp_path / "store")
    given = JobSettings(
        log=str(tmp_path / "log"),
        store=str(tmp_path / "store"),
        checkpoints=str(tmp_path / "checkpoints"),
        batch=20,
        name="killed",
    )
    job = Job(cluster.url, given, store)
    job.submit(installation)
    job.wait_until_running()
    wait_until(lambda: job.status().records >= 500, job)
    wait_until(lambda: job.checkpoints()["counts"]["completed"] >= 2, job)
    # Between two checkpoints there is a second: kill when some of what came after the last one has been read.
    write_log(tmp_path / "log", made[500:1_000])
    wait_until(lambda: job.status().records >= 700, job)
    cluster.kill_task_manager()
    cluster.add_task_manager()
    write_log(tmp_path / "log", made[1_000:])
    wait_until(lambda: job.status().records == 1_500, job)
    restored = job.checkpoints()["latest"]["restored"]
    print(f"restored from checkpoint {restored['id']}; {job.replayed()} records were replayed")
    assert restored["id"] >= 2
    assert job.replayed() > 0
    assert job.status().dead_letters == 9  # one of each write to each of three files
    job.stop()
    expected = by_the_local_runtime(DirectorySource(tmp_path / "log"), tmp_path / "local", Policy())
    wait_until(lambda: everything(store) == expected, job)
    store.close()


def test_a_job_on_redis_stops_with_a_savepoint_and_goes_on_rescaled_and_with_another_policy(
    tmp_path: Path, installation: Installation, cluster: LocalCluster
) -> None:
    with RedisServer(BUNDLED) as server:
        log = RedisRankLog(server.url, "shop")
        made = made_records(900, 2)
        log.append_many(made[:400])
        store = open_store(server.url)
        given = JobSettings(
            log=f"{server.url}&stream=shop",
            store=server.url,
            checkpoints=str(tmp_path / "checkpoints"),
            name="rescaled",
            policy=Policy(k=30),
        )
        job = Job(cluster.url, given, store)
        job.submit(installation)
        job.wait_until_running()
        wait_until(lambda: job.status().records == 400, job)
        savepoint = job.stop()
        assert (Path(urlsplit(savepoint).path) / "_metadata").is_file()
        assert not job.find()

        wider = given.model_copy(update={"parallelism": 2, "policy": Policy()})
        job = Job(cluster.url, wider, store)
        with pytest.raises(ClusterError, match=r"takes 2 slots, and the cluster at .* has 1 free"):
            job.submit(installation, migrate=True)
        cluster.add_task_manager()
        cluster.wait_for(2)
        log.append_many(made[400:])
        log.close()
        job.submit(installation, migrate=True)
        job.wait_until_running()
        wait_until(lambda: job.status().records == 900, job)
        assert job.checkpoints()["latest"]["restored"]["external_path"] == savepoint
        assert job.replayed() == 0
        # All users have come since the policy changed, so all candidates are of the new one.
        source = RedisSource(server.url, "shop")
        expected = by_the_local_runtime(source, tmp_path / "local", Policy())
        wait_until(lambda: everything(store) == expected, job)
        job.stop()
        source.close()
        store.close()


def test_a_job_reads_kafka_and_goes_on_where_its_checkpoints_are_lost(
    tmp_path: Path, installation: Installation, cluster: LocalCluster
) -> None:
    made = made_records(600, 4)
    with KafkaServer() as server:
        log = KafkaRankLog(server.servers, "shop")
        log.append_many(made[:300])
        store = open_store(tmp_path / "store")
        given = JobSettings(
            log=f"kafka://{server.servers}/shop",
            store=str(tmp_path / "store"),
            checkpoints=str(tmp_path / "checkpoints"),
            name="from-kafka",
            readers=2,
        )
        job = Job(cluster.url, given, store)
        job.submit(installation)
        job.wait_until_running()
        wait_until(lambda: job.status().records == 300, job)
        wait_until(lambda: job.checkpoints()["counts"]["completed"] >= 1, job)
        shutil.rmtree(tmp_path / "checkpoints")
        (tmp_path / "checkpoints").touch()  # in the way of a new folder, for whoever may write anywhere
        wait_until(lambda: "failed" in job.trouble(), job)
        log.append_many(made[300:])
        wait_until(lambda: job.status().records == 600, job)
        assert not job.has_ended()
        (tmp_path / "checkpoints").unlink()
        source = KafkaSource(server.servers, "shop")
        expected = by_the_local_runtime(source, tmp_path / "local", Policy())
        wait_until(lambda: everything(store) == expected, job)
        job.stop()
        source.close()
        log.close()
        store.close()


def headwater_stream(home: Path, cluster: LocalCluster, *options: str) -> subprocess.Popen[str]:
    words = ["--home", str(home), "--runtime", "flink", "--cluster", cluster.url, "--name", "by-the-verb", *options]
    environment = ["--flink-environment", str(ENVIRONMENT)]
    return subprocess.Popen(
        [sys.executable, "-m", "headwater", "stream", *words, *environment],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_verb_submits_watches_rescales_and_stops_with_a_savepoint(tmp_path: Path, cluster: LocalCluster) -> None:
    made = made_records(400, 3)
    write_log(tmp_path / "log", made[:200])
    store = open_store(tmp_path / "store")
    if len(cluster.task_managers) < 2:
        cluster.add_task_manager()
        cluster.wait_for(2)
    first = headwater_stream(tmp_path, cluster)
    until = time.monotonic() + LIMIT
    while sum(note.records for note in notes(store, "by-the-verb")) < 200:
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    wider = headwater_stream(tmp_path, cluster, "--parallelism", "2")
    said = first.communicate(timeout=LIMIT)[0]  # its job is no more
    assert "submitted as" in said
    assert "200 records" in said
    write_log(tmp_path / "log", made[200:])
    while sum(note.records for note in notes(store, "by-the-verb")) < 400:
        assert wider.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    expected = by_the_local_runtime(DirectorySource(tmp_path / "log"), tmp_path / "local", Policy())
    while everything(store) != expected:
        assert time.monotonic() < until
        time.sleep(0.1)
    wider.send_signal(signal.SIGINT)
    said = wider.communicate(timeout=LIMIT)[0]
    assert wider.returncode == 0
    assert "to go on with 2 slots" in said
    assert "goes on from" in said
    assert said.count("stopped with the savepoint") == 2  # to be rescaled, and at the end
    store.close()
