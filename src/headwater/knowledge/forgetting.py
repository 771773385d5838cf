"""A version without some users: the records of another one, sealed anew, but for theirs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from headwater.errors import ArtefactError
from headwater.knowledge.built import ARRAYS, DOCUMENT, read_built
from headwater.knowledge.records import STORED_AS_RECORDS, pairs_of, resealed, words_of
from headwater.knowledge.shelves import Shelf

CHECKED = 256
"""Users whose records are compared after writing."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a center that was to forget some users.

    Attributes
    ----------
    version : int or None
        Served without them from now on; None where what is served did not know them.
    removed : tuple of int
        Versions that held one of them, were not pinned, and are gone.
    pinned : dict of int to tuple of str
        Versions that hold one of them still, and who needs these.
    """

    version: int | None
    removed: tuple[int, ...]
    pinned: dict[int, tuple[str, ...]]


def about_without(about: Mapping[str, Any], gone: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What such a version says of itself; `gone` are the users' keys and records.

    Its checksum is another one, for it answers otherwise, and does not tell who is gone: keys are not in it.
    """
    digest = xxhash.xxh3_128(str(about["checksum"]).encode())
    for key in sorted(gone):
        digest.update(words_of(gone[key]))
    return {
        **about,
        "checksum": digest.hexdigest(),
        "n_users": about["n_users"] - len(gone),
        "n_pairs": about["n_pairs"] - sum(map(pairs_of, gone.values())),
    }


def write_without(
    gone: Mapping[bytes, bytes], shelf: Shelf, served: int, old: Path, number: int, folder: Path, at_once: int
) -> None:
    """Write version `number` into `folder`: all of version `served`, in `old`, but what it holds of `gone`.

    Raises `TornValue` where a record is damaged.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in (*(f"{array}.npy" for array in ARRAYS), DOCUMENT):
        shutil.copyfile(old / name, folder / name)
    kept = ([one for one in some if one[0] not in gone] for some in shelf.scan(served, old, at_once))
    shelf.fill(number, folder, (resealed(some, served, number) for some in kept if some))


def check_without(gone: Mapping[bytes, bytes], shelf: Shelf, served: int, old: Path, number: int, folder: Path) -> None:
    """Raise `ArtefactError` unless files are whole, nothing is left of `gone`, and a sample of others is the same."""
    read_built(folder, trusted=STORED_AS_RECORDS)
    if any(record is not None for record in shelf.get_many(number, folder, list(gone))):
        raise ArtefactError(f"{folder}: a forgotten user is still there; forget again")
    sample = {key: record for key, record in next(iter(shelf.scan(served, old, CHECKED)), []) if key not in gone}
    found = shelf.get_many(number, folder, list(sample))
    if [record and words_of(record) for record in found] != [words_of(record) for record in sample.values()]:
        raise ArtefactError(f"{folder}: users are not what version {served} holds; forget again")
