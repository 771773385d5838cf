"""A paper's experiments as jobs: each trains one model, measures all that is asked of it, and leaves one document.

A job needs its data set and nothing of other jobs, so that any machine can do any of them, in any order; documents that
are there already are not made again. Tables and figures are made from the documents alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from headwater.data import Dataset
from headwater.errors import ArtefactError, ConfigError, DatasetUnavailable, HeadwaterError
from headwater.experiment.document import read_document, write_document
from headwater.experiment.measure import Say
from headwater.experiment.provenance import config_hash, seed_of, with_seed
from headwater.experiment.table import Table
from headwater.recipe import Recipe, load_recipe, load_recipes
from headwater.retrieval.base import ChannelSettings

FORMAT = 1
"""Of the documents; one of another format is made again."""

PARTS = "parts"
"""Folder, beside the documents, of what jobs that take long have measured so far."""

FAST = "fast"
"""The recipe that `--fast` runs in place of the others."""

SEEDS = 3
"""Of the rows that matter most."""


class Data(Protocol):
    """What a job is measured on: a `Dataset`, or what stands for one."""

    def checksum(self) -> str: ...


class Work(Protocol):
    """One thing to run: what jobs of every paper have."""

    @property
    def recipe_name(self) -> str:
        """Names the data set in tables."""
        ...

    @property
    def channel(self) -> str: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def id(self) -> str: ...
    @property
    def config(self) -> str:
        """Hash of every setting that decides its figures, but the seed."""
        ...

    def load(self, home: Path, packed: Path | None) -> Data:
        """What it is measured on. Raises `DatasetUnavailable`."""
        ...

    def head(self, dataset: Any) -> dict[str, Any]:
        """What its document says of data and settings; the checksum of the data as `dataset.checksum`."""
        ...


class Named(Protocol):
    """What can be asked for by name."""

    @property
    def id(self) -> str: ...


FEW = 30
"""So many names are all told where one is wrong."""

W = TypeVar("W", bound=Work)
C = TypeVar("C", bound=Named)
Measure = Callable[[W, Any, Say], dict[str, Any]]
"""What a paper wants to know of one job, given what its `load` gave: plain values for its document."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one channel on one data set.

    Attributes
    ----------
    recipe_name : str
        Of the recipe's file, without its ending; names the data set in tables.
    recipe : Recipe
        With this channel alone, under this run's seed.
    """

    recipe_name: str
    recipe: Recipe

    @property
    def settings(self) -> ChannelSettings:
        return self.recipe.channels[0]

    @property
    def channel(self) -> str:
        return self.settings.name

    @property
    def seed(self) -> int | None:
        """None where nothing is drawn at random."""
        return seed_of(self.settings)

    @property
    def id(self) -> str:
        """Such as `ml-1m/paths/0`, or `ml-1m/itemcf` where there is no seed."""
        return "/".join(str(part) for part in (self.recipe_name, self.channel, self.seed) if part is not None)

    @property
    def config(self) -> str:
        """See `config_hash`."""
        return config_hash(self.recipe, self.settings)

    def load(self, home: Path, packed: Path | None) -> Dataset:
        """See `Work`."""
        return self.recipe.load_dataset(home, packed=packed)

    def head(self, dataset: Dataset) -> dict[str, Any]:
        """See `Work`."""
        return Table(self.recipe, dataset, "test", []).head()


@dataclass(frozen=True, slots=True)
class Ended(Generic[W]):
    """What came of one job: its document, or the reason why there is none."""

    job: W
    document: dict[str, Any] | None
    reason: str = ""
    lacks_data: bool = False
    is_unfinished: bool = False


class Unfinished(HeadwaterError):
    """All that was asked of a job was done, and the rest is left to other runs."""


def jobs_of(recipes: Mapping[str, Recipe], runs: Callable[[str], int]) -> list[Job]:
    """A job for every channel of every recipe; `runs(channel)` of them, under successive seeds, where it draws any."""
    found = []
    for name, recipe in recipes.items():
        for chosen in recipe.channels:
            first = seed_of(chosen)
            n = 1 if first is None else runs(chosen.name)
            for at in range(n):
                run = chosen if first is None else with_seed(chosen, first + at)
                found.append(Job(name, recipe.model_copy(update={"channels": (run,)})))
    return found


def planned(
    folder: Path, widened: Callable[[Recipe], Recipe], headline: Collection[str], *, is_fast: bool, seeds: int
) -> list[Job]:
    """The jobs of every recipe of `folder`, each `widened` by what a paper makes of it; of `FAST` alone if it is fast.

    `headline` channels are run under `seeds` seeds, the others under one, and all under one if it is fast. Raises
    `ConfigError` as `load_recipe` does.
    """
    if is_fast:
        recipes = {FAST: load_recipe(folder / f"{FAST}.toml")}
    else:
        recipes = {name: recipe for name, recipe in load_recipes(folder).items() if name != FAST}
    recipes = {name: widened(recipe) for name, recipe in recipes.items()}
    return jobs_of(recipes, lambda channel: seeds if channel in headline and not is_fast else 1)


def chosen_jobs(jobs: Sequence[C], patterns: Sequence[str]) -> list[C]:
    """The jobs whose id fits any pattern, as shells have them (`ml-1m/paths*`); all where there is no pattern.

    Raises `ConfigError`, which names the nearest one, where a pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(job.id, pattern) for job in jobs):
            nearest = get_close_matches(pattern, [job.id for job in jobs], 1, 0.0)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            known = f"there are {', '.join(job.id for job in jobs)}" if len(jobs) <= FEW else "--list names all"
            raise ConfigError(f"there is no {pattern!r}{hint} ({known})")
    return [job for job in jobs if not patterns or any(fnmatchcase(job.id, pattern) for pattern in patterns)]


