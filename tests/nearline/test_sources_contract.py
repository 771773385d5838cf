"""A folder of lines and a folder of Arrow batches pass the Source contract."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from source_contract import Log, SharingContract, SourceContract

from headwater.nearline.sources import Batch, DirectorySource, Source


class LinesLog:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = 0

    def append(self, numbers: Sequence[int]) -> None:
        with (self.folder / f"{self.parts:04d}.jsonl").open("ab") as file:
            file.write(b"".join(b"%d\n" % number for number in numbers))

    def rotate(self) -> None:
        self.parts += 1

    def read(self, batch: Batch) -> list[int]:
        assert not batch.blocks
        return [int(line.raw) for line in batch.lines]


class ArrowLog:
    """Each append is a record batch; so that a limit of records cuts where it does for lines, it has one row."""

    SCHEMA = pa.schema([("number", pa.int64()), ("name", pa.dictionary(pa.int32(), pa.string()))])

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = 0
        self._open()

    def _open(self) -> None:
        self.file = (self.folder / f"{self.parts:04d}.arrows").open("xb", buffering=0)
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self.writer = pa.ipc.new_stream(self.file, self.SCHEMA, options=options)

    def append(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            row = {"number": number, "name": f"name {number}"}
            self.writer.write_batch(pa.RecordBatch.from_pylist([row], self.SCHEMA))

    def rotate(self) -> None:
        self.close()
        self.parts += 1
        self._open()

    def close(self) -> None:
        self.writer.close()
        self.file.close()

    def read(self, batch: Batch) -> list[int]:
        assert not batch.lines
        rows = [row for block in batch.blocks for row in block.rows.to_pylist()]
        assert all(row["name"] == f"name {row['number']}" for row in rows)
        return [row["number"] for row in rows]


class DirectoryContract(SourceContract, SharingContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> DirectorySource:
        return DirectorySource(tmp_path)

    @pytest.fixture
    def again(self, tmp_path: Path) -> Callable[[], Source]:
        return lambda: DirectorySource(tmp_path)

    @pytest.fixture
    def sharers(self, tmp_path: Path) -> Callable[[int], list[DirectorySource]]:
        return lambda n: [DirectorySource(tmp_path, share=(i, n)) for i in range(n)]


class TestLines(DirectoryContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Log:
        return LinesLog(tmp_path)


class TestArrow(DirectoryContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[Log]:
        log = ArrowLog(tmp_path)
        yield log
        log.close()
