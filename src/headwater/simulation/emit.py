"""What a play leaves behind, in the product's own formats: rank logs, impressions, events, and who and what there is.

A page's impressions have the second of its visit; a click comes one second later, a cart two, a purchase three.
"""

# pyright: basic
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data.schema import BEHAVIOURS, Behaviour
from headwater.data.vocabulary import key_of
from headwater.nearline.arrow import SCHEMA, ArrowRankLog
from headwater.simulation.catalogue import Catalogue
from headwater.simulation.config import SCENARIOS, START
from headwater.simulation.play import Page

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

DELAYS = {Behaviour.CLICK: 1, Behaviour.CART: 2, Behaviour.PURCHASE: 3}
"""Seconds after its page."""


def request_ids(page: Page) -> list[str]:
    """One for each visit; they sort by time."""
    times, users = page.requests.times.tolist(), page.requests.users.tolist()
    return [f"{time + START:010x}{user:06x}{page.scenario}" for time, user in zip(times, users, strict=True)]


class RankLogSink:
    """A sink of `Play` that appends pages to a rank log which a stream reads, one batch of Arrow a tick.

    Parameters
    ----------
    folder : Path
    catalogue : Catalogue
    arm : str
        Written with every visit.
    """

    def __init__(self, folder: Path, catalogue: Catalogue, arm: str = "") -> None:
        self._now = float(START)
        self._log = ArrowRankLog(folder, clock=lambda: self._now)
        self._catalogue, self._arm = catalogue, arm
        names = [key_of(f"category-{category}") for category in range(catalogue.n_categories)]
        self._category_keys = np.array(names, np.int64)
        self._waiting: list[pa.RecordBatch] = []

    def __call__(self, page: Page) -> None:
        self._waiting.append(self._visits(page))
        events = self._events(page)
        if events.num_rows:
            self._waiting.append(events)

    def flush(self, until: int) -> None:
        """Append what came since the last call; the log's clock then shows `until`, seconds after the start."""
        import pyarrow as pa

        self._now = float(START + until)
        if self._waiting:
            self._log.append_batch(pa.concat_batches(self._waiting))
            self._waiting = []

    def close(self) -> None:
        """Finish the current file."""
        self._log.close()

    def _visits(self, page: Page) -> pa.RecordBatch:
        import pyarrow as pa

        ranked, m = page.ranked, len(page.ranked)
        # A visit for which nothing was found has no list, and a log no line for it.
        kept = np.flatnonzero(np.diff(ranked.offsets))
        n = len(kept)
        offsets = pa.array(np.append(ranked.offsets[kept], m).astype(np.int32))
        ids = request_ids(page)
        shown = page.shown()
        exposed, positions = np.zeros(m, bool), np.zeros(m, np.int32)
        exposed[shown] = True
        positions[shown] = page.positions()

        def lists(values: Any) -> Any:
            return pa.ListArray.from_arrays(offsets, values)

        found_by = (ranked.channels[:, None] >> np.arange(len(ranked.names), dtype=np.uint32)) & 1
        rows, names = np.nonzero(found_by)
        channel_offsets = np.searchsorted(rows, np.arange(m + 1)).astype(np.int32)
        channels = pa.ListArray.from_arrays(pa.array(channel_offsets), pa.array(list(ranked.names)).take(names))
        return self._batch(
            n,
            user=pa.array(page.queries.user_keys[kept]),
            timestamp=pa.array(page.queries.request_times[kept]),
            scenario=_named(np.full(n, page.scenario, np.int32), SCENARIOS),
            request_id=pa.array([ids[row] for row in kept.tolist()], pa.string()),
            items=lists(pa.array(self._catalogue.items.keys[ranked.items])),
            scores=lists(pa.array(ranked.scores.astype(np.float64))),
            categories=lists(pa.array(self._category_keys[self._catalogue.categories[ranked.items]])),
            channels=lists(channels),
            exposed=lists(pa.array(exposed)),
            positions=lists(pa.array(positions, mask=~exposed)),
            arm=_named(np.zeros(n, np.int32), (self._arm,)),
        )

    def _events(self, page: Page) -> pa.RecordBatch:
        import pyarrow as pa

        rows, items, behaviours, times = acts(page)
        ids = request_ids(page)
        return self._batch(
            len(rows),
            user=pa.array(page.queries.user_keys[rows]),
            timestamp=pa.array(times),
            behaviour=_named(behaviours.astype(np.int32), BEHAVIOURS),
            scenario=_named(np.full(len(rows), page.scenario, np.int32), SCENARIOS),
            request_id=pa.array([ids[row] for row in rows.tolist()], pa.string()),
            items=pa.ListArray.from_arrays(
                pa.array(np.arange(len(rows) + 1, dtype=np.int32)), pa.array(self._catalogue.items.keys[items])
            ),
        )

    def _batch(self, n: int, **columns: Any) -> pa.RecordBatch:
        import pyarrow as pa

        filled = [columns.get(field.name, pa.nulls(n, field.type)) for field in SCHEMA]
        return pa.RecordBatch.from_arrays([column.cast(field.type) for column, field in zip(filled, SCHEMA, strict=True)], schema=SCHEMA)  # fmt: skip  # noqa: E501


