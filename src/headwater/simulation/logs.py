"""Super-domain logs: days of impressions over products, videos and ads, in a folder that can be gone on with.

The folder holds ``impressions/day-00.parquet`` and ``events/day-00.parquet`` for each day (see `FolderSink`), who and
what there is in ``items.parquet`` and ``users.parquet``, settings and counts in ``logs.json``, and ``state.npz``, from
which the next day goes on. A day counts once its state is written: one that was cut short is played again, to the same
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ArtefactError, ConfigError
from headwater.simulation.audience import Audience
from headwater.simulation.blocks import Blocks
from headwater.simulation.domains import DOMAINS, PRODUCT, LogsConfig
from headwater.simulation.emit import FolderSink
from headwater.simulation.play import Page, Play
from headwater.simulation.shoppers import Shoppers
from headwater.simulation.world import World, make_world

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

FORMAT = 1
SHEET, STATE = "logs.json", "state.npz"


@dataclass(frozen=True)
class DomainCounts:
    """One sub-domain on one day.

    Attributes
    ----------
    users : int
        With an impression.
    impressions, clicks, carts, conversions : int
    """

    users: int
    impressions: int
    clicks: int
    carts: int
    conversions: int


@dataclass(frozen=True)
class DayCounts:
    """One day of logs.

    Attributes
    ----------
    day : int
    users : int
        With an impression in any sub-domain.
    domains : dict of str to DomainCounts
    """

    day: int
    users: int
    domains: dict[str, DomainCounts]

    @property
    def impressions(self) -> int:
        """Of all sub-domains."""
        return sum(counts.impressions for counts in self.domains.values())


def write_logs(config: LogsConfig, days: int, folder: Path) -> Iterator[tuple[DayCounts, bool]]:
    """Write days 0 to `days` - 1 into `folder`; of each its counts, and whether it was there before.

    Parameters
    ----------
    folder : Path
        New, or one that holds earlier days of the same settings.

    Raises
    ------
    ConfigError
        More days than the world has, or a folder of other settings.
    ArtefactError
        What the folder holds is no such logs, or is damaged.
    """
    most = config.bazaar.world.days
    if days > most:
        raise ConfigError(f"days ({days}) exceed bazaar.world.days ({most}); set it in the settings (--config)")
    done = read_counts(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    world = make_world(config.bazaar)
    writer = _Days(config, world, folder)
    begun = writer.go_on(len(done)) if done else 0
    for counts in done[:begun]:
        yield counts, True
    done = done[:begun]
    for day in range(begun, days):
        done.append(writer.play(day))
        _write_sheet(folder, config, done)
        writer.keep_state(day + 1)
        yield done[-1], False


def read_counts(folder: Path, config: LogsConfig | None = None) -> list[DayCounts]:
    """What a folder's days came to; none where it holds no logs. Raises as `write_logs` does."""
    path = folder / SHEET
    if not path.exists():
        return []
    try:
        sheet = json.loads(path.read_text(encoding="utf-8"))
        if sheet["format"] != FORMAT:
            raise ArtefactError(f"{path} is of format {sheet['format']}, and this version reads {FORMAT}")
        known = sheet["hash"]
        days = [
            DayCounts(
                entry["day"], entry["users"], {name: DomainCounts(**one) for name, one in entry["domains"].items()}
            )
            for entry in sheet["days"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} does not describe logs ({error!r}); move the folder away to begin anew") from error
    if config is not None and known != config.hash:
        raise ConfigError(f"{folder} holds logs of settings {known}, and these are {config.hash}; give another folder")
    return days


class _Days:
    """A play whose pages are written with the blocks beside them."""

    def __init__(self, config: LogsConfig, world: World, folder: Path) -> None:
        catalogue, seed = world.catalogue, config.bazaar.world.seed
        self._world, self._folder = world, folder
        self._play = Play(world, ranks_all=False)
        self._blocks = [
            (Blocks(code, block, catalogue, seed), Audience(world, code, block)) for code, block in config.blocks()
        ]
        self._sink = FolderSink(folder, world.users.integer_ids(), catalogue.items.integer_ids(), DOMAINS)
        self._tally = _Tally(world.config.world.users)

    def go_on(self, days: int) -> int:
        """Stand at the midnight that the folder's state is of, at most after `days`; how many days lie before it."""
        path = self._folder / STATE
        if not path.exists():
            return 0
        try:
            with np.load(path, allow_pickle=False) as state:
                day = int(state["day"])
                self._play.shoppers.restore(state)
        except (OSError, ValueError, KeyError) as error:
            raise ArtefactError(f"{path} is damaged ({error}); move the folder away to begin anew") from error
        if day > days:
            raise ArtefactError(f"{path} is of day {day}, and {SHEET} knows {days}; move the folder away to begin anew")
        self._play.day = day
        return day

    def play(self, day: int) -> DayCounts:
        if day == 0:
            self._write_who_and_what()
        for blocks, _ in self._blocks:
            blocks.begin_day(day)
        self._play.play_day(self._take)
        self._sink.end_day(day)
        return self._tally.end_day(day)

    def keep_state(self, day: int) -> None:
        path = self._folder / STATE
        staging = path.with_suffix(".partial")
        with staging.open("wb") as file:
            np.savez(file, allow_pickle=False, day=np.int64(day), **self._play.shoppers.state())
        staging.replace(path)

    def _take(self, page: Page) -> None:
        self._sink(page, PRODUCT)
        self._tally(page, PRODUCT)
        for blocks, audience in self._blocks:
            beside = block_page(page, blocks, audience, self._play.shoppers)
            if beside is not None:
                self._sink(beside, blocks.domain)
                self._tally(beside, blocks.domain)

    def _write_who_and_what(self) -> None:
        for name, table in (("item", self._world.catalogue.attributes()), ("user", self._world.demographics)):
            renamed = table.rename_columns(
                [f"{name}_id" if column == "id" else column for column in table.column_names]
            )
            _write_table(renamed, self._folder / f"{name}s.parquet")


def block_page(page: Page, blocks: Blocks, audience: Audience, shoppers: Shoppers) -> Page | None:
    """The blocks beside a page, looked at; None where no visit has one. Clicks on the page do not choose them."""
    beside = blocks.beside(page.requests, page.queries)
    if beside is None:
        return None
    requests, queries = beside
    ranked = blocks.ranked(requests, queries)
    offsets = ranked.offsets
    ends = np.minimum(np.diff(offsets), blocks.settings.slots)
    shown = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
    at = np.repeat(offsets[:-1] - shown[:-1], ends) + np.arange(int(shown[-1]))
    outcome = audience.look(shoppers, requests, shown, ranked.items[at])
    return Page(page.scenario, requests, queries, ranked, outcome, None)


class _Tally:
    """Counts of a day."""

    def __init__(self, n_users: int) -> None:
        self._seen = np.zeros((len(DOMAINS), n_users), bool)
        self._sums = np.zeros((len(DOMAINS), 4), np.int64)

    def __call__(self, page: Page, domain: int) -> None:
        outcome = page.outcome
        self._seen[domain, page.requests.users[np.diff(outcome.offsets) > 0]] = True
        labels: tuple[NDArray[np.int8], ...] = (outcome.clicks, outcome.carts, outcome.purchases)
        self._sums[domain] += (len(outcome.items), *(int(label.sum()) for label in labels))

    def end_day(self, day: int) -> DayCounts:
        found = {
            name: DomainCounts(int(self._seen[code].sum()), *self._sums[code].tolist())
            for code, name in enumerate(DOMAINS)
        }
        users = int(self._seen.any(axis=0).sum())
        self._seen[:], self._sums[:] = False, 0
        return DayCounts(day, users, found)


def _write_sheet(folder: Path, config: LogsConfig, days: list[DayCounts]) -> None:
    plain = {
        "format": FORMAT,
        "hash": config.hash,
        "world": config.bazaar.hash,
        "settings": config.model_dump(mode="json"),
        "days": [asdict(counts) for counts in days],
    }
    staging = (folder / SHEET).with_suffix(".partial")
    staging.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    staging.replace(folder / SHEET)


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)
