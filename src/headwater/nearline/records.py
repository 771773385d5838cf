"""Records of the rank log: what a visit's ranked list and a user's event look like, written and read as JSON.

One record is one line of JSON with a `type`, `"visit"` or `"event"`; `"columns"` is a visit again, with one list for
each field of its items instead of one array for each item, which decodes several times faster. `arrow` has the same
record as Arrow batches. Users, items and categories are 64-bit keys (`headwater.data.key_of`), for a log outlives
the release whose codes it would otherwise hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from headwater.data.schema import LATEST_TIME, Behaviour
from headwater.errors import SchemaError

MAX_ITEMS = 5_000
"""Items of one visit; a longer list is no ranked list of a page but a fault, and is refused."""

MAX_LINE = 4 << 20
"""Bytes of one line. A visit of `MAX_ITEMS` items with long channel names takes a quarter of it."""

MAX_AHEAD = 86_400
"""Seconds that a record's timestamp may lie ahead of its append time: more than any skew between honest clocks,
and little enough that one wrong clock cannot age out a user's whole state."""

_LARGEST = 1.7976931348623157e308

Key = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
RequestId = Annotated[str, Meta(min_length=1, max_length=128)]
Timestamp = Annotated[int, Meta(ge=0, le=LATEST_TIME)]
Finite = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]


class RankedItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a ranked list; written as an array, in this order.

    Attributes
    ----------
    item : int
        64-bit key.
    score : float
        The ranker's, finite. The order of the list counts, not the score.
    category : int or None
        64-bit key; None where the item has none.
    channels : list of str
        The channels that retrieved the item.
    exposed : bool
        Whether it was sent to the user.
    position : int or None
        Where on the page, from 0; None where it was not exposed.
    """

    item: Key
    score: Finite
    category: Key | None = None
    channels: list[str] = []
    exposed: bool = False
    position: Annotated[int, Meta(ge=0)] | None = None


class Visit(msgspec.Struct, frozen=True, tag_field="type", tag="visit", gc=False, kw_only=True, omit_defaults=True):
    """One request of a user in a scenario, and all that was ranked for it.

    Attributes
    ----------
    request_id : str
        One for each visit, at most 128 characters. Visits of one second stand in the order of their ids.
    scenario : str
        At most 64 characters.
    user : int
        64-bit key.
    timestamp : int
        Unix seconds of the request.
    items : list of RankedItem
        Best first, 1 to `MAX_ITEMS`.
    release, arm : str
        What ranked it: the release, and the arm of an experiment.
    appended : float or None
        Unix seconds at which the line was written; `RankLog` sets it.
    """

    request_id: RequestId
    scenario: Name
    user: Key
    timestamp: Timestamp
    items: Annotated[list[RankedItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    release: str = ""
    arm: str = ""
    appended: float | None = None


class VisitColumns(msgspec.Struct, frozen=True, tag_field="type", tag="columns", kw_only=True, omit_defaults=True):
    """A `Visit` written by columns: the n-th entries of its lists are one item.

    Attributes
    ----------
    request_id, scenario, user, timestamp, release, arm, appended
        As in `Visit`.
    items : list of int
        64-bit keys, best first, 1 to `MAX_ITEMS`.
    scores : list of float
        One for each item, finite.
    categories : list of (int or None), or None
        One for each item; None where no item has one. So are the lists below.
    channels : list of list of str, or None
    exposed : list of bool, or None
    positions : list of (int or None), or None
    """

    request_id: RequestId
    scenario: Name
    user: Key
    timestamp: Timestamp
    items: Annotated[list[int], Meta(min_length=1, max_length=MAX_ITEMS)]
    scores: list[float]
    categories: list[int | None] | None = None
    channels: list[list[str]] | None = None
    exposed: list[bool] | None = None
    positions: list[int | None] | None = None
    release: str = ""
    arm: str = ""
    appended: float | None = None

    @classmethod
    def of(cls, visit: Visit) -> VisitColumns:
        """The same visit by columns; a column that says nothing is left out."""
        rows = visit.items
        return cls(
            request_id=visit.request_id,
            scenario=visit.scenario,
            user=visit.user,
            timestamp=visit.timestamp,
            items=[row.item for row in rows],
            scores=[row.score for row in rows],
            categories=_unless_empty([row.category for row in rows], None),
            channels=_unless_empty([row.channels for row in rows], []),
            exposed=_unless_empty([row.exposed for row in rows], False),
            positions=_unless_empty([row.position for row in rows], None),
            release=visit.release,
            arm=visit.arm,
            appended=visit.appended,
        )

    def check(self) -> None:
        """Raise `SchemaError` where two columns differ in length, or a key, score or position is out of its range."""
        n = len(self.items)
        for name in ("scores", "categories", "channels", "exposed", "positions"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise SchemaError(f"{n} items have {len(column)} entries in $.{name}: every column needs one for each")
        if not _are_keys(self.items):
            raise SchemaError("an item is beyond 64 bits - at `$.items`")
        if self.categories is not None and not _are_keys([key for key in self.categories if key is not None]):
            raise SchemaError("a category is beyond 64 bits - at `$.categories`")
        if not all(map(isfinite, self.scores)):
            raise SchemaError("a score is not finite - at `$.scores`")
        if self.positions is not None and min((at for at in self.positions if at is not None), default=0) < 0:
            raise SchemaError("a position is below 0 - at `$.positions`")

    def to_visit(self) -> Visit:
        """The same visit by rows."""
        n = len(self.items)
        no_channels: list[str] = []
        nothing: list[None] = [None] * n
        columns = (
            self.items,
            self.scores,
            self.categories or nothing,
            self.channels or [no_channels] * n,
            self.exposed or [False] * n,
            self.positions or nothing,
        )
        return Visit(
            request_id=self.request_id,
            scenario=self.scenario,
            user=self.user,
            timestamp=self.timestamp,
            items=[RankedItem(*row) for row in zip(*columns, strict=True)],
            release=self.release,
            arm=self.arm,
            appended=self.appended,
        )


class UserEvent(msgspec.Struct, frozen=True, tag_field="type", tag="event", gc=False, kw_only=True, omit_defaults=True):
    """What a user did with an item.

    Attributes
    ----------
    user, item : int
        64-bit keys.
    behaviour : "impression", "click", "cart" or "purchase"
    timestamp : int
        Unix seconds.
    scenario, request_id : str or None
        Where it happened, and on which visit's list.
    appended : float or None
        Unix seconds at which the line was written; `RankLog` sets it.
    """

    user: Key
    item: Key
    behaviour: Literal["impression", "click", "cart", "purchase"]
    timestamp: Timestamp
    scenario: Name | None = None
    request_id: RequestId | None = None
    appended: float | None = None

    @property
    def is_act(self) -> bool:
        """Whether the item counts as acted on: a click, a cart or a purchase; an impression does not."""
        return Behaviour[self.behaviour.upper()].is_interaction


Record = Visit | UserEvent


class Timed(Protocol):
    """What every record has."""

    @property
    def timestamp(self) -> int: ...
    @property
    def appended(self) -> float | None: ...


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record | VisitColumns] = msgspec.json.Decoder(Record | VisitColumns)


def encode_line(record: Record, *, columnar: bool = False) -> bytes:
    """The record as one line, newline included; with `columnar`, a visit is written as `VisitColumns`.

    What it holds is checked by `decode_line`, on either side. Raises `SchemaError` where a field cannot be written as
    JSON: a numpy number, a lone surrogate, …
    """
    written = VisitColumns.of(record) if columnar and isinstance(record, Visit) else record
    try:
        return _ENCODER.encode(written) + b"\n"
    except (TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"the record cannot be written: {error}") from error


def decode_line(line: bytes, *, appended: float) -> Record:
    """Read one line.

    Parameters
    ----------
    line : bytes
        With or without its newline.
    appended : float
        Unix seconds: when the source took the line in, for a line that does not say so itself.

    Raises
    ------
    SchemaError
        Not JSON of this schema (the message names the field), longer than `MAX_LINE`, or a timestamp of
        more than `MAX_AHEAD` seconds after the line was appended.
    """
    record = parse_line(line, _DECODER, appended=appended)
    if isinstance(record, VisitColumns):
        record.check()
        return record.to_visit()
    return record


def stamped_lines(records: Sequence[Record], *, now: float, columnar: bool) -> list[bytes]:
    """The records as lines that say that they were appended at `now`, Unix seconds; what every writer writes.

    Raises `SchemaError` where a record could not be read back: it is refused here, where the caller can be told.
    """
    now = round(now, 3)
    stamped = [msgspec.structs.replace(record, appended=now) for record in records]
    lines = [encode_line(record, columnar=columnar) for record in stamped]
    for line in lines:
        decode_line(line, appended=now)
    return lines


_R = TypeVar("_R", bound=Timed)


def parse_line(line: bytes, decoder: msgspec.json.Decoder[_R], *, appended: float) -> _R:
    """One line as `decoder` types it, its length and times checked. Raises as `decode_line` does."""
    if len(line) > MAX_LINE:
        raise SchemaError(f"the line has {len(line)} bytes; at most {MAX_LINE} are read")
    try:
        record = decoder.decode(line)
    except UnicodeDecodeError as error:
        raise SchemaError(f"not UTF-8: {error.reason}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaError(str(error)) from error
    taken = appended if record.appended is None else record.appended
    if record.timestamp > taken + MAX_AHEAD:
        raise SchemaError(too_far_ahead(record.timestamp, taken))
    return record


def too_far_ahead(timestamp: int, appended: float) -> str:
    """Why a record of `timestamp` that was appended at `appended` is refused."""
    return (
        f"timestamp {timestamp} lies {timestamp - appended:.0f} s after the record was appended; "
        f"at most {MAX_AHEAD} s are believed: set the clock of the machine that stamped it"
    )


_T = TypeVar("_T")


def _unless_empty(column: list[_T], empty: object) -> list[_T] | None:
    return None if all(entry == empty for entry in column) else column


def _are_keys(keys: Sequence[int]) -> bool:
    return not keys or (min(keys) >= -(2**63) and max(keys) < 2**63)
