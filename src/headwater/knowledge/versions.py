"""Which versions a center has, which one is served and which are pinned: one small document, replaced atomically."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash

from headwater.data.folder import sync
from headwater.errors import ArtefactError, VersionGone, VersionKept

FORMAT = 1
STATE = "center.json"
MOST = 5
"""Versions that a center holds (section 5.3 of KEEP)."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What a center holds; every method gives what it would hold afterwards.

    Attributes
    ----------
    current : int or None
        What is served to those who name no version.
    last : int
        The highest number that was ever given to a version, finished or not.
    about : dict of int to dict
        What each version says of itself.
    pins : dict of int to tuple of str
        Who needs a version.
    leftovers : tuple of int
        Numbers of which files or records may lie around that do not count.
    """

    current: int | None = None
    last: int = 0
    about: dict[int, dict[str, Any]] = field(default_factory=dict)
    pins: dict[int, tuple[str, ...]] = field(default_factory=dict)
    leftovers: tuple[int, ...] = ()

    def require(self, version: int) -> None:
        """Raise `VersionGone` unless it is there."""
        if version not in self.about:
            there = ", ".join(map(str, sorted(self.about))) or "none"
            raise VersionGone(f"there is no version {version} of knowledge; there is {there}")

    def require_room(self) -> None:
        """Raise `VersionKept` where another version could take nobody's place."""
        if len(self.about) >= MOST and all(version in self.pins for version in self.about):
            said = "; ".join(f"{version} by {', '.join(names)}" for version, names in sorted(self.pins.items()))
            raise VersionKept(f"all {MOST} versions are pinned ({said}); unpin one, then publish again")

    def reserved(self) -> Versions:
        """With a number given away, of which nothing counts yet."""
        number = self.last + 1
        return replace(self, last=number, leftovers=(*self.leftovers, number))

    def published(self, version: int, about: dict[str, Any]) -> Versions:
        """With a version that is served from now on; the oldest that nobody has pinned goes where there are six."""
        self.require_room()
        kept = {**self.about, version: about}
        leftovers = [number for number in self.leftovers if number != version]
        while len(kept) > MOST:
            oldest = min(number for number in kept if number not in self.pins and number != version)
            del kept[oldest]
            leftovers.append(oldest)
        return replace(self, current=version, about=kept, leftovers=tuple(leftovers))

    def served(self, version: int) -> Versions:
        """With a version that is served from now on."""
        self.require(version)
        return replace(self, current=version)

    def rolled_back(self) -> Versions:
        """With the newest version older than the served one."""
        older = [version for version in self.about if self.current is not None and version < self.current]
        if not older:
            raise VersionGone(f"there is no version of knowledge older than {self.current} to roll back to")
        return replace(self, current=max(older))

    def pinned(self, version: int, name: str) -> Versions:
        """With a version that stays while `name` needs it."""
        self.require(version)
        names = tuple(dict.fromkeys((*self.pins.get(version, ()), name)))
        return replace(self, pins={**self.pins, version: names})

    def unpinned(self, version: int, name: str) -> Versions:
        """Without that pin. Raises `VersionGone` where there is none."""
        self.require(version)
        names = self.pins.get(version, ())
        if name not in names:
            said = ", ".join(names) or "nobody"
            raise VersionGone(f"version {version} is not pinned by {name!r}; it is by {said}")
        rest = tuple(other for other in names if other != name)
        pins = {**self.pins, version: rest} if rest else {n: by for n, by in self.pins.items() if n != version}
        return replace(self, pins=pins)

    def without(self, version: int) -> Versions:
        """Without a version. Raises `VersionKept` where it is pinned or served."""
        self.require(version)
        if version in self.pins:
            raise VersionKept(f"version {version} is pinned by {', '.join(self.pins[version])}; unpin it first")
        if version == self.current:
            raise VersionKept(f"version {version} is served; publish another, or roll back, first")
        kept = {number: about for number, about in self.about.items() if number != version}
        return replace(self, about=kept, leftovers=(*self.leftovers, version))

    def swept(self, leftovers: tuple[int, ...]) -> Versions:
        """With nothing left of some leftovers."""
        return replace(self, leftovers=tuple(number for number in self.leftovers if number not in leftovers))


def read_versions(root: Path) -> Versions:
    """What the center in `root` holds; nothing where there is none. Raises `ArtefactError` where it is damaged."""
    path = root / STATE
    try:
        document = json.loads(path.read_bytes())
        checksum = document.pop("checksum")
        if document["format"] != FORMAT or checksum != _checksum(document):
            raise ArtefactError(f"{path} was altered, or is of another format; restore it")
        return Versions(
            current=document["current"],
            last=document["last"],
            about={int(version): about for version, about in document["about"].items()},
            pins={int(version): tuple(names) for version, names in document["pins"].items()},
            leftovers=tuple(document["leftovers"]),
        )
    except FileNotFoundError:
        return Versions()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); restore it") from error


def write_versions(root: Path, versions: Versions) -> None:
    """Replace the document; a crash at any instant leaves the one before or this one."""
    document = {
        "format": FORMAT,
        "current": versions.current,
        "last": versions.last,
        "about": {str(version): about for version, about in versions.about.items()},
        "pins": {str(version): list(names) for version, names in versions.pins.items()},
        "leftovers": list(versions.leftovers),
    }
    staging = root / f".{STATE}.partial"  # one writer at a time, who holds the lock
    with staging.open("w", encoding="utf-8") as handle:
        json.dump({**document, "checksum": _checksum(document)}, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    staging.replace(root / STATE)
    sync(root)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; a killed one lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checksum(document: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(document).encode())