class Documents:
    """One JSON document a job, in a folder that machines can be merged into by copying files.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: Work) -> Path:
        return self.folder / f"{job.id.replace('/', '--')}.json"

    def read(self, job: Work) -> dict[str, Any] | None:
        """What the job left; None where it was not run, or under other settings, or by another version.

        Raises `ArtefactError` where the document cannot be read.
        """
        document = read_document(self.path(job))
        is_current = (document.get("format"), document.get("config")) == (FORMAT, job.config)
        return document if is_current else None

    def whole(self, job: Work, needed: Collection[str]) -> dict[str, Any] | None:
        """The same, which must have all that is needed of it; else raises `ArtefactError`, too."""
        document = self.read(job)
        missing = [] if document is None else [part for part in needed if part not in document]
        if missing:
            raise ArtefactError(f"{self.path(job)} has no {missing[0]}; move it away and run the job again")
        return document

    def is_outdated(self, job: Work) -> bool:
        """Whether a document of other settings or of another version stands in the job's place."""
        return self.path(job).exists() and self.read(job) is None

    def write(self, job: Work, dataset: Data, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what a job found, with what it was found on, and let its parts go; returns the document."""
        document = {
            "format": FORMAT,
            "job": job.id,
            "channel": job.channel,
            "seed": job.seed,
            "config": job.config,
            **job.head(dataset),
            **measured,
        }
        path = self.path(job)
        write_document(path, document)
        for part in (path.parent / PARTS).glob(f"{path.stem}--*.json"):
            part.unlink(missing_ok=True)
        return document


def run_jobs(
    jobs: Iterable[W],
    documents: Documents,
    measure: Measure[W],
    *,
    home: Path,
    packed: Path | None = None,
    say: Say = lambda _: None,
) -> Iterator[Ended[W]]:
    """Do the jobs that have no document yet, or one of another data set; each is written as it ends.

    A job that fails (no data set, a package that this machine lacks, a loss that diverges) is told with its reason, and
    the others go on. Jobs of one recipe should stand together: its data set is read once and let go.

    Parameters
    ----------
    home, packed : Path
        Where data sets are; see `Recipe.load_dataset`.
    """
    name, dataset, reason = "", None, ""
    for job in jobs:
        if job.recipe_name != name:
            name, dataset, reason = job.recipe_name, None, ""
            say(f"reading the data of {name}")
            try:
                dataset = job.load(home, packed)
            except DatasetUnavailable as error:
                reason = str(error)
        if dataset is None:
            yield Ended(job, None, reason, lacks_data=True)
            continue
        try:
            known = documents.read(job)
            if known is None or known["dataset"]["checksum"] != dataset.checksum():
                known = documents.write(job, dataset, measure(job, dataset, say))
            yield Ended(job, known)
        except Unfinished as error:
            yield Ended(job, None, str(error), is_unfinished=True)
        except (HeadwaterError, ImportError) as error:
            yield Ended(job, None, str(error))
