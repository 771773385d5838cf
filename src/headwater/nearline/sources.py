"""Where records come from: an ordered, replayable log; how far it has been read is the consumer's to keep."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from headwater.nearline.ranklog import MAX_LINE

logger = logging.getLogger(__name__)

_POLL_BYTES = 32 << 20
_SKIP_BYTES = 1 << 20

Position = Mapping[str, int]
"""Bytes read of each part (file) of a log; an empty one is the beginning."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it lies in the log.

    Attributes
    ----------
    raw : bytes
        With its newline; the first bytes only of a line longer than `MAX_LINE`.
    part : str
        The file's name.
    offset : int
        Where in the part it begins, in bytes.
    length : int
        Bytes of the whole line.
    appended : float
        Unix seconds at which the part was last appended to.
    """

    raw: bytes
    part: str
    offset: int
    length: int
    appended: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What a poll returned.

    Attributes
    ----------
    lines : list of Line
        In order within each part.
    position : dict of str to int
        From where to go on when these lines are done with.
    pending_bytes : int
        How much more was there to read; an unfinished last line does not count.
    """

    lines: list[Line] = field(default_factory=list[Line])
    position: dict[str, int] = field(default_factory=dict[str, int])
    pending_bytes: int = 0


class Source(Protocol):
    """An ordered, replayable log: polling one position twice gives the same lines, and perhaps more."""

    def poll(self, position: Position, max_records: int) -> Batch:
        """At most `max_records` lines after `position`; none where there is nothing new. Does not wait."""
        ...


class DirectorySource:
    """A growing folder of `*.jsonl` files, each appended to by one writer, such as `RankLog`.

    Files are read in the order of their names, all of those with news in each poll, so that a busy writer
    does not hold up the others. A last line without its newline is left until it is finished. Files may be
    deleted once they are read; they must not be changed or cut.

    Parameters
    ----------
    folder : Path or str
        May be made later.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self._unfinished: dict[str, tuple[int, int]] = {}
        self._cut: set[str] = set()

    def poll(self, position: Position, max_records: int) -> Batch:
        """See `Source.poll`. Reads at most about 32 MiB."""
        found = self._files()
        if found is None:
            return Batch(position=dict(position))
        batch = Batch(position={name: offset for name, offset in position.items() if name in found})
        news = [name for name in sorted(found) if self._has_news(name, position.get(name, 0), found[name].st_size)]
        share = -(-max_records // max(len(news), 1))
        budget = _POLL_BYTES
        for name in news:
            room = min(share, max_records - len(batch.lines))
            start = position.get(name, 0)
            if room > 0 and budget > 0:
                end = self._read(name, start, room, budget, found[name].st_mtime, batch.lines)
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
        return Batch(batch.lines, batch.position, pending)

    def _files(self) -> dict[str, os.stat_result] | None:
        try:
            with os.scandir(self._folder) as entries:
                return {entry.name: entry.stat() for entry in entries if entry.name.endswith(".jsonl")}
        except FileNotFoundError:  # no folder yet, or a file deleted between listing and looking at it
            return None

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

    def _read(self, name: str, start: int, room: int, budget: int, appended: float, lines: list[Line]) -> int:
        """Add up to `room` finished lines from byte `start` on; returns where the last of them ends."""
        at = start
        try:
            file = open(self._folder / name, "rb")  # noqa: SIM115 - a file deleted meanwhile is no error
        except FileNotFoundError:
            return start
        with file:
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
