"""Records that the stream could not take in, each with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headwater.nearline.sources.base import Block, Line
from headwater.store.base import Put, Store

NAMESPACE = "nearline-dead-letter"

KEPT_BYTES = 4_096
"""How much of a refused record is kept."""

KEPT_SECONDS = 30 * 86_400
"""How long a dead letter is kept."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One refused record.

    Attributes
    ----------
    part, offset : str, int
        Where it lies in the log: the file, and the byte it begins at.
    length : int
        Bytes of the line, or of the whole Arrow batch.
    reason : str
        Why it was refused, naming the field.
    raw : bytes
        The line's first `KEPT_BYTES` bytes; of a row of an Arrow batch, those of its columns as JSON.
    row : int or None
        Of an Arrow batch, from 0; None where the whole batch was refused, or there is none.
    """

    part: str
    offset: int
    length: int
    reason: str
    raw: bytes
    row: int | None = None

    @classmethod
    def of(cls, line: Line, reason: str) -> DeadLetter:
        """A line of the log with the reason why it was refused."""
        return cls(line.part, line.offset, line.length, reason, line.raw[:KEPT_BYTES])

    @classmethod
    def of_row(cls, block: Block, row: int | None, reason: str) -> DeadLetter:
        """A row of an Arrow batch, or None for all of them, with the reason why it was refused."""
        from headwater.nearline.arrow import row_as_json  # pyarrow, which a log of JSON does not need

        return cls(block.part, block.offset, block.length, reason, row_as_json(block, row)[:KEPT_BYTES], row)


def to_put(letter: DeadLetter) -> Put:
    """The write that keeps a dead letter. Its key is its place in the log, so a replay keeps it once."""
    place = f"{letter.part}:{letter.offset:020d}"
    if letter.row is not None:
        place += f":{letter.row:010d}"
    return Put(NAMESPACE, place.encode(), msgspec.json.encode(letter), ttl=KEPT_SECONDS)


def dead_letters(store: Store) -> Iterator[DeadLetter]:
    """All dead letters of a store, by file and offset."""
    for _, value in store.scan(NAMESPACE):
        yield msgspec.json.decode(value, type=DeadLetter)
