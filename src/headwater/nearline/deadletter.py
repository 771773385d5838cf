"""Records that the stream could not take in, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headwater.nearline.sources import Line
from headwater.store.base import Put, Store

NAMESPACE = "nearline-dead-letter"

KEPT_BYTES = 4_096
"""How much of a refused line is kept."""

KEPT_SECONDS = 30 * 86_400
"""How long a dead letter is kept."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One refused record.

    Attributes
    ----------
    part, offset : str, int
        Where it lies in the log: the file, and the byte it begins at.
    length : int
        Bytes of the line.
    reason : str
        Why it was refused, naming the field.
    raw : bytes
        The line's first `KEPT_BYTES` bytes.
    """

    part: str
    offset: int
    length: int
    reason: str
    raw: bytes

    @classmethod
    def of(cls, line: Line, reason: str) -> DeadLetter:
        """A line of the log with the reason why it was refused."""
        return cls(line.part, line.offset, line.length, reason, line.raw[:KEPT_BYTES])


def to_put(letter: DeadLetter) -> Put:
    """The write that keeps a dead letter. Its key is its place in the log, so a replay keeps it once."""
    key = f"{letter.part}:{letter.offset:020d}".encode()
    return Put(NAMESPACE, key, msgspec.json.encode(letter), ttl=KEPT_SECONDS)


def dead_letters(store: Store) -> Iterator[DeadLetter]:
    """All dead letters of a store, by file and offset."""
    for _, value in store.scan(NAMESPACE):
        yield msgspec.json.decode(value, type=DeadLetter)