class FolderSink:
    """A sink of `Play` that keeps a day's impressions and events, and writes each day as two Parquet files.

    ``impressions/day-00.parquet`` has what `headwater data import-impressions` reads: user_id, item_id, timestamp,
    click, cart, conversion, scenario, position, dwell_seconds. ``events/day-00.parquet`` has user_id, item_id,
    timestamp, behaviour and scenario of clicks, carts and purchases.

    Parameters
    ----------
    folder : Path
    user_ids, item_ids : arrays
        By code.
    domains : tuple of str
        Names of sub-domains, which both files then have as a column `domain`; no such column without.
    """

    def __init__(
        self, folder: Path, user_ids: NDArray[np.int64], item_ids: NDArray[np.int64], domains: tuple[str, ...] = ()
    ) -> None:
        self._folder, self._user_ids, self._item_ids = folder, user_ids, item_ids
        self._domains = domains
        self._impressions: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []

    def __call__(self, page: Page, domain: int = 0) -> None:
        outcome = page.outcome
        rows = np.repeat(np.arange(len(page.requests)), np.diff(outcome.offsets))
        self._impressions.append(
            {
                **self._domain(domain, len(rows)),
                "user_id": self._user_ids[page.requests.users[rows]],
                "item_id": self._item_ids[outcome.items],
                "timestamp": page.queries.request_times[rows],
                "click": outcome.clicks,
                "cart": outcome.carts,
                "conversion": outcome.purchases,
                "scenario": np.full(len(rows), page.scenario, np.int8),
                "position": page.positions(),
                "dwell_seconds": outcome.dwell,
            }
        )
        rows, items, behaviours, times = acts(page)
        self._events.append(
            {
                **self._domain(domain, len(rows)),
                "user_id": self._user_ids[page.requests.users[rows]],
                "item_id": self._item_ids[items],
                "timestamp": times,
                "behaviour": behaviours,
                "scenario": np.full(len(rows), page.scenario, np.int8),
            }
        )

    def end_day(self, day: int) -> None:
        """Write what came since the last call as day `day`, in time order."""
        texts = {"scenario": SCENARIOS, "behaviour": BEHAVIOURS, "domain": self._domains}
        for name, parts in (("impressions", self._impressions), ("events", self._events)):
            write_day(self._folder / name, day, parts, texts)
            parts.clear()

    def _domain(self, code: int, n: int) -> dict[str, NDArray[np.int8]]:
        return {"domain": np.full(n, code, np.int8)} if self._domains else {}


def acts(page: Page) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
    """(visit row, item, behaviour, Unix seconds) of each click, cart and purchase of a page."""
    outcome = page.outcome
    rows = np.repeat(np.arange(len(page.requests)), np.diff(outcome.offsets))
    labels = (
        (Behaviour.CLICK, outcome.clicks),
        (Behaviour.CART, outcome.carts),
        (Behaviour.PURCHASE, outcome.purchases),
    )
    places = [np.flatnonzero(values) for _, values in labels]
    behaviours = np.repeat(np.array([int(behaviour) for behaviour, _ in labels], np.int8), [len(at) for at in places])
    at = np.concatenate(places)
    delays = np.array([0, *DELAYS.values()])[behaviours]
    return rows[at], outcome.items[at], behaviours, page.queries.request_times[rows[at]] + delays


def write_day(folder: Path, day: int, parts: list[dict[str, Any]], texts: dict[str, tuple[str, ...]]) -> None:
    """One Parquet file of the columns of `parts`, sorted by time, whole or not there; codes of `texts` become names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    if columns:
        order = np.argsort(columns["timestamp"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
    table = pa.table(
        {
            name: _named(values.astype(np.int32), texts[name]).cast(pa.string()) if name in texts else values
            for name, values in columns.items()
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"day-{day:02d}.parquet"
    pq.write_table(table, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def _named(codes: NDArray[np.int32], names: tuple[str, ...]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(names), pa.string()))
