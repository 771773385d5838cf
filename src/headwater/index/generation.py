"""Generating the table of neighbours: score every candidate pair, keep the k best of each item (section 5.2).

In one run, in shards that are merged, or only where something changed: the same table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from headwater.errors import ArtefactError, LineageError
from headwater.index.neighbours import (
    Header,
    Lineage,
    NeighbourTable,
    PairScorer,
    empty_rows,
    write_table,
)
from headwater.index.pairs import Block, CandidatePairs
from headwater.index.pairs_kernels import keep_best

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRS_AT_ONCE = 1 << 20
"""Pairs that are scored in one call: some tens of megabytes, and enough for a GPU."""

LARGEST = float(np.finfo(np.float16).max)


class Shard(NamedTuple):
    """The part `index` (from 0) of `count` of a table: an equal share of consecutive items."""

    index: int
    count: int

    def range(self, n_items: int) -> tuple[int, int]:
        """First item and the one behind the last. Raises `ValueError` where there is no such shard."""
        if not 0 <= self.index < self.count:
            raise ValueError(f"there is no shard {self.index} of {self.count}: they count from 0")
        return n_items * self.index // self.count, n_items * (self.index + 1) // self.count


WHOLE = Shard(0, 1)


def generate(
    path: Path | str,
    pairs: CandidatePairs,
    similarity: PairScorer,
    k: int,
    *,
    vocabulary: Lineage,
    model: str,
    shard: Shard = WHOLE,
    console: Console | None = None,
) -> bool:
    """Write the k most similar items of each item of a shard, of all items by default; whether there was need to.

    A file that holds just these rows of just this run is left as it is, so that a run of many shards that was stopped
    is started again as it was. `merge_shards` joins shards into the file that a single run writes. Scores are rounded
    to float16 before the best are chosen, so that equal ones stand by item code.

    Parameters
    ----------
    path : Path
    pairs : CandidatePairs
    similarity : PairScorer
        The item whose neighbours are sought is the trigger, the first argument.
    k : int
    vocabulary : Vocabulary
        What the codes mean.
    model : str
        Fingerprint of all that `similarity` follows from, such as a checksum of weights and features.
    shard : Shard
    console : Console, optional
        Where it is a terminal, it shows a bar.

    Raises
    ------
    ValueError
        A similarity is not finite: the message names the pair.
    """
    first, stop = shard.range(pairs.n_items)
    header = _header(pairs, k, vocabulary, model, first, stop)
    if _is_there(Path(path), header, vocabulary):
        return False
    write_table(path, header, _scored(first, stop, pairs, similarity, k, console))
    return True


def neighbours_of(
    pairs: CandidatePairs,
    similarity: PairScorer,
    k: int,
    *,
    vocabulary: Lineage,
    model: str,
    console: Console | None = None,
) -> NeighbourTable:
    """The table that `generate` writes, in memory; `write_table` of its header and records gives the same file."""
    header = _header(pairs, k, vocabulary, model, 0, pairs.n_items)
    rows = empty_rows(pairs.n_items, k)
    at = 0
    for part in _scored(0, pairs.n_items, pairs, similarity, k, console):
        rows[at : at + len(part)] = part
        at += len(part)
    return NeighbourTable(header, rows)


def generate_changed(
    path: Path | str,
    old: NeighbourTable,
    pairs: CandidatePairs,
    similarity: PairScorer,
    *,
    changed: NDArray[np.integer],
    vocabulary: Lineage,
    model: str,
    console: Console | None = None,
) -> int:
    """Write the table that `generate` would, scoring only rows that may differ from the old table's.

    Those are: items that the old table does not hold, items whose candidates or their counts differ, and items that
    are among `changed` or have one of them as candidate.

    Parameters
    ----------
    path : Path
        May be the old table's own.
    old : NeighbourTable
    pairs : CandidatePairs
        As they are now.
    similarity : PairScorer
        As it is now. Between items of which neither is `changed` and whose count is the same, it says what it said
        when the old table was made; another set of weights changes all items.
    changed : (c,) item codes
        Items of which something that `similarity` looks at is not what it was.
    vocabulary, model, console
        As for `generate`.

    Returns
    -------
    int
        Rows that were scored.
    """
    n_scored = 0

    def parts() -> Iterator[NDArray[np.void]]:
        nonlocal n_scored
        for rows, n in _refreshed(old, pairs, similarity, changed, console):
            n_scored += n
            yield rows

    write_table(path, _header(pairs, old.k, vocabulary, model, 0, pairs.n_items), parts())
    return n_scored


def neighbours_after(
    old: NeighbourTable,
    pairs: CandidatePairs,
    similarity: PairScorer,
    *,
    changed: NDArray[np.integer],
    vocabulary: Lineage,
    model: str,
    console: Console | None = None,
) -> tuple[NeighbourTable, int]:
    """The table that `generate_changed` writes, in memory, and how many rows were scored."""
    parts = list(_refreshed(old, pairs, similarity, changed, console))
    header = _header(pairs, old.k, vocabulary, model, 0, pairs.n_items)
    rows = np.concatenate([empty_rows(0, old.k), *(rows for rows, _ in parts)])
    return NeighbourTable(header, rows), sum(n for _, n in parts)


def _refreshed(
    old: NeighbourTable,
    pairs: CandidatePairs,
    similarity: PairScorer,
    changed: NDArray[np.integer],
    console: Console | None,
) -> Iterator[tuple[NDArray[np.void], int]]:
    """Successive rows, and how many of them were scored."""
    is_changed = np.zeros(pairs.n_items, bool)
    is_changed[changed] = True
    for items in _batches(0, pairs.n_items, pairs, console):
        block = pairs.of(items)
        is_stale = is_changed[items] | (items >= len(old))
        held = items[items < len(old)]
        is_stale[: len(held)] |= block.digests[: len(held)] != old.digests[held]
        owners = np.repeat(np.arange(len(items)), np.diff(block.offsets))
        is_stale |= np.bincount(owners, is_changed[block.candidates], len(items)) > 0
        rows = empty_rows(len(items), old.k)
        rows[~is_stale] = old.records[items[~is_stale]]
        stale = items[is_stale]
        rows[is_stale] = best_rows(stale, pairs.of(stale), similarity, old.k)
        yield rows, len(stale)


def _scored(
    first: int, stop: int, pairs: CandidatePairs, similarity: PairScorer, k: int, console: Console | None
) -> Iterator[NDArray[np.void]]:
    for items in _batches(first, stop, pairs, console):
        yield best_rows(items, pairs.of(items), similarity, k)


def best_rows(items: NDArray[np.int32], block: Block, similarity: PairScorer, k: int) -> NDArray[np.void]:
    """The rows (n,) of a table: of each item's candidates the k most similar, best first, equal ones by code."""
    rows = empty_rows(len(items), k)
    rows["digest"] = block.digests
    if len(block.candidates):
        triggers = np.repeat(items, np.diff(block.offsets))
        scores = np.asarray(similarity(triggers, block.candidates), np.float32)
        if scores.shape != triggers.shape:
            raise ValueError(f"{len(triggers)} pairs were to be scored, and the scores are {scores.shape}")
        if not np.isfinite(scores).all():
            at = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"the similarity of items {triggers[at]} and {block.candidates[at]} is {scores[at]}")
        halves = scores.clip(-LARGEST, LARGEST).astype(np.float16).view(np.uint16)
        keep_best(block.offsets, block.candidates, halves, rows["items"], rows["scores"].view(np.uint16))
    return rows


