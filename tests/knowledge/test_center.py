"""Versions are published whole, kept while somebody needs them, and asked by batches that are of one version."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headwater.data.vocabulary import key_of
from headwater.errors import (
    ArtefactError,
    ConfigError,
    StoreAway,
    StoreError,
    TornValue,
    VersionGone,
    VersionKept,
)
from headwater.knowledge import center as center_module
from headwater.knowledge.built import read_built
from headwater.knowledge.center import Center
from headwater.knowledge.versions import STATE, Versions, read_versions
from knowledge_built import CATEGORIES, NAMES, OF_PAIRS, USERS, WIDTH, made_up_built
from redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, server: RedisServer) -> str | None:
    return server.url if request.param == "redis" else None


@pytest.fixture
def center(place: str | None, tmp_path: Path) -> Center:
    return Center(tmp_path / "center", place)


@pytest.fixture
def built(tmp_path: Path) -> Iterator[object]:
    count = iter(range(1, 100))

    def make(**changed: object) -> Path:
        number = next(count)
        return made_up_built(tmp_path / f"built-{number}", float(number), **changed).folder  # type: ignore[arg-type]

    return make  # type: ignore[return-value]


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# -- answers


def test_an_answer_is_what_is_known_of_user_item_their_product_and_user_with_category(center: Center, built) -> None:
    random = np.random.default_rng(0)
    users, items = random.normal(size=(USERS, WIDTH)), random.normal(size=(40, WIDTH))
    n_pairs = int((np.arange(USERS) % CATEGORIES).sum())
    pairs = random.normal(size=(n_pairs, OF_PAIRS))
    folder = built(users=users, items=items, pairs=pairs)
    center.publish(folder)
    kept = read_built(folder)
    asked_users, asked_items = random.integers(1, USERS + 1, 200), random.integers(1, 41, 200)
    codes = random.integers(0, CATEGORIES, 200)
    answer = center.get(asked_users, asked_items, kept.category_keys[codes])
    assert answer.version == 1
    for row in range(200):
        user, item = users[asked_users[row] - 1].astype("f2"), items[asked_items[row] - 1].astype("f2")
        expected = [user.astype("f4"), item.astype("f4"), user.astype("f4") * item.astype("f4")]
        is_observed = codes[row] < (asked_users[row] - 1) % CATEGORIES
        start = int(kept.pair_offsets[asked_users[row] - 1])
        expected.append(pairs[start + codes[row]].astype("f2") if is_observed else np.full(OF_PAIRS, -1.0))
        assert np.array_equal(answer.values[row], np.concatenate(expected).astype("f4"))
        assert answer.flags[row] == (0 if is_observed else 4)


def test_whatever_is_unknown_gets_its_default_and_a_flag(center: Center, built) -> None:
    center.publish(built())
    category = key_of(NAMES[0])
    answer = center.get(numbers(5, 999, 5, 999, 5), numbers(1, 1, 999, 999, 1), numbers(*[category] * 4, 7))
    assert answer.flags.tolist()[1:] == [1 + 4, 2 + answer.flags[0], 1 + 2 + 4, 4]
    assert (answer.values[1, :WIDTH] == -1).all()
    assert (answer.values[2, WIDTH : 2 * WIDTH] == -1).all()
    assert (answer.values[3, 2 * WIDTH : 3 * WIDTH] == 1).all(), "the product of two defaults"
    assert (answer.values[4, 3 * WIDTH :] == -1).all()


def test_without_a_category_the_items_own_is_asked_and_an_item_may_have_none(center: Center, built) -> None:
    folder = built()
    center.publish(folder)
    kept = read_built(folder)
    items = numbers(*range(1, 41))
    users = np.full(40, 5)  # observed with codes 0 to 3
    own = center.get(users, items)
    codes = np.asarray(kept.item_categories)
    assert ((own.flags == 0) == (codes < 4)).all()
    assert (own.flags[codes == CATEGORIES] == 4).all()


def test_an_empty_batch_is_answered_and_an_uneven_one_refused(center: Center, built) -> None:
    center.publish(built())
    assert center.get(numbers(), numbers()).values.shape == (0, 3 * WIDTH + OF_PAIRS)
    with pytest.raises(ConfigError, match="2 users, 1 items"):
        center.get(numbers(1, 2), numbers(1))


def test_users_on_a_server_are_not_taken_for_unknown_by_who_has_no_url(server: RedisServer, tmp_path: Path, built):
    Center(tmp_path / "center", server.url).publish(built())
    with pytest.raises(ConfigError, match="holds users in a server"):
        Center(tmp_path / "center").get(numbers(1), numbers(1))


# -- versions


def test_the_newest_is_served_and_a_version_that_is_named_is_answered_by_itself(center: Center, built) -> None:
    for expected in (1, 2, 3):
        assert center.publish(built()) == expected
    assert (center.get(numbers(3), numbers(3)).values[:, :WIDTH] == 3).all()
    assert (center.get(numbers(3), numbers(3), version=2).values[:, :WIDTH] == 2).all()
    assert [(one.version, one.is_current) for one in center.held()] == [(1, False), (2, False), (3, True)]
    assert center.rollback() == 2
    assert center.get(numbers(3), numbers(3)).version == 2
    assert center.rollback() == 1
    with pytest.raises(VersionGone, match="older than 1"):
        center.rollback()
    center.serve(3)
    assert center.publish(built()) == 4, "a number is never given twice"


def test_there_are_five_versions_and_the_oldest_unpinned_goes(center: Center, built, place: str | None) -> None:
    for _ in range(5):
        center.publish(built())
    center.pin(1, "din-ads")
    center.publish(built())
    assert [one.version for one in center.held()] == [1, 3, 4, 5, 6]
    with pytest.raises(VersionGone, match="no version 2 of knowledge; there is 1, 3, 4, 5, 6"):
        center.get(numbers(1), numbers(1), version=2)
    assert sorted(path.name for path in (center.root / "versions").iterdir()) == [f"{n:09d}" for n in (1, 3, 4, 5, 6)]
    if place is not None:
        assert center._shelf.get_many(2, Path(), [b"\x80" + bytes(6) + b"\x01"]) == [None]
        assert center._shelf.get_many(1, Path(), [b"\x80" + bytes(6) + b"\x01"]) != [None]


def test_a_sixth_is_refused_while_all_are_pinned_and_the_served_one_stays(center: Center, built) -> None:
    for number in range(1, 6):
        center.publish(built())
        center.pin(number, f"model-{number}")
    with pytest.raises(VersionKept, match="5 by model-5"):
        center.publish(built())
    assert center.get(numbers(1), numbers(1)).version == 5
    center.unpin(3, "model-3")
    assert center.publish(built()) == 6
    assert [one.version for one in center.held()] == [1, 2, 4, 5, 6]


def test_pinned_and_served_versions_are_not_removed(center: Center, built) -> None:
    center.publish(built())
    center.publish(built())
    center.pin(1, "a")
    center.pin(1, "b")
    center.unpin(1, "b")
    with pytest.raises(VersionKept, match="pinned by a"):
        center.remove(1)
    with pytest.raises(VersionKept, match="is served"):
        center.remove(2)
    with pytest.raises(VersionGone, match="not pinned by 'b'; it is by a"):
        center.unpin(1, "b")
    center.unpin(1, "a")
    center.remove(1)
    assert [one.version for one in center.held()] == [2]
    for change in (center.pin, center.unpin):
        with pytest.raises(VersionGone, match="no version 1"):
            change(1, "a")


def test_a_reader_follows_what_another_process_publishes_and_lets_go_of_what_went(tmp_path: Path, built) -> None:
    reader, writer = Center(tmp_path / "center"), Center(tmp_path / "center")
    with pytest.raises(VersionGone, match="publish one"):
        reader.get(numbers(1), numbers(1))
    for number in range(1, 9):
        writer.publish(built())
        assert reader.get(numbers(1), numbers(1)).version == number
    assert len(reader._opened) <= 5
    maps = Path("/proc/self/maps").read_text()
    assert "(deleted)" not in "".join(line for line in maps.splitlines() if str(tmp_path) in line)


# -- what is refused


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"users": np.full((USERS, WIDTH), np.nan)}, "users, row 0, is not finite"),
        ({"items": np.full((40, WIDTH), 1e6)}, "items, row 0, is not finite"),
        ({"items": np.ones((40, WIDTH + 1))}, "items has shape"),
        ({"item_categories": np.full(40, 9)}, "item_categories, row 0, is no category"),
        ({"user_keys": np.ones(USERS, np.int64)}, "user_keys, row 0, does not ascend"),
        ({"default_pairs": np.ones((2, OF_PAIRS))}, "default_pairs has shape"),
    ],
)
def test_what_is_not_right_is_not_built(tmp_path: Path, changed: dict, says: str) -> None:
    with pytest.raises(ArtefactError, match=says):
        made_up_built(tmp_path / "built", **changed)
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("name", ["users.npy", "items.npy", "knowledge.json"])
def test_what_was_altered_is_not_published_and_the_old_version_is_served(center: Center, built, name: str) -> None:
    center.publish(built())
    folder = built()
    raw = bytearray((folder / name).read_bytes())
    raw[-20] ^= 1
    (folder / name).write_bytes(bytes(raw))
    with pytest.raises(ArtefactError, match="altered"):
        center.publish(folder)
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        center.publish(folder)
    assert center.get(numbers(1), numbers(1)).version == 1
    assert center.publish(built()) > 1


def test_a_record_that_was_altered_or_is_of_another_version_is_not_answered(redis_server: RedisServer, tmp_path, built):
    center = Center(tmp_path / "center", redis_server.url)
    center.publish(built())
    center.publish(built())
    with redis_server.client() as client:
        old, new = (client.keys(b"*\0" + n.to_bytes(8, "big") + b"\x80" + bytes(6) + b"\x01")[0] for n in (1, 2))
        client.set(new, client.get(old))
    with pytest.raises(TornValue, match="user 1 in version 2"):
        center.get(numbers(1), numbers(1))
    assert center.get(numbers(1), numbers(1), version=1).version == 1
    assert center.get(numbers(2), numbers(1)).version == 2, "others are not affected"


def test_a_server_that_is_away_is_said_and_asked_again(redis_server: RedisServer, tmp_path: Path, built) -> None:
    center = Center(tmp_path / "center", redis_server.url)
    center.publish(built())
    redis_server.kill()
    try:
        with pytest.raises(StoreAway):
            center.get(numbers(1), numbers(1))
        with pytest.raises(StoreAway):
            center.publish(built())
    finally:
        redis_server.start()
    assert center.get(numbers(1), numbers(1)).version == 1
    assert center.publish(built()) == 3


def test_a_full_disk_is_said_and_leaves_the_old_version_served(tmp_path: Path) -> None:
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from headwater.errors import StoreFull\nfrom headwater.knowledge.center import Center\n"
        "center = Center(Path(sys.argv[1]))\ncenter.publish(Path(sys.argv[2]))\n"
        "limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))\n"
        "try: center.publish(Path(sys.argv[3]))\n"
        "except StoreFull as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "print([one.version for one in center.held()], [p.name for p in (Path(sys.argv[1]) / 'versions').iterdir()])\n"
    )
    small = made_up_built(tmp_path / "small").folder
    large = made_up_built(tmp_path / "large", n_users=20_000).folder
    words = [sys.executable, "-c", code, str(tmp_path / "center"), str(small), str(large)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the disk is full" in done.stdout
    assert "[1] ['000000001']" in done.stdout


def test_an_error_while_writing_leaves_nothing(center: Center, built, monkeypatch: pytest.MonkeyPatch) -> None:
    center.publish(built())

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(center_module, "sync_tree", fail)
        with pytest.raises(StoreError, match="cannot be written"):
            center.publish(built())
    assert len(list((center.root / "versions").iterdir())) == 1
    assert read_versions(center.root).leftovers == ()
    assert center.publish(built()) == 3


def test_a_document_of_versions_that_was_altered_is_refused(tmp_path: Path, built) -> None:
    center = Center(tmp_path / "center")
    center.publish(built())
    path = tmp_path / "center" / STATE
    path.write_text(path.read_text().replace('"current": 1', '"current": 2'))
    with pytest.raises(ArtefactError, match="altered"):
        Center(tmp_path / "center").held()
    path.write_bytes(b"{")
    with pytest.raises(ArtefactError, match="damaged"):
        Center(tmp_path / "center").held()


def test_numbers_and_pins_of_versions_are_plain_values() -> None:
    versions = Versions()
    for _ in range(7):
        versions = versions.reserved()
        versions = versions.published(versions.last, {})
    assert sorted(versions.about) == [3, 4, 5, 6, 7]
    assert versions.leftovers == (1, 2)
    assert versions.swept((1,)).leftovers == (2,)
