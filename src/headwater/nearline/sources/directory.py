"""The embedded log: a folder of files that only grow."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import xxhash

from headwater.errors import ConfigError
from headwater.nearline.records import MAX_LINE
from headwater.nearline.sources.base import Batch, Line, Position

if TYPE_CHECKING:
    from headwater.nearline.sources.blocks import StreamFile

logger = logging.getLogger(__name__)

_POLL_BYTES = 128 << 20
_SKIP_BYTES = 1 << 20


class DirectorySource:
    """A growing folder of `*.jsonl` files of lines and `*.arrows` files (Arrow IPC streams) of record batches.

    Each is appended to by one writer, such as `RankLog` or `ArrowRankLog`. Files are read in the order of their
    names, all of those with news in each poll, so that a busy writer does not hold up the others. A last line without
    its newline, and a last batch that is not whole, are left until they are finished. Files may be deleted once they
    are read; they must not be changed or cut.

    A consumer's position says which files it has read and how far; several consumers each read everything, unless
    they share the files.

    Parameters
    ----------
    folder : Path or str
        May be made later.
    share : (int, int)
        (i, n): the i-th of n consumers that share the files between them, by a hash of the name. A user's
        records stand in the files of every writer, so consumers that share must keep their states in the store.

    Raises
    ------
    ConfigError
        `share` is not (i, n) with 0 <= i < n.
    """

    def __init__(self, folder: Path | str, *, share: tuple[int, int] = (0, 1)) -> None:
        if not 0 <= share[0] < share[1]:
            raise ConfigError(f"share is (i, n) with 0 <= i < n, not {share}")
        self._folder = Path(folder)
        self._share = share
        self._unfinished: dict[str, tuple[int, int]] = {}
        self._cut: set[str] = set()
        self._streams: dict[str, StreamFile] = {}

    def poll(self, position: Position, max_records: int) -> Batch:
        """See `Source.poll`. Reads at most about 128 MiB, or one Arrow batch."""
        found = self._files()
        if found is None:
            return Batch(position=dict(position))
        batch = Batch(position={name: offset for name, offset in position.items() if name in found})
        news = [name for name in sorted(found) if self._has_news(name, position.get(name, 0), found[name].st_size)]
        share = -(-max_records // max(len(news), 1))
        budget = _POLL_BYTES
        for name in news:
            room = min(share, max_records - batch.records)
            start = position.get(name, 0)
            if room > 0 and budget > 0:
                end = self._read(name, start, found[name], room, budget, batch)
                if end > start:
                    batch.position[name] = end
                else:
                    # Not looked at again before it has grown: it may be megabytes that a dead writer left.
                    self._unfinished[name] = start, found[name].st_size
                budget -= end - start
        pending = sum(
            found[name].st_size - batch.position.get(name, 0)
            for name in news
            if self._has_news(name, batch.position.get(name, 0), found[name].st_size)
        )
        return Batch(batch.lines, batch.position, pending, batch.blocks)

    def commit(self, position: Position) -> None:
        """See `Source.commit`: files keep no note of their readers."""

    def _files(self) -> dict[str, os.stat_result] | None:
        try:
            with os.scandir(self._folder) as entries:
                found = {entry.name: entry.stat() for entry in entries if self._is_mine(entry.name)}
        except FileNotFoundError:  # no folder yet, or a file deleted between listing and looking at it
            return None
        for gone in self._streams.keys() - found.keys():
            del self._streams[gone]
        return found

    def _is_mine(self, name: str) -> bool:
        i, n = self._share
        return name.endswith((".jsonl", ".arrows")) and (n == 1 or xxhash.xxh3_64_intdigest(name.encode()) % n == i)

    def _has_news(self, name: str, offset: int, size: int) -> bool:
        if size < offset and name not in self._cut:
            self._cut.add(name)
            logger.error(
                "%s has %d bytes, and %d were read already: a log file must only grow; it is not read until it is "
                "longer again",
                self._folder / name,
                size,
                offset,
            )
        return size > offset and self._unfinished.get(name) != (offset, size)

    def _read(self, name: str, start: int, found: os.stat_result, room: int, budget: int, batch: Batch) -> int:
        """Add about `room` whole records from byte `start` on; returns where the last of them ends."""
        try:
            if name.endswith(".jsonl"):
                return self._read_lines(name, start, room, budget, found.st_mtime, batch.lines)
            stream = self._stream(name)
            return stream.read(start, found.st_size, room, budget, found.st_mtime, batch.lines, batch.blocks)
        except FileNotFoundError:  # deleted meanwhile: no error
            return start

    def _stream(self, name: str) -> StreamFile:
        if name not in self._streams:
            from headwater.nearline.sources.blocks import StreamFile  # pyarrow, which a log of lines does without

            self._streams[name] = StreamFile(self._folder / name)
        return self._streams[name]

    def _read_lines(self, name: str, start: int, room: int, budget: int, appended: float, lines: list[Line]) -> int:
        at = start
        with open(self._folder / name, "rb") as file:
            file.seek(start)
            while room > 0 and at - start < budget:
                raw = file.readline(MAX_LINE + 1)
                length = len(raw)
                if not raw.endswith(b"\n"):
                    length = 0 if length <= MAX_LINE else _skip_line(file, length)
                    if not length:
                        break
                lines.append(Line(raw, name, at, length, appended))
                at, room = at + length, room - 1
        return at


def _skip_line(file: BinaryIO, length: int) -> int:
    """The whole length of a line of which `length` bytes are read; 0 where it is not finished."""
    while rest := file.readline(_SKIP_BYTES):
        length += len(rest)
        if rest.endswith(b"\n"):
            return length
    return 0
