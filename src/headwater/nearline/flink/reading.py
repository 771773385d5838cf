"""The job's reading end: any `Source`, polled from a position that Flink keeps."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from headwater.errors import StoreAway, StoreFull
from headwater.nearline import scenarios
from headwater.nearline.columns import RecordColumns
from headwater.nearline.deadletter import DeadLetter, to_put
from headwater.nearline.flink.wire import by_user
from headwater.nearline.intake import sort_out
from headwater.nearline.policy import Policy
from headwater.nearline.sources.base import Batch, Source
from headwater.nearline.stored import POSITIONS
from headwater.store.base import Put, Store

logger = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader writes beside the store's values, for people and for its successor; Flink's position is the truth.

    Attributes
    ----------
    position : dict of str to int
        How far the log was ever read.
    records, dead_letters : int
        Read for the first time since the store is what it is.
    replayed : int
        Records read again, because Flink went back to a checkpoint that was taken before they were read.
    recoveries : int
        How often there was something to read again.
    pending_bytes : int
        Unread at the last poll.
    newest_append : float
        When the newest record that was read was appended, Unix seconds.
    """

    position: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    records: int = 0
    dead_letters: int = 0
    replayed: int = 0
    recoveries: int = 0
    pending_bytes: int = 0
    newest_append: float = 0.0


_NOTE = msgspec.json.Decoder(Note)
_POSITION = msgspec.json.Decoder(dict[str, int])


def note_key(name: str, index: int, readers: int) -> bytes:
    """Under which key of `POSITIONS` a reader keeps its note."""
    return f"{name}.flink.{index}of{readers}".encode()


def notes(store: Store, name: str) -> list[Note]:
    """The notes of all readers of a job."""
    prefix = f"{name}.flink.".encode()
    return [_NOTE.decode(raw) for _, raw in store.scan(POSITIONS, prefix)]


class Reading:
    """Polls a source and sends each user's records on; what is no record becomes a dead letter.

    Parameters
    ----------
    source : Source
    store : Store
        Takes dead letters, the list of scenarios, and the reader's `Note`.
    policy : Policy
    name : str
        Of the job.
    share : (int, int)
        This reader and how many there are.
    batch : int
        Records of a poll at most.
    """

    def __init__(
        self, source: Source, store: Store, policy: Policy, *, name: str, share: tuple[int, int], batch: int
    ) -> None:
        self._source = source
        self._store = store
        self._policy = policy
        self._key = note_key(name, *share)
        self._batch = batch
        self._days = scenarios.read(store, mends=True)
        (raw,) = store.get_many(POSITIONS, [self._key])
        self._note = Note() if raw is None else _NOTE.decode(raw)
        self._is_fresh = True

    def poll(self, position: bytes | None) -> tuple[list[tuple[int, bytes]], bytes | None]:
        """What comes after `position`: (user, records) pairs, see `wire`, and the position after them.

        That is None where there is nothing new, or the log or the store cannot be reached now, which is logged.
        """
        try:
            before = {} if position is None else _POSITION.decode(position)
            polled = self._source.poll(before, self._batch)
            if polled.position == before:
                return [], None
            parts, letters = sort_out(polled, self._policy)
            self._write(polled, parts, letters)
        except (StoreAway, StoreFull, OSError) as error:
            logger.error("the log is polled again in 1 s: %s", error)
            time.sleep(1.0)
            return [], None
        return [pair for part in parts for pair in by_user(part)], msgspec.json.encode(polled.position)

    def _write(self, polled: Batch, parts: Sequence[RecordColumns], letters: Sequence[DeadLetter]) -> None:
        """All that a batch leaves in the store beside users' states: before it is sent on, and the same when it is
        read again."""
        days: dict[str, int] = {}
        for columns in parts:
            for scenario, day in scenarios.days_of_records(columns, self._policy).items():
                if day > max(self._days.get(scenario, -1), days.get(scenario, -1)):
                    days[scenario] = day
        note = self._noted(polled, parts, len(letters))
        puts = [*map(to_put, letters), Put(POSITIONS, self._key, msgspec.json.encode(note))]
        keys = [(scenarios.SCENARIOS, scenarios.NEWEST)] if days else []
        self._store.update_many(
            keys, lambda found: [*puts, *(scenarios.put(found[0], days, self._policy) if days else ())]
        )
        self._days.update(days)
        self._note = note

    def _noted(self, polled: Batch, parts: Sequence[RecordColumns], letters: int) -> Note:
        note = self._note
        places = [*polled.lines, *polled.blocks]
        newest = max((place.appended for place in places), default=note.newest_append)
        # A batch counts as read again where all of it was: the one that crosses the line counts as new.
        is_again = all(polled.position[place.part] <= note.position.get(place.part, -1) for place in places)
        if places and is_again:
            records = sum(map(len, parts))
            if self._is_fresh:
                logger.info("records that were read before come again, from position %s on", polled.position)
            note = msgspec.structs.replace(
                note, replayed=note.replayed + records, recoveries=note.recoveries + self._is_fresh
            )
        else:
            note = msgspec.structs.replace(
                note,
                position={part: max(at, note.position.get(part, 0)) for part, at in polled.position.items()},
                records=note.records + sum(map(len, parts)),
                dead_letters=note.dead_letters + letters,
            )
        self._is_fresh = False
        return msgspec.structs.replace(note, pending_bytes=polled.pending_bytes, newest_append=newest)
