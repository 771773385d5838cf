"""The General Knowledge Center (section 5.3 of KEEP): up to five versions, published whole, asked by batches."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headwater.data.folder import sync_tree
from headwater.errors import ArtefactError, ConfigError, StoreError, StoreFull, VersionGone, VersionKept
from headwater.knowledge.built import ARRAYS, DOCUMENT, Built, read_built
from headwater.knowledge.client import Answer, Held, Stored
from headwater.knowledge.forgetting import Forgotten, about_without, check_without, write_without
from headwater.knowledge.records import STORED_AS_RECORDS, gather, joined, key_words, records_of
from headwater.knowledge.shelves import LmdbShelf, RedisShelf, Shelf
from headwater.knowledge.versions import STATE, Versions, locked, read_versions, write_versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

USERS_AT_ONCE = 10_000
REDIS_USERS_AT_ONCE = 500
USERS_CHECKED = 256
NAME = "name"
SETTLED_NS = 50_000_000


class _Open(NamedTuple):
    """A version that this process reads: its folder and its arrays, mapped."""

    folder: Path
    built: Built
    vectors: NDArray[np.uint16]
    defaults: tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint16]]


class Center:
    """Versions of knowledge in a folder, which other processes may publish into and read from at the same time.

    A version is written whole before one document is replaced that says that it is there. Whoever reads follows
    that document, and reads one version for all rows of a batch. A process that is killed while it publishes leaves
    nothing that counts; the next one to publish removes it.

    Parameters
    ----------
    root : Path
        Made where there is none.
    users : str, optional
        The URL of a Redis or Valkey server that holds what is known of users, see `headwater.store.open_store`;
        without, a folder of LMDB in each version. Items are files in either case, mapped by all who read.
    """

    def __init__(self, root: Path, users: str | None = None) -> None:
        self.root = root
        self._users_in = "files" if users is None else "a server"
        self._at_once = USERS_AT_ONCE if users is None else REDIS_USERS_AT_ONCE
        self._shelf: Shelf = LmdbShelf() if users is None else RedisShelf(users, _name_of(root))
        self._opened: dict[int, _Open] = {}
        self._versions, self._mark = Versions(), (-1, -1)
        self._lock = threading.Lock()

    # -- publishing

    def publish(self, built: Path) -> int:
        """Make a built folder the next version, and serve it; its number.

        Everything is checked before: checksums, shapes, finite numbers, and, after writing, a sample of what stands
        there. The oldest version that is not pinned goes where there would be six.

        Raises
        ------
        ArtefactError
            What was built is damaged, or not what it should be.
        VersionKept
            There are five versions and all are pinned.
        StoreFull
            There is no room. In each case what was served before goes on being served.
        """
        with locked(self.root / ".publishing"):
            self._sweep()
            read_versions(self.root).require_room()
            source = read_built(built)
            source.require_whole()
            about = source.about | {
                "checksum": source.checksum,
                "n_users": len(source.user_keys),
                "n_items": len(source.item_keys),
                "n_pairs": len(source.pairs),
            }
            return self._publish(
                about,
                lambda number, folder: self._write(number, folder, source),
                lambda number, folder: self._check(number, folder, source),
            )

    def _publish(
        self, about: dict[str, Any], write: Callable[[int, Path], None], check: Callable[[int, Path], None]
    ) -> int:
        """Write, check and serve the next version, all or nothing; for whoever holds the lock of publishing."""
        number = self._change(lambda versions: versions.reserved()).last
        folder = self._folder(number)
        stamped = about | {"users_in": self._users_in, "published": int(time.time())}
        try:
            write(number, folder)
            sync_tree(folder)
            check(number, folder)
            self._change(lambda versions: versions.published(number, stamped))
        except OSError as error:
            self._sweep()
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFull(f"{folder}: the disk is full ({error}); make room and publish again") from error
            raise StoreError(f"{folder} cannot be written: {error}") from error
        except BaseException:
            self._sweep()
            raise
        self._sweep()
        return number

    def _write(self, number: int, folder: Path, source: Built) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for name in ARRAYS:
            if name in STORED_AS_RECORDS:
                empty = getattr(source, name)[:0]
                np.save(folder / f"{name}.npy", empty, allow_pickle=False)
            else:
                shutil.copyfile(source.folder / f"{name}.npy", folder / f"{name}.npy")
        shutil.copyfile(source.folder / DOCUMENT, folder / DOCUMENT)
        self._shelf.fill(number, folder, records_of(source, number, at_once=self._at_once))

    def _check(self, number: int, folder: Path, source: Built) -> None:
        """Raise `ArtefactError` unless what stands there says what was built, of a sample of users and of all items."""
        opened = self._open(folder)
        if not np.array_equal(opened.vectors, source.items.view(np.uint16)):
            raise ArtefactError(f"{folder}: items are not what was built; publish again")
        rows = np.unique(np.linspace(0, max(len(source.user_keys) - 1, 0), USERS_CHECKED).astype(np.int64))
        rows = rows[: len(source.user_keys)]
        nothing = np.full(len(rows), -1)
        answer = self._answer(number, opened, np.asarray(source.user_keys[rows]), nothing, nothing).widened()
        width = source.users.shape[1]
        if not np.array_equal(answer.values[:, :width], source.users[rows].astype(np.float32)):
            raise ArtefactError(f"{folder}: users are not what was built; publish again")

    def forget(self, users: NDArray[np.int64]) -> Forgotten:
        """Serve a version without some users, and remove every other version that holds one of them and is not pinned.

        What is served becomes the next version, record by record, without theirs; of whoever asks, they are unknown
        from then on. Pinned versions stay as they are. Called again, it goes on where a killed call was. What models
        have learned from the users, in items' vectors and defaults too, is not undone.

        Parameters
        ----------
        users : (n,) int64
            64-bit keys.

        Raises
        ------
        VersionKept
            What is served holds one of them, and there are five versions, all pinned.
        ConfigError
            A version holds users in another place than the center was opened for.
        StoreFull, StoreError, TornValue
            As in `publish` and `get`; what was served goes on being served.
        """
        keys = key_words(np.unique(users))
        with locked(self.root / ".publishing"):
            self._sweep()
            now = read_versions(self.root)
            for number, about in now.about.items():
                self._require_place(number, about)
            version = None
            if now.current is not None and (gone := self._records(now.current, keys)):
                now.require_room()
                version = self._publish_without(now.current, now.about[now.current], gone)
            pinned, removed = {}, []
            for number in read_versions(self.root).about:
                if not self._records(number, keys):
                    continue
                try:
                    self._change(lambda versions, number=number: versions.without(number))
                    removed.append(number)
                except VersionKept:
                    pinned[number] = read_versions(self.root).pins.get(number, ())
            self._sweep()
        return Forgotten(version, tuple(removed), pinned)

    def _records(self, number: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those of the users whom a version holds."""
        found = self._shelf.get_many(number, self._folder(number), keys)
        return {key: record for key, record in zip(keys, found, strict=True) if record is not None}

    def _publish_without(self, served: int, about: dict[str, Any], gone: dict[bytes, bytes]) -> int:
        old = self._folder(served)
        return self._publish(
            about_without(about, gone),
            lambda number, folder: write_without(gone, self._shelf, served, old, number, folder, self._at_once),
            lambda number, folder: check_without(gone, self._shelf, served, old, number, folder),
        )

    def serve(self, version: int) -> None:
        """Serve a version that is there. Raises `VersionGone` where it is not."""
        self._change(lambda versions: versions.served(version))

    def rollback(self) -> int:
        """Serve the newest version older than the served one; its number. Raises `VersionGone` where there is none."""
        current = self._change(lambda versions: versions.rolled_back()).current
        assert current is not None
        return current

    def pin(self, version: int, name: str) -> None:
        """Keep a version while `name` needs it. Raises `VersionGone` where it is not there."""
        self._change(lambda versions: versions.pinned(version, name))

    def unpin(self, version: int, name: str) -> None:
        """Take back a pin. Raises `VersionGone` where there is none."""
        self._change(lambda versions: versions.unpinned(version, name))

    def remove(self, version: int) -> None:
        """Remove a version. Raises `VersionKept` where it is pinned or served."""
        with locked(self.root / ".publishing"):
            self._change(lambda versions: versions.without(version))
            self._sweep()

    def _change(self, change) -> Versions:
        with locked(self.root / ".changing"):
            changed = change(read_versions(self.root))
            write_versions(self.root, changed)
            return changed

    def _sweep(self) -> None:
        """Remove what does not count; only whoever holds the lock of publishing may."""
        leftovers = read_versions(self.root).leftovers
        for number in leftovers:
            self._shelf.drop(number, self._folder(number))
            self._shelf.let_go(self._folder(number))
            shutil.rmtree(self._folder(number), ignore_errors=True)
        if leftovers:
            self._change(lambda versions: versions.swept(leftovers))

    def _folder(self, number: int) -> Path:
        return self.root / "versions" / f"{number:09d}"

    # -- reading

    @property
    def versions(self) -> Versions:
        """What is there now."""
        try:
            about = os.stat(self.root / STATE)
        except FileNotFoundError:
            return Versions()
        mark = (about.st_ino, about.st_mtime_ns)
        if mark != self._mark:
            with self._lock:
                found = read_versions(self.root)
                for number in self._opened.keys() - found.about.keys():
                    self._shelf.let_go(self._opened.pop(number).folder)
                # Two changes within a tick of the file system's clock may look alike.
                is_settled = time.time_ns() - about.st_mtime_ns > SETTLED_NS
                self._versions, self._mark = found, mark if is_settled else (-1, -1)
        return self._versions

    def held(self) -> list[Held]:
        """See `KnowledgeClient`."""
        now = self.versions
        return [
            Held(number, number == now.current, now.pins.get(number, ()), about)
            for number, about in sorted(now.about.items())
        ]

    def get(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        categories: NDArray[np.int64] | None = None,
        *,
        version: int | None = None,
    ) -> Answer:
        """See `KnowledgeClient`.

        Raises
        ------
        VersionGone
            The version is not there, or there is none at all.
        ConfigError
            Users, items and categories are not equally many.
        TornValue, StoreAway, StoreError
            What is stored cannot be read.
        """
        return self.stored(users, items, categories, version=version).widened()

    def stored(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        categories: NDArray[np.int64] | None = None,
        *,
        version: int | None = None,
    ) -> Stored:
        """What `get` widens, for whoever sends it on; raises as `get` does."""
        if not len(users) == len(items) == len(users if categories is None else categories):
            raise ConfigError(
                f"{len(users)} users, {len(items)} items and {len(items if categories is None else categories)} "
                "categories; give one of each for every row"
            )
        while True:
            now = self.versions
            chosen = now.current if version is None else version
            if chosen is None:
                raise VersionGone(f"{self.root} serves no version of knowledge; publish one")
            now.require(chosen)
            self._require_place(chosen, now.about[chosen])
            try:
                opened = self._opened.get(chosen) or self._open_version(chosen)
                item_rows = _rows_of(opened.built.item_keys, items)
                if categories is None:
                    codes = np.full(len(items), -1)
                    is_known = item_rows >= 0
                    codes[is_known] = opened.built.item_categories[item_rows[is_known]]
                    codes[codes == len(opened.built.category_keys)] = -1
                else:
                    codes = _rows_of(opened.built.category_keys, categories)
                return self._answer(chosen, opened, users, item_rows, codes)
            except (StoreError, ArtefactError, OSError):
                # A version that went while it was read is no damage: the next look says what is there.
                if chosen in self.versions.about:
                    raise

    def _require_place(self, number: int, about: dict[str, Any]) -> None:
        if about["users_in"] != self._users_in:
            raise ConfigError(
                f"version {number} holds users in {about['users_in']}, and the center was opened for "
                f"{self._users_in}; open it with the URL that the version was published with, or without one"
            )

    def _open_version(self, number: int) -> _Open:
        opened = self._open(self._folder(number))
        with self._lock:
            return self._opened.setdefault(number, opened)

    def _open(self, folder: Path) -> _Open:
        built = read_built(folder, trusted=STORED_AS_RECORDS)
        defaults = (built.default_user, built.default_item, built.default_pairs)
        bits = [np.ascontiguousarray(values).view(np.uint16) for values in defaults]
        return _Open(folder, built, built.items.view(np.uint16), (bits[0], bits[1], bits[2]))

    def _answer(
        self,
        number: int,
        opened: _Open,
        users: NDArray[np.int64],
        item_rows: NDArray[np.int64],
        categories: NDArray[np.int64],
    ) -> Stored:
        distinct, place = np.unique(users, return_inverse=True)
        found = self._shelf.get_many(number, opened.folder, key_words(distinct))
        is_known = np.fromiter((record is not None for record in found), bool, len(found))
        words, starts = joined(distinct[is_known], [record for record in found if record is not None], number)
        record_of = np.where(is_known, np.cumsum(is_known) - 1, -1)[place.reshape(-1)]
        width = opened.vectors.shape[1]
        halves = np.empty((len(users), 2 * width + opened.defaults[2].shape[1]), np.uint16)
        flags = np.empty(len(users), np.uint8)
        gather(
            words, starts, record_of.astype(np.int64), item_rows.astype(np.int64), categories, opened.vectors,
            *opened.defaults, halves, flags,
        )  # fmt: skip
        return Stored(number, width, halves, flags)


def _name_of(root: Path) -> str:
    """What tells the center in a folder from others, on whatever machine and by whatever path it is read."""
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / ".changing"):
        path = root / NAME
        if not path.exists():
            staging = root / f".{NAME}.partial"
            staging.write_text(secrets.token_hex(8), encoding="utf-8")
            staging.replace(path)
        return path.read_text(encoding="utf-8")


def _rows_of(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places among ascending keys; -1 of what is not there."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(wanted)  # a search beside the one before finds its way in the cache
    at = np.empty(len(wanted), np.int64)
    at[order] = np.minimum(np.searchsorted(keys, wanted[order]), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)
