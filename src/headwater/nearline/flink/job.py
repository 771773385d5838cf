"""The PyFlink job: readers → key by user → one value of bytes for each user → store.

No watermark flows, for nothing waits for one: the operator goes by the times in the records, and a late record is taken
in as any other. Readers are keyed too, by their number, for that gives them a position in Flink's state and a timer
that survives; what wakes them is a file with their numbers, the job's one source in Flink's sense.
"""

# PyFlink is no part of the environment that types are checked in.
# pyright: basic, reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyflink.common import Configuration, Duration, Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import FileSource, StreamFormat
from pyflink.datastream.state import ValueStateDescriptor

from headwater.nearline.flink.opened import shared_store

if TYPE_CHECKING:
    from headwater.nearline.flink.settings import JobSettings

_MAX_PARALLELISM = 128
"""Key groups: how far a job can ever be spread. A savepoint cannot change it."""


class Reader(KeyedProcessFunction):
    """`Reading` by Flink's clock; keyed by the number of the reader."""

    def __init__(self, settings: str) -> None:
        self._settings = settings

    def open(self, runtime_context: Any) -> None:
        self._given = _settings(self._settings)
        self._store = shared_store(self._given.store)
        self._position = _bytes_state(runtime_context, "position")
        self._readings: dict[int, Any] = {}

    def process_element(self, value: str, ctx: Any) -> None:
        self._wake(ctx, 1)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[tuple[int, bytes]]:
        index = ctx.get_current_key()
        if index not in self._readings:
            self._readings[index] = self._reading(index)
        found, position = self._readings[index].poll(self._position.value())
        yield from found
        if position is not None:
            self._position.update(position)
        self._wake(ctx, self._given.poll_milliseconds if position is None else 1)

    def _wake(self, ctx: Any, milliseconds: int) -> None:
        timers = ctx.timer_service()
        timers.register_processing_time_timer(timers.current_processing_time() + milliseconds)

    def _reading(self, index: int) -> Any:
        from headwater.nearline.flink.reading import Reading
        from headwater.nearline.sources import open_source

        given = self._given
        share = (index, given.readers)
        source = open_source(given.log, share=share)
        return Reading(source, self._store, given.policy, name=given.name, share=share, batch=given.batch)


class User(KeyedProcessFunction):
    """`Updates` by Flink's state and clock; keyed by user."""

    def __init__(self, settings: str) -> None:
        self._settings = settings

    def open(self, runtime_context: Any) -> None:
        from headwater.nearline.flink.updates import Updates

        self._given = _settings(self._settings)
        self._flush = self._given.flush_milliseconds
        self._value = _bytes_state(runtime_context, "user")
        self._store = shared_store(self._given.store)
        self._updates = Updates(self._store, self._given.policy)

    def process_element(self, value: tuple[int, bytes], ctx: Any) -> None:
        from headwater.nearline.flink.wire import unpack

        user, raw = value
        timers = ctx.timer_service()
        # All timers of one moment come due together, and the first of them writes for all.
        due = (timers.current_processing_time() // self._flush + 1) * self._flush
        self._value.update(self._updates.take_in(user, self._value.value(), unpack(raw, user), due))
        timers.register_processing_time_timer(due)

    def on_timer(self, timestamp: int, ctx: Any) -> None:
        changed = self._updates.settle(ctx.get_current_key(), self._value.value(), timestamp)
        if changed is not None:
            self._value.update(changed)


def build(settings: JobSettings) -> StreamExecutionEnvironment:
    """The job, ready to be executed."""
    configuration = Configuration()
    for key, value in {
        "python.execution-mode": "thread",
        "execution.checkpointing.interval": f"{round(settings.checkpoint_seconds * 1_000)} ms",
        "execution.checkpointing.dir": settings.checkpoints_url,
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "3",
        # A folder that is away for a while stops checkpoints, not the stream; the watcher says so.
        "execution.checkpointing.tolerable-failed-checkpoints": "2147483647",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "pipeline.max-parallelism": str(_MAX_PARALLELISM),
        "execution.buffer-timeout.interval": "10 ms",
        "slot.request.timeout": "60000",
    }.items():
        configuration.set_string(key, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    environment.set_parallelism(settings.parallelism)
    given, bytes_type = settings.model_dump_json(), Types.PRIMITIVE_ARRAY(Types.BYTE())
    numbers = FileSource.for_record_stream_format(StreamFormat.text_line_format(), _write_numbers(settings))
    source = numbers.monitor_continuously(Duration.of_seconds(60)).build()
    woken = environment.from_source(source, WatermarkStrategy.no_watermarks(), "readers").uid("readers")
    records = (
        woken.key_by(int, key_type=Types.LONG())
        .process(Reader(given), output_type=Types.TUPLE([Types.LONG(), bytes_type]))
        .name("read")
        .uid("read")
    )
    records.key_by(lambda pair: pair[0], key_type=Types.LONG()).process(User(given), output_type=Types.LONG()).name(
        "users"
    ).uid("users")
    return environment


def _write_numbers(settings: JobSettings) -> str:
    """Write a file with the readers' numbers, by Flink's own means, to where every process of Flink reaches it: beside
    the checkpoints. Returns its folder."""
    from pyflink.java_gateway import get_gateway

    folder = f"{settings.checkpoints_url.rstrip('/')}/readers/{settings.name}"
    jvm: Any = get_gateway().jvm
    path = jvm.org.apache.flink.core.fs.Path(f"{folder}/numbers.txt")
    system = path.getFileSystem()
    system.mkdirs(path.getParent())
    out = system.create(path, jvm.org.apache.flink.core.fs.FileSystem.WriteMode.OVERWRITE)
    out.write("".join(f"{n}\n" for n in range(settings.readers)).encode())
    out.close()
    return folder


def _settings(text: str) -> JobSettings:
    from headwater.nearline.flink.settings import JobSettings

    return JobSettings.model_validate_json(text)


def _bytes_state(context: Any, name: str) -> Any:
    """A value of bytes as they are: PyFlink's own converter takes an array apart into Python numbers."""
    from pyflink.fn_execution.embedded.converters import IdentityDataConverter

    state = context.get_state(ValueStateDescriptor(name, Types.PRIMITIVE_ARRAY(Types.BYTE())))
    state._value_converter = IdentityDataConverter()
    return state


def main(path: str) -> None:
    """Submit the job whose settings are in a file, to the cluster that `flink run` has chosen."""
    settings = _settings(Path(path).read_text(encoding="utf-8"))
    build(settings).execute(settings.name)
