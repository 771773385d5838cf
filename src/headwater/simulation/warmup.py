"""The first days of a bazaar, which every arm goes on from: played once, learned from, and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from headwater.data.dataset import Dataset
from headwater.data.folder import file_checksum, replacing
from headwater.data.packed import pack, unpack
from headwater.data.schema import Behaviour
from headwater.errors import ArtefactError
from headwater.retrieval.artefact import below, read_tensors, write_tensors
from headwater.simulation.config import SCENARIOS, BazaarConfig
from headwater.simulation.emit import acts
from headwater.simulation.play import Page, Play
from headwater.simulation.ranking import ScenarioRanker, Seen
from headwater.simulation.world import World, make_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
"""Of what is kept. It rises where a change of the bazaar's code changes what the first days leave."""

STATE, CLICKS, ABOUT = "state.safetensors", "clicks.npz", "warm-up.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class ScenarioLog:
    """What one scenario showed: n exposures, minute by minute, (n,) each.

    Attributes
    ----------
    users, items : int32
    times : int64
        Unix seconds.
    clicks, carts, purchases : int8
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    clicks: NDArray[np.int8]
    carts: NDArray[np.int8]
    purchases: NDArray[np.int8]


@dataclass(frozen=True)
class WarmUp:
    """What the first days left: a play to go on from, rankers that learned, and what channels and rankers learn from.

    Attributes
    ----------
    world : World
    play : Play
        At the midnight after them; `Play.fork` goes on without changing it.
    rankers : tuple of six ScenarioRanker
    clicks : Dataset
        Of all scenarios: what the platform keeps of a user, and so what channels will be asked with. Carts and
        purchases are in `logs`.
    logs : tuple of six ScenarioLog
    place : Path or None
        The folder that it is kept in.
    """

    world: World
    play: Play
    rankers: tuple[ScenarioRanker, ...]
    clicks: Dataset
    logs: tuple[ScenarioLog, ...]
    place: Path | None = None

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it that is not drawn from the world's settings, but the clicks."""
        found = {f"play.{name}": values for name, values in self.play.state().items()}
        for name, ranker, log in zip(SCENARIOS, self.rankers, self.logs, strict=True):
            found |= {f"rankers.{name}.weights": ranker.weights, f"rankers.{name}.rates": ranker.rates}
            found |= {f"logs.{name}.{column}": values for column, values in vars(log).items()}
        return found

    def checksum(self) -> str:
        """xxh3-128 of all that an arm begins with."""
        return self._checksum

    @cached_property
    def _checksum(self) -> str:
        digest = xxhash.xxh3_128(self.clicks.checksum().encode())
        for name, values in sorted(self.arrays.items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def warm_up(bazaar: BazaarConfig, days: int, say: Say = lambda _: None) -> WarmUp:
    """Play `days` with untrained rankers and no channels, and let each ranker learn from its own scenario's log.

    Raises `SchemaError` where a scenario's log is too short to learn from.
    """
    world = make_world(bazaar)
    log = _TrainingLog()
    play = Play(world, ranks_all=False, keeps_features=True)
    for day in range(days):
        say(f"warm-up, day {day}")
        log.day = day
        play.play_day(log)
    say("training rankers")
    untrained = [ScenarioRanker(name, world.catalogue) for name in SCENARIOS]
    rankers = tuple(ranker.trained(log.seen(code)) for code, ranker in enumerate(untrained))
    return WarmUp(world, play, rankers, log.dataset(world), tuple(log.of(code) for code in range(len(SCENARIOS))))


def kept_warm_up(folder: Path, bazaar: BazaarConfig, days: int, say: Say = lambda _: None) -> WarmUp:
    """What `warm_up` gives, read from `folder` where it was kept there before, else played and kept.

    Each world and number of days has a folder of its own below `folder`. Arrays are safetensors, clicks a packed data
    set; nothing is unpickled.

    Raises
    ------
    SchemaError
        As `warm_up` does.
    ArtefactError
        What is kept there is damaged.
    """
    place = folder / f"{bazaar.hash}-{days}-days"
    found = _read(place, bazaar, days)
    if found is None:
        found = warm_up(bazaar, days, say)
        with replacing(place) as content:
            pack(found.clicks, content / CLICKS)
            write_tensors(content / STATE, found.arrays)
            about = {"format": FORMAT, "world": bazaar.hash, "days": days, "checksum": found.checksum()}
            about["files"] = {name: file_checksum(content / name) for name in (CLICKS, STATE)}
            (content / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return replace(found, place=place)


def _read(place: Path, bazaar: BazaarConfig, days: int) -> WarmUp | None:
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        if (about["format"], about["world"], about["days"]) != (FORMAT, bazaar.hash, days):
            return None  # of another version: it is played again
        files = dict(about["files"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ArtefactError(f"{place / ABOUT} is damaged ({error}); remove {place} to play these days again") from error
    for name in (CLICKS, STATE):
        if not (place / name).exists() or file_checksum(place / name) != files.get(name):
            raise ArtefactError(f"{place / name} is missing or altered; remove {place} to play these days again")
    world, arrays = make_world(bazaar), read_tensors(place / STATE)
    rankers, logs = [], []
    for name in SCENARIOS:
        weights, rates = (arrays[f"rankers.{name}.{part}"] for part in ("weights", "rates"))
        rankers.append(ScenarioRanker(name, world.catalogue, weights, rates))
        logs.append(ScenarioLog(**below(arrays, f"logs.{name}.")))
    play = Play(world, ranks_all=False)
    play.restore(below(arrays, "play."))
    return WarmUp(world, play, tuple(rankers), unpack(place / CLICKS), tuple(logs))


class _TrainingLog:
    """Sink of the warm-up."""

    def __init__(self) -> None:
        self.day = 0
        self._seen: dict[int, list[tuple[np.ndarray, ...]]] = {code: [] for code in range(len(SCENARIOS))}
        self._shown: dict[int, list[tuple[np.ndarray, ...]]] = {code: [] for code in range(len(SCENARIOS))}
        self._acts: list[tuple[np.ndarray, ...]] = []

    def __call__(self, page: Page) -> None:
        outcome, shown = page.outcome, page.shown()
        assert page.features is not None
        days = np.full(len(shown), self.day, np.int16)
        self._seen[page.scenario].append((page.features[shown], outcome.items, page.positions(), outcome.clicks, days))
        rows = np.repeat(np.arange(len(page.requests)), np.diff(outcome.offsets))
        users, times = page.requests.users[rows], page.queries.request_times[rows]
        labels = outcome.clicks, outcome.carts, outcome.purchases
        self._shown[page.scenario].append((users, outcome.items, times, *labels))
        rows, items, behaviours, times = acts(page)
        self._acts.append((page.requests.users[rows], items, behaviours, times))

    def seen(self, scenario: int) -> Seen:
        parts = self._seen[scenario]
        none = np.zeros(0, np.int32)
        if not parts:
            return Seen(np.zeros((0, 12), np.float32), none, none, none.astype(np.int8), none.astype(np.int16))
        return Seen(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def of(self, scenario: int) -> ScenarioLog:
        # Its ranker has learned from it, so it has rows.
        return ScenarioLog(*(np.concatenate(columns) for columns in zip(*self._shown[scenario], strict=True)))

    def dataset(self, world: World) -> Dataset:
        users, items, behaviours, times = (np.concatenate(columns) for columns in zip(*self._acts, strict=True))
        clicks = behaviours == Behaviour.CLICK
        return Dataset.from_events(
            f"bazaar {world.config.hash}",
            world.users,
            world.catalogue.items,
            event_users=users[clicks],
            event_items=items[clicks],
            event_times=times[clicks],
            event_behaviours=behaviours[clicks],
            item_attributes=world.catalogue.attributes(),
            user_attributes=world.demographics,
        )
