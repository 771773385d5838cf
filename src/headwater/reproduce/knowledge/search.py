"""Settings of each method, chosen on the validation part with as many trials for every one of them.

A trial learns from each user's 60 to 75% and is judged by the mean GAUC over sub-domains on 75 to 80%; what tests, the
last 20%, is not even read into it. Of a log that is cut by days, the last day that trains judges. Otherwise it is the
job that it tunes: the same method, cut and measure.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean
from typing import Any

from headwater.config import parse, read_toml
from headwater.errors import ConfigError, HeadwaterError
from headwater.experiment.measure import Say
from headwater.experiment.provenance import commit_id, machine
from headwater.metrics import measure_prediction
from headwater.recipe import load_named
from headwater.reproduce.knowledge.config import KnowledgeRecipe, load_knowledge_recipe
from headwater.reproduce.knowledge.cut import VALIDATION, Cut
from headwater.reproduce.knowledge.days import DayCut, load_days
from headwater.reproduce.knowledge.methods import Trial
from headwater.reproduce.knowledge.plan import METHODS
from headwater.search import Search, append, drawn, finished

METRICS = ("auc", "gauc", "logloss")


class KnowledgeSearch(Search):
    """One search: `kind` is a method, and `base` and `space` hold settings of a recipe, in place of its own."""

    recipe: Path
    """The recipe whose settings hold where the search says nothing; the method's own ones in it do not."""

    seconds: float | None = None
    metric: str = "gauc"


def load_knowledge_search(path: Path) -> tuple[KnowledgeSearch, list[KnowledgeRecipe]]:
    """Read a search, and the recipe that each of its trials runs under, so that a faulty one is known at once.

    Raises `ConfigError`, which names the file and the key.
    """
    search = parse(KnowledgeSearch, read_toml(path), str(path))
    if search.kind not in METHODS:
        nearest = get_close_matches(search.kind, METHODS, 1, 0.0)[0]
        raise ConfigError(f"{path}: unknown method {search.kind!r}; did you mean {nearest!r}?")
    recipe = load_knowledge_recipe(search.recipe)
    return search, [recipe.changed(_own(settings), str(path)) for settings in drawn(search)]


def run(
    searches: Sequence[tuple[KnowledgeSearch, Sequence[KnowledgeRecipe]]],
    results: Path,
    *,
    home: Path,
    packed: Path | None = None,
    some: slice = slice(None),
    told: Callable[[dict[str, Any]], None] = lambda _: None,
    say: Say = lambda _: None,
) -> list[dict[str, Any]]:
    """Run every trial that `results` does not hold yet, one after another, and return all lines of these searches.

    Parameters
    ----------
    searches : sequence of (KnowledgeSearch, sequence of KnowledgeRecipe)
        As `load_knowledge_search` gives them.
    results : Path
        JSON Lines, appended to as trials end. Several processes may run different searches into one file.
    some : slice
        Which trials of each search, in the order that they are drawn in: machines may share a search.
    told : callable
        Given each new line.
    """
    memory: dict[str, Any] = {}
    lines = []
    for search, recipes in searches:
        for settings, recipe in list(zip(drawn(search), recipes, strict=True))[some]:
            key = _key(search.kind, recipe)
            line = next((line for line in finished(results) if line["key"] == key), None)
            if line is None:
                line = {"key": key, "data_file": recipe.dataset, "settings": settings, **_place()}
                line |= _tried(search.kind, recipe, home, packed, memory, say)
                append(results, line)
                told(line)
            lines.append(line)
    return lines


def _tried(
    method: str, recipe: KnowledgeRecipe, home: Path, packed: Path | None, memory: dict[str, Any], say: Say
) -> dict[str, Any]:
    """What a trial found; a failure is a line too, with its reason."""
    started = time.perf_counter()
    try:
        cut = _cut(recipe, home, packed)
        domains = list(cut.membership)[: recipe.largest]
        trial = Trial(cut, recipe, 0, domains, say, memory)
        found = {}
        for domain, scores in METHODS[method](trial):
            test = cut.part(2, domain=domain)
            measured = measure_prediction(test.user_codes, test.labels["click"], scores["click"])
            found[domain] = {metric: float(getattr(measured, metric)) for metric in METRICS}
    except HeadwaterError as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    means = {metric: fmean(figures[metric] for figures in found.values()) for metric in METRICS}
    return {"seconds": time.perf_counter() - started, "validation": {"metrics": means, "domains": found}}


def _cut(recipe: KnowledgeRecipe, home: Path, packed: Path | None) -> Cut:
    """What a trial learns from, and what judges it, which is before all that tests."""
    if recipe.days is None:
        return Cut.of(load_named(recipe.dataset, home, packed=packed), recipe, VALIDATION)
    if recipe.days.train < 2:
        raise ConfigError(f"{recipe.dataset}: the last day that trains is to judge; days.train must be 2 or more")
    earlier = recipe.days.model_copy(update={"train": recipe.days.train - 1, "test": 1})
    log = load_days(recipe.dataset, home, packed)
    return DayCut.of_log(log, recipe.model_copy(update={"days": earlier}))


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "kind"}


def _key(method: str, recipe: KnowledgeRecipe) -> str:
    plain = [method, VALIDATION, recipe.model_dump(mode="json", exclude_defaults=True)]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _place() -> dict[str, str]:
    return {"commit": commit_id(), "machine": machine()}
