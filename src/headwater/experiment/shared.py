"""The shared table: many recipes, every channel, nothing measured twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from headwater.errors import ConfigError, DatasetUnavailable
from headwater.experiment.breakdown import derived
from headwater.experiment.measure import Say, resume_recipe
from headwater.experiment.results import Results, document_path
from headwater.experiment.table import Row, Table
from headwater.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipe's part of the shared table.

    Attributes
    ----------
    table : Table or None
        None where the data set could not be read, for `reason`.
    path : Path
        The JSON document.
    """

    name: str
    table: Table | None
    path: Path
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was to be run now did run."""
        return self.table is not None and not self.table.failures


def evaluate_all(
    recipes: Mapping[str, Recipe],
    home: Path,
    folder: Path,
    *,
    part: str = "test",
    seeds: int = 1,
    only: Collection[str] = (),
    packed: Path | None = None,
    is_run: bool = True,
    say: Say = lambda _: None,
    ended: Callable[[str, Row], None] = lambda *_: None,
) -> Iterator[Outcome]:
    """Run what `folder` does not hold yet of every recipe, one after the other; each row is written as it ends.

    Parameters
    ----------
    recipes : dict of str to Recipe
        By name; a name is that of the JSON document, `table-{name}-{part}.json`.
    home, packed : Path
        Where data sets are; see `Recipe.load_dataset`.
    only : collection of str
        Channels to run; all where empty. Processes with different ones may share a folder.
    is_run : bool
        Otherwise nothing is run nor written: the tables are of what `folder` holds.
    ended : function
        Given the recipe's name and each new row.

    Raises
    ------
    ConfigError
        `only` names a channel that no recipe has; nothing was run then.
    """
    _require_channels(only, recipes)
    return (
        _evaluate(name, recipe, home, folder, part, seeds, only, packed, is_run, say, ended)
        for name, recipe in recipes.items()
    )


def _evaluate(
    name: str,
    recipe: Recipe,
    home: Path,
    folder: Path,
    part: str,
    seeds: int,
    only: Collection[str],
    packed: Path | None,
    is_run: bool,
    say: Say,
    ended: Callable[[str, Row], None],
) -> Outcome:
    say(f"reading {recipe.dataset}")
    try:
        dataset = recipe.load_dataset(home, packed=packed)
    except DatasetUnavailable as error:
        return Outcome(name, None, document_path(folder, name, part), str(error))
    results = Results(folder, name, recipe, dataset, part)
    if not is_run:
        return Outcome(name, Table(recipe, dataset, part, results.rows()), results.path)
    table = resume_recipe(
        recipe, dataset, results, part=part, seeds=seeds, only=only, say=say, ended=lambda row: ended(name, row)
    )
    if all(row.target_ranks is not None for row in table.rows):
        results.attach(derived(table))  # else it would speak of fewer channels than what stands there
    return Outcome(name, table, results.path)


def _require_channels(names: Collection[str], recipes: Mapping[str, Recipe]) -> None:
    known = list(dict.fromkeys(channel.name for recipe in recipes.values() for channel in recipe.channels))
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, 1, 0.0)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(f"no recipe has a channel {name!r}{hint} (there are {', '.join(known)})")
