"""Forgetting a user: what is served then knows nobody of that key, others get what they got, pinned ones are named."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headwater.cli import app
from headwater.errors import ConfigError, StoreError, TornValue, VersionKept
from headwater.knowledge import center as center_module
from headwater.knowledge.center import Center
from headwater.knowledge.client import CenterSource
from headwater.knowledge.forgetting import Forgotten
from headwater.knowledge.records import key_words, pairs_of
from headwater.knowledge.versions import read_versions
from knowledge_built import ITEMS, USERS, made_up_built
from redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture(params=["lmdb", "redis"])
def center(request: pytest.FixtureRequest, server: RedisServer, tmp_path: Path) -> Center:
    return Center(tmp_path / "center", server.url if request.param == "redis" else None)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


EVERYBODY = np.repeat(np.arange(1, USERS + 2), 3)
EVERYTHING = np.tile(numbers(1, 2, ITEMS + 7), USERS + 1)


def published(center: Center, folder: Path, mark: float = 1.0) -> int:
    return center.publish(made_up_built(folder, mark).folder)


def test_what_is_served_does_not_know_the_user_and_says_of_others_what_it_said(center: Center, tmp_path: Path) -> None:
    published(center, tmp_path / "built")
    before = center.get(EVERYBODY, EVERYTHING)
    assert center.forget(numbers(9)) == Forgotten(2, (1,), {})
    after = center.get(EVERYBODY, EVERYTHING)
    assert after.version == 2
    is_gone = EVERYBODY == 9
    assert np.array_equal(after.values[~is_gone], before.values[~is_gone])
    assert np.array_equal(after.flags[~is_gone], before.flags[~is_gone])
    stranger = center.get(np.full(3, 999_999), EVERYTHING[:3])
    assert np.array_equal(after.values[is_gone], stranger.values)
    assert (after.flags[is_gone] & 1).all()
    assert [one.version for one in center.held()] == [2]


def test_the_version_says_that_it_is_another_and_of_how_many(center: Center, tmp_path: Path) -> None:
    published(center, tmp_path / "built")
    center.pin(1, "din-ads")
    center.forget(numbers(9, 10, 9, 12_345))
    old, new = (one.about for one in center.held())
    assert new["n_users"] == old["n_users"] - 2
    assert new["n_pairs"] == old["n_pairs"] - 8 % 5 - 9 % 5, "user u was observed with (u - 1) % 5 categories"
    assert CenterSource(center, 1).identity != CenterSource(center, 2).identity
    assert {key: new[key] for key in ("parts", "users", "items", "as_of")} == {
        key: old[key] for key in ("parts", "users", "items", "as_of")
    }


def test_pinned_versions_stay_as_they_are_and_are_named_until_they_are_unpinned(center: Center, tmp_path: Path) -> None:
    for number in range(1, 4):
        published(center, tmp_path / f"built-{number}", float(number))
    center.pin(2, "din-ads")
    center.pin(2, "can-feed")
    assert center.forget(numbers(9)) == Forgotten(4, (1, 3), {2: ("din-ads", "can-feed")})
    assert center.get(numbers(9), numbers(1), version=2).flags[0] & 1 == 0
    assert center.forget(numbers(9)) == Forgotten(None, (), {2: ("din-ads", "can-feed")}), "nothing new to serve"
    center.unpin(2, "din-ads")
    center.unpin(2, "can-feed")
    assert center.forget(numbers(9)) == Forgotten(None, (2,), {})
    assert center.forget(numbers(9)) == Forgotten(None, (), {})
    assert [one.version for one in center.held()] == [4]


def test_somebody_nobody_knows_changes_nothing(center: Center, tmp_path: Path) -> None:
    assert center.forget(numbers(9)) == Forgotten(None, (), {})
    published(center, tmp_path / "built")
    assert center.forget(numbers(999_999)) == Forgotten(None, (), {})
    assert center.get(numbers(9), numbers(1)).version == 1


def test_nothing_of_the_user_is_left_in_the_files(tmp_path: Path) -> None:
    center = Center(tmp_path / "center")
    marked = np.ones((USERS, 4))
    marked[8] = [1.5, -2.25, 3.125, -4.0625]
    center.publish(made_up_built(tmp_path / "built", users=marked).folder)
    secret, key = marked[8].astype("<f2").tobytes(), key_words(numbers(9))[0]
    files = [path for path in (tmp_path / "center").rglob("*") if path.is_file()]
    assert any(secret in path.read_bytes() for path in files)
    assert any(key in path.read_bytes() for path in files)
    center.forget(numbers(9))
    files = [path for path in (tmp_path / "center").rglob("*") if path.is_file()]
    assert not any(secret in path.read_bytes() or key in path.read_bytes() for path in files)


def test_while_all_five_are_pinned_nothing_is_forgotten_and_that_is_said(tmp_path: Path) -> None:
    center = Center(tmp_path / "center")
    for number in range(1, 6):
        published(center, tmp_path / f"built-{number}")
        center.pin(number, f"model-{number}")
    with pytest.raises(VersionKept, match="all 5 versions are pinned"):
        center.forget(numbers(9))
    assert center.get(numbers(9), numbers(1)).flags[0] & 1 == 0


def test_a_failure_leaves_what_was_served_and_a_later_call_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center = Center(tmp_path / "center")
    published(center, tmp_path / "built")

    def fail(*_: object) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(center_module, "sync_tree", fail)
        with pytest.raises(StoreError, match="cannot be written"):
            center.forget(numbers(9))
    assert center.get(numbers(9), numbers(1)).version == 1
    assert read_versions(center.root).leftovers == ()
    assert center.forget(numbers(9)) == Forgotten(3, (1,), {})


def test_a_killed_call_leaves_nothing_that_counts(tmp_path: Path) -> None:
    center = Center(tmp_path / "center")
    published(center, tmp_path / "built")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from headwater.knowledge import center as module\n"
        "module.sync_tree = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.Center(Path(sys.argv[1])).forget(np.array([9]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "center")], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert center.get(numbers(9), numbers(1)).version == 1
    assert center.forget(numbers(9)) == Forgotten(3, (1,), {})
    assert [path.name for path in (tmp_path / "center" / "versions").iterdir()] == ["000000003"]


def test_a_damaged_record_is_not_sealed_anew(tmp_path: Path) -> None:
    import lmdb

    center = Center(tmp_path / "center")
    published(center, tmp_path / "built")
    path = tmp_path / "center" / "versions" / "000000001" / "users"
    center._shelf.let_go(path.parent)
    with lmdb.open(str(path), lock=False) as env, env.begin(write=True) as transaction:
        key = key_words(numbers(4))[0]
        record = bytearray(transaction.get(key))
        record[8] ^= 1
        transaction.put(key, bytes(record))
    with pytest.raises(TornValue, match="user 4 in version 1"):
        Center(tmp_path / "center").forget(numbers(9))
    assert [one.version for one in Center(tmp_path / "center").held()] == [1]


def test_versions_on_a_server_cannot_be_forgotten_from_without_it(server: RedisServer, tmp_path: Path) -> None:
    published(Center(tmp_path / "center", server.url), tmp_path / "built")
    with pytest.raises(ConfigError, match="holds users in a server"):
        Center(tmp_path / "center").forget(numbers(9))


@given(gone=st.lists(st.integers(-5, USERS + 5), max_size=8))
@settings(max_examples=15, deadline=None)
def test_whoever_is_forgotten_the_others_keep_their_bytes(
    gone: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("center")
    center = Center(folder / "center")
    published(center, folder / "built")
    before = center.get(EVERYBODY, EVERYTHING)
    held = {user for user in gone if 1 <= user <= USERS}
    done = center.forget(np.array(gone, np.int64))
    assert (done.version is not None) == bool(held)
    after = center.get(EVERYBODY, EVERYTHING)
    is_gone = np.isin(EVERYBODY, sorted(held))
    assert np.array_equal(after.values[~is_gone], before.values[~is_gone])
    assert (after.flags[is_gone] & 1 == 1).all()
    assert center.held()[-1].about["n_users"] == USERS - len(held)


def test_the_verb_says_what_it_did_and_who_still_knows_the_user(tmp_path: Path) -> None:
    center = Center(tmp_path / "knowledge")
    published(center, tmp_path / "built-1")
    published(center, tmp_path / "built-2")
    center.pin(1, "din-ads")
    words = ["knowledge", "forget", "9", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "serving version 3, which does not know 9",
        "removed: version 2",
        "version 1 still knows 9 and is pinned by din-ads: unpin it, forget again",
    ]
    assert CliRunner().invoke(app, ["knowledge", "forget", "nobody", "--home", str(tmp_path)]).output == (
        "no version knows nobody\n"
    )


def test_a_record_says_how_many_categories_its_user_was_observed_with(tmp_path: Path) -> None:
    center = Center(tmp_path / "center")
    published(center, tmp_path / "built")
    found = center._records(1, key_words(numbers(1, 4, 5)))
    assert [pairs_of(record) for record in found.values()] == [0, 3, 4]
