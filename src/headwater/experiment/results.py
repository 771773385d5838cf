"""Results on disk, row by row: what was measured once is not measured again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headwater.data import Dataset
from headwater.experiment.document import read_document, write_document
from headwater.experiment.provenance import config_hash
from headwater.experiment.table import Row, Table
from headwater.recipe import Recipe


def document_path(folder: Path, name: str, part: str) -> Path:
    """Where the results of the recipe `name` on a part stand."""
    return folder / f"table-{name}-{part}.json"


class Results:
    """The rows of one recipe on one data set and part, in a JSON document that several processes may add to.

    A row counts as long as its config hash is that of the recipe's channel and the document's data set has the
    checksum of `dataset`. Beside the document, `ranks/` holds where every target stood in each row's lists; the
    figures do not need it, a second look at the same run does.

    Parameters
    ----------
    folder : Path
        Holds the documents of all recipes.
    name : str
        Of the recipe's file, without its ending.
    """

    def __init__(self, folder: Path, name: str, recipe: Recipe, dataset: Dataset, part: str) -> None:
        self.folder = folder
        self.path = document_path(folder, name, part)
        self.recipe = recipe
        self._empty = Table(recipe, dataset, part, [])
        self._head = self._empty.head()
        self._places = {channel.name: at for at, channel in enumerate(recipe.channels)}
        self._configs = {channel.name: config_hash(recipe, channel) for channel in recipe.channels}

    def rows(self) -> list[Row]:
        """The rows that count, in the recipe's order of channels, then by seed.

        Raises `ArtefactError` where the document cannot be read.
        """
        found = [self._with_ranks(row) for row in self._rows(self._document())]
        counting = [row for row in found if row.config == self._configs.get(row.channel)]
        return sorted(counting, key=lambda row: (self._places[row.channel], row.seed or 0))

    def add(self, row: Row) -> None:
        """Write one more row at once; it takes the place of the same run and of outdated runs of its channel."""
        if row.target_ranks is not None:
            path = self._ranks_path(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            staging = path.with_suffix(f".{os.getpid()}.partial")
            with staging.open("wb") as handle:
                np.save(handle, row.target_ranks, allow_pickle=False)
            staging.replace(path)
        with self._alone():
            document = self._document()
            kept = [
                other
                for other in self._rows(document)
                if other.channel != row.channel or (other.config == row.config and other.seed != row.seed)
            ]
            plain = [other.to_json() for other in sorted([*kept, row], key=self._order)]
            write_document(self.path, {**document, **self._head, "rows": plain})

    def attach(self, derived: Mapping[str, Any]) -> None:
        """Write what was derived from the rows beside them, each under its name."""
        with self._alone():
            document = {**self._document(), **self._head, **derived}
            write_document(self.path, {"rows": [], **document})

    def _order(self, row: Row) -> tuple[int, str, int]:
        return self._places.get(row.channel, len(self._places)), row.channel, row.seed or 0

    def _document(self) -> dict[str, Any]:
        """The document, or nothing where it is of other data or another part."""
        document = read_document(self.path)
        return document if all(document.get(name) == value for name, value in self._head.items()) else {}

    @staticmethod
    def _rows(document: dict[str, Any]) -> list[Row]:
        rows = []
        for fields in document.get("rows", []):
            with suppress(KeyError, TypeError):  # of another version: measured again
                rows.append(Row.from_json(fields))
        return rows

    def _ranks_path(self, row: Row) -> Path:
        checksum = self._head["dataset"]["checksum"]
        return self.folder / "ranks" / f"{self.path.stem}-{row.config}-{row.seed or 0}-{checksum[:12]}.npy"

    def _with_ranks(self, row: Row) -> Row:
        try:
            ranks = np.load(self._ranks_path(row), allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there, or cut short: the figures stand without them
            return row
        return replace(row, full=replace(row.full, target_ranks=ranks))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, so that of two processes neither loses the other's row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
