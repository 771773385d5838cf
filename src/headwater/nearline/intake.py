"""What a poll gave, sorted out: the records to take in, and the dead letters, each with its reason. Every runtime's."""

from __future__ import annotations

import logging

import numpy as np

from headwater.errors import SchemaError
from headwater.nearline.columns import VISIT, Decoded, RecordColumns, decode_lines, partition_of
from headwater.nearline.deadletter import DeadLetter
from headwater.nearline.policy import Policy
from headwater.nearline.records import MAX_LINE
from headwater.nearline.sources.base import Batch, Block, Line

logger = logging.getLogger(__name__)

_UNKNOWN = "unknown scenario"


def sort_out(
    polled: Batch, policy: Policy, partition: tuple[int, int] = (0, 1)
) -> tuple[list[RecordColumns], list[DeadLetter]]:
    """The records of a poll that the policy takes, in parts, and the letters of all others.

    Parameters
    ----------
    polled : Batch
    policy : Policy
    partition : (int, int)
        ``(i, n)``: only the records of the i-th of n parts of the users.
    """
    parts: list[RecordColumns] = []
    letters: list[DeadLetter] = []
    lines: list[Line] = []
    for line in polled.lines:
        if line.fault:
            letters.append(DeadLetter.of(line, line.fault))
        elif line.length > MAX_LINE:
            letters.append(DeadLetter.of(line, f"the line has {line.length} bytes; at most {MAX_LINE} are read"))
        else:
            lines.append(line)
    if lines:
        decoded = decode_lines([line.raw for line in lines], [line.appended for line in lines])
        letters += [DeadLetter.of(lines[row], reason) for row, reason in decoded.refused]
        kept, unknown = _own(decoded, policy, partition)
        parts.append(kept)
        letters += [DeadLetter.of(lines[row], reason) for row, reason in unknown]
    for block in polled.blocks:
        part, refused = _read(block, policy, partition)
        parts += part
        letters += [DeadLetter.of_row(block, row, reason) for row, reason in refused]
    if partition[0]:
        # Nobody knows whose a broken record is: the first partition keeps it.
        letters = [letter for letter in letters if letter.reason.startswith(_UNKNOWN)]
    for letter in letters:
        logger.warning("%s, byte %d: refused: %s", letter.part, letter.offset, letter.reason)
    return [part for part in parts if len(part)], letters


def _read(
    block: Block, policy: Policy, partition: tuple[int, int]
) -> tuple[list[RecordColumns], list[tuple[int | None, str]]]:
    from headwater.nearline.arrow import decode_block  # pyarrow, which a log of JSON does not need

    try:
        decoded = decode_block(block)
    except SchemaError as error:
        return [], [(None, str(error))]
    kept, unknown = _own(decoded, policy, partition)
    return [kept], [*decoded.refused, *unknown]


def _own(decoded: Decoded, policy: Policy, partition: tuple[int, int]) -> tuple[RecordColumns, list[tuple[int, str]]]:
    """The records of this partition's users, and those that the policy refuses, with their rows."""
    columns = decoded.columns
    index, n = partition
    own = np.ones(len(columns), np.bool_) if n == 1 else partition_of(columns.users, n) == index
    names = columns.scenario_names
    strange = [policy.is_source(name) and not policy.truncation(name) for name in names]
    is_refused = own & (columns.behaviours == VISIT) & np.array([*strange, False])[columns.scenarios]
    refused = [
        (
            int(decoded.rows[at]),
            f"{_UNKNOWN} {names[columns.scenarios[at]]!r}; the policy names "
            f"{', '.join(sorted(policy.truncate))}: add it to `truncate`, or set `truncate_other` above 0",
        )
        for at in np.flatnonzero(is_refused).tolist()
    ]
    return columns.take(np.flatnonzero(own & ~is_refused)), refused
