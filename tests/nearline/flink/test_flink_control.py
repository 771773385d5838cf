"""What is refused before anything is submitted, and where a job goes on from. No Flink is needed to say so."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headwater.errors import ClusterError, ConfigError
from headwater.nearline import Policy
from headwater.nearline.flink.cluster import Installation
from headwater.nearline.flink.control import Job
from headwater.nearline.flink.settings import JobSettings
from headwater.nearline.stored import MARKS
from headwater.store import LmdbStore, Put

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Looks as one from outside; nothing of it is ever run here."""
    command = tmp_path / "environment" / "lib" / "python3.11" / "site-packages" / "pyflink" / "bin" / "flink"
    command.parent.mkdir(parents=True)
    command.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return Installation(tmp_path / "environment")


def settings(tmp_path: Path, **other: object) -> JobSettings:
    given = {
        "log": str(tmp_path / "log"),
        "store": str(tmp_path / "store"),
        "checkpoints": str(tmp_path / "checkpoints"),
    }
    return JobSettings.model_validate(given | other)


def submitted_before(store: LmdbStore, made_with: JobSettings) -> None:
    key = f"flink.{made_with.name}".encode()
    store.put_many([Put(MARKS, key, msgspec.json.encode(made_with.identity()))])


def complete(folder: Path, age: int = 0) -> None:
    folder.mkdir(parents=True)
    (folder / "_metadata").touch()
    os.utime(folder / "_metadata", (1_700_000_000 - age,) * 2)


def test_another_policy_is_refused_and_the_way_on_is_named(
    tmp_path: Path, store: LmdbStore, installation: Installation
) -> None:
    submitted_before(store, settings(tmp_path))
    job = Job(NOBODY, settings(tmp_path, policy=Policy(k=7)), store)
    with pytest.raises(ConfigError, match=r"another policy.*--migrate"):
        job.submit(installation)


def test_a_state_of_an_older_version_is_migrated_only_when_told_and_one_of_a_newer_never(
    tmp_path: Path, store: LmdbStore, installation: Installation
) -> None:
    given = settings(tmp_path)
    key = f"flink.{given.name}".encode()
    for version, migrate, said in [(1, False, "version of the states"), (99, True, "newer Headwater")]:
        past = msgspec.structs.replace(given.identity(), state_version=version)
        store.put_many([Put(MARKS, key, msgspec.json.encode(past))])
        with pytest.raises(ConfigError, match=said):
            Job(NOBODY, given, store).submit(installation, migrate=migrate)


@pytest.mark.parametrize("other", [{"readers": 2}, {"log": "redis://127.0.0.1:6379/0?stream=other"}])
def test_a_position_is_not_used_for_another_log_or_other_readers(
    tmp_path: Path, store: LmdbStore, installation: Installation, other: dict[str, object]
) -> None:
    submitted_before(store, settings(tmp_path))
    with pytest.raises(ConfigError, match=f"{next(iter(other))} .*--anew"):
        Job(NOBODY, settings(tmp_path, **other), store).submit(installation, migrate=True)


def test_lost_checkpoints_are_named_with_what_can_be_done(
    tmp_path: Path, store: LmdbStore, installation: Installation
) -> None:
    submitted_before(store, settings(tmp_path))
    with pytest.raises(ConfigError, match=r"checkpoints holds no complete checkpoint.*--resume.*--anew"):
        Job(NOBODY, settings(tmp_path), store).submit(installation)


def test_a_job_goes_on_from_the_newest_checkpoint_or_savepoint_that_is_complete(
    tmp_path: Path, store: LmdbStore
) -> None:
    given = settings(tmp_path)
    folder = tmp_path / "checkpoints"
    complete(folder / "a" / "chk-9", age=20)
    complete(folder / "b" / "chk-2", age=10)
    (folder / "b" / "chk-3").mkdir()  # the one that was being written when all died
    job = Job(NOBODY, given, store)
    assert job.newest(given.identity()) == (folder / "b" / "chk-2").as_uri()
    complete(folder / "savepoints" / "savepoint-b-1", age=5)
    assert job.newest(given.identity()) == (folder / "savepoints" / "savepoint-b-1").as_uri()


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path, store: LmdbStore, installation: Installation) -> None:
    with pytest.raises(ClusterError, match=r"no Flink answers at http://127.0.0.1:9.*--cluster"):
        Job(NOBODY, settings(tmp_path), store).submit(installation)


def test_an_environment_without_pyflink_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="make flink"):
        Installation(tmp_path)


def test_passwords_are_not_kept_with_what_a_job_was_made_with(tmp_path: Path) -> None:
    given = settings(tmp_path, log="redis://user:secret@127.0.0.1:6379/0?stream=shop")
    assert b"secret" not in msgspec.json.encode(given.identity())
