"""What every Source must do. A subclass gives the fixtures that the classes name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headwater.nearline.sources import Batch, Source


class Log(Protocol):
    """A log of numbered records, as a producer writes it."""

    def append(self, numbers: Sequence[int]) -> None: ...

    def rotate(self) -> None:
        """Begin a new part, where the log has parts."""
        ...

    def read(self, batch: Batch) -> list[int]:
        """The numbers of the records that a poll gave."""
        ...


def drain(
    source: Source, log: Log, position: Mapping[str, int] | None = None, *, max_records: int = 7, commit: bool = True
) -> tuple[list[int], Mapping[str, int]]:
    """Everything from a position on, and the position after it."""
    position, numbers = position or {}, []
    while True:
        batch = source.poll(position, max_records)
        if not batch.records:
            return numbers, batch.position
        numbers += log.read(batch)
        position = batch.position
        if commit:
            source.commit(position)


class SourceContract:
    """Fixtures of a subclass.

    log : Log
    source : Source
    again : callable
        Opens the source anew, as the same consumer after its process died.
    """

    def test_an_empty_log_gives_nothing(self, source: Source) -> None:
        batch = source.poll({}, 10)
        assert (batch.records, batch.pending_bytes) == (0, 0)

    def test_records_come_in_order_and_once(self, log: Log, source: Source) -> None:
        log.append(range(20))
        numbers, position = drain(source, log)
        assert numbers == list(range(20))
        log.append(range(20, 30))
        assert drain(source, log, position)[0] == list(range(20, 30))

    def test_a_record_has_a_name_for_ever_and_an_append_time(self, log: Log, source: Source) -> None:
        log.append([1])
        log.append([2])
        batch = source.poll({}, 10)
        places = [*batch.lines, *batch.blocks]
        assert len({(place.part, place.offset) for place in places}) == 2
        assert all(place.length > 0 and place.appended > 1e9 for place in places)

    def test_one_position_gives_the_same_records_again_and_perhaps_more(self, log: Log, source: Source) -> None:
        for number in range(20):
            log.append([number])
        first = source.poll({}, 8)
        middle = source.poll(first.position, 8)
        assert log.read(first) + log.read(middle) == list(range(16))
        assert log.read(source.poll(first.position, 8)) == log.read(middle)
        assert log.read(source.poll({}, 8)) == log.read(first)
        log.append([20])
        assert drain(source, log, first.position, commit=False)[0] == list(range(8, 21))

    def test_a_consumer_that_was_killed_gets_again_what_it_did_not_commit(
        self, log: Log, source: Source, again: Callable[[], Source]
    ) -> None:
        for number in range(20):
            log.append([number])
        first = source.poll({}, 8)
        source.commit(first.position)
        lost = source.poll(first.position, 8)
        assert log.read(lost) == list(range(8, 16))
        assert drain(again(), log, first.position)[0] == list(range(8, 20))

    def test_a_commit_that_never_came_repeats_nothing_that_the_position_covers_twice(
        self, log: Log, source: Source, again: Callable[[], Source]
    ) -> None:
        for number in range(20):
            log.append([number])
        position = source.poll({}, 8).position
        # Durable at the consumer, and then killed before it could say so: at worst these come again, in order.
        numbers, _ = drain(again(), log, position)
        assert numbers[-12:] == list(range(8, 20))
        assert numbers[:-12] in ([], list(range(8)))

    def test_nothing_is_lost_when_the_log_begins_new_parts(self, log: Log, source: Source) -> None:
        log.append(range(5))
        numbers, position = drain(source, log)
        for start in range(5, 50, 5):
            log.rotate()
            log.append(range(start, start + 5))
            if start % 10:
                more, position = drain(source, log, position, max_records=3)
                numbers += more
        assert sorted(numbers + drain(source, log, position)[0]) == list(range(50))

    def test_what_waits_is_told_until_nothing_does(self, log: Log, source: Source) -> None:
        for number in range(20):
            log.append([number])
        first = source.poll({}, 8)
        rest = source.poll(first.position, 100)
        assert first.pending_bytes > 0
        assert rest.pending_bytes == 0


class SharingContract:
    """What a Source must do whose consumers share the work.

    log : Log
    sharers : callable
        Opens n sources that share.
    """

    def test_two_consumers_share_the_work(self, log: Log, sharers: Callable[[int], list[Source]]) -> None:
        for number in range(40):
            log.rotate()
            log.append([number])
        shares: list[list[int]] = [[], []]
        positions: list[Mapping[str, int]] = [{}, {}]
        consumers = sharers(2)
        while True:
            batches = [consumer.poll(positions[at], 4) for at, consumer in enumerate(consumers)]
            if not any(batch.records for batch in batches):
                break
            for at, batch in enumerate(batches):
                shares[at] += log.read(batch)
                positions[at] = batch.position
                consumers[at].commit(batch.position)
        assert all(shares)
        assert sorted(shares[0] + shares[1]) == list(range(40))
