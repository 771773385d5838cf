"""Folders that are replaced whole: after a crash at any instant the old content or the new one is there.

And checksums of what they hold.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

CHUNK = 1 << 22
"""Bytes of a file that are read at a time."""

OLD = "old"
"""Where a writer keeps what it replaces, within its own folder, until the new content is in place."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` where the block ends without an error.

    It lies beside `folder`, and what it holds is synced before it moves. The old content is moved away first; an
    error puts it back. A kill between the two moves leaves it beside `folder`, from where `recover` fetches it.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    lock = os.open(partial, os.O_RDONLY)
    try:
        # Held while this process lives: what a killed one left behind is told by its lock being free.
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = partial / "content"
        content.mkdir()
        yield content
        sync_tree(content)
        if folder.exists():
            folder.rename(partial / OLD)
        content.rename(folder)
        sync(folder.parent)
    finally:
        try:
            _clear(partial, folder)
        finally:
            os.close(lock)


def recover(folder: Path) -> None:
    """Undo what a killed writer of `folder` left: put back the content it had moved away, remove its other files.

    A writer that lives is not disturbed.
    """
    folder = folder.absolute()
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        try:
            handle = os.open(leftover, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Its writer has just finished.
        try:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(leftover, folder)
        finally:
            os.close(handle)


def file_checksum(path: Path) -> str:
    """xxh3-128 of a file of any size, as a hex string."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until everything below `folder` is on the disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def _clear(partial: Path, folder: Path) -> None:
    """Put the old content back where nothing new took its place; only then remove `partial`."""
    if (partial / OLD).exists() and not folder.exists():
        (partial / OLD).rename(folder)
    shutil.rmtree(partial, ignore_errors=True)