def run_of(pairs: CandidatePairs, model: str) -> str:
    """What `Header.run` says of tables that these pairs and this model give."""
    return xxhash.xxh3_128_hexdigest(f"{pairs.fingerprint} {model}".encode())


def _header(pairs: CandidatePairs, k: int, vocabulary: Lineage, model: str, first: int, stop: int) -> Header:
    return Header(k, pairs.n_items, first, stop - first, vocabulary.fingerprint(pairs.n_items), run_of(pairs, model))


def _is_there(path: Path, header: Header, vocabulary: Lineage) -> bool:
    if not path.exists():
        return False
    try:
        return NeighbourTable.open_shard(path, vocabulary).header == header
    except (ArtefactError, LineageError):
        return False


def _batches(first: int, stop: int, pairs: CandidatePairs, console: Console | None) -> Iterator[NDArray[np.int32]]:
    """Successive items, about `PAIRS_AT_ONCE` pairs of them at a time, and a bar of how many are done."""
    size = max(1, PAIRS_AT_ONCE // pairs.per_item)
    columns = (TextColumn("index"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = console or Console(quiet=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=stop - first)
        for start in range(first, stop, size):
            items = np.arange(start, min(start + size, stop), dtype=np.int32)
            yield items
            bar.advance(task, len(items))
