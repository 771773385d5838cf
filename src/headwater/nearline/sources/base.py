"""The Source seam: what a stream reads, and what it gets."""

# pyarrow has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

Position = Mapping[str, int]
"""How far each part (a file, a Redis stream) of a log has been read; an empty one is the beginning. What the number
counts is the source's affair: bytes of a file, for one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it lies in the log, or a stretch of the log in which no record can be found.

    Attributes
    ----------
    raw : bytes
        JSON. The first bytes only of what is longer than `MAX_LINE`, or is a `fault`.
    part : str
        The file, or the stream.
    offset : int
        Where in the part it begins; with the part, its name for ever.
    length : int
        Bytes of the whole line.
    appended : float
        Unix seconds at which the part was last appended to.
    fault : str
        Why this is no record: it belongs among the dead letters. Empty where the source found nothing wrong.
    """

    raw: bytes
    part: str
    offset: int
    length: int
    appended: float
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Records that lie in the log as one Arrow record batch, a row each; `arrow.decode_batch` reads them.

    Attributes
    ----------
    rows : pyarrow.RecordBatch
        Its buffers and offsets are valid; whether its columns are those of a rank log is not looked at.
    part, offset, length, appended
        As of a `Line`: of the whole batch.
    """

    rows: pa.RecordBatch
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
    blocks : list of Block
        In order within each part; a part has lines or blocks, and faults are lines.
    position : dict of str to int
        From where to go on when all this is done with.
    pending_bytes : int
        How much more was there to read; an unfinished last line or batch does not count. Estimated where the log
        does not know.
    """

    lines: list[Line] = field(default_factory=list[Line])
    position: dict[str, int] = field(default_factory=dict[str, int])
    pending_bytes: int = 0
    blocks: list[Block] = field(default_factory=list[Block])

    @property
    def records(self) -> int:
        """How many records there are, faults included."""
        return len(self.lines) + sum(block.rows.num_rows for block in self.blocks)


class Source(Protocol):
    """An ordered, replayable log: polling one position twice gives the same records, and perhaps more.

    A consumer polls from its position, makes what it did with the records and `Batch.position` durable in one step,
    and then says `commit`. A crash in between repeats the records.
    """

    def poll(self, position: Position, max_records: int) -> Batch:
        """About `max_records` records after `position`; none where there is nothing new. Does not wait.

        Records of an Arrow batch come together: the limit is passed by less than one batch.

        Raises `StoreError` or `OSError` where the log cannot be reached; nothing is lost by polling again.
        """
        ...

    def commit(self, position: Position) -> None:
        """All before `position` is durable at the consumer and will not be polled again; the log may let go of it.

        Does nothing where the log keeps no note of its readers. Raises as `poll` does; a commit that
        failed or never came costs a repetition.
        """
        ...
