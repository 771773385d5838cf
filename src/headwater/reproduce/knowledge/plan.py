"""Which methods are run, on what, how often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from headwater.data import Dataset
from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.recipe import load_named
from headwater.reproduce.jobs import FAST
from headwater.reproduce.knowledge import methods
from headwater.reproduce.knowledge.baselines import BASELINES
from headwater.reproduce.knowledge.config import KnowledgeRecipe, load_knowledge_recipe, load_knowledge_recipes
from headwater.reproduce.knowledge.days import load_days
from headwater.reproduce.knowledge.methods import Predictions, Trial

BASE, EVERYTHING, OURS, SHUFFLED = "base", "base-80", "keep", "keep-shuffled"
SHARES = (0.25, 0.5)
"""Of the super-domain's impressions, the latest; all of them are `keep` (Table 6)."""

METHODS: dict[str, Callable[[Trial], Predictions]] = {
    BASE: lambda trial: methods.base(trial, 1),
    EVERYTHING: lambda trial: methods.base(trial, 0, 1),
    "merging": methods.merging,
    "fine-tune": methods.fine_tune,
    **BASELINES,
    "base-inherited": methods.inherited,
    "keep-c": partial(methods.keep, source=methods.keep_c),
    OURS: partial(methods.keep, source=methods.of_extraction),
    SHUFFLED: partial(methods.keep, source=methods.shuffled),
    "keep-user": partial(methods.keep, source=methods.of_extraction, parts=("user",)),
    "keep-user-item": partial(methods.keep, source=methods.of_extraction, parts=("user", "item")),
    "keep-click": partial(methods.keep, source=methods.of_extraction, parts=("user", "item", "click")),
    "keep-decomposed": partial(methods.keep, source=methods.decomposed),
    "keep-degenerated": partial(methods.keep, source=methods.degenerated),
    "keep-served": partial(methods.keep, source=methods.served),
    "keep-concatenated": partial(methods.keep, source=methods.of_extraction, is_concatenated=True),
    "keep-inherited": partial(methods.inherited, source=methods.of_extraction),
    "keep-concatenated-inherited": partial(methods.inherited, source=methods.of_extraction, is_concatenated=True),
    **{f"keep-{share}": partial(methods.keep, source=partial(methods.of_latest, share=share)) for share in SHARES},
}

EVERYWHERE = (BASE, EVERYTHING, OURS, SHUFFLED)
"""Methods of every sub-domain; the others are of the largest."""

REPEATED = (
    BASE, EVERYTHING, "merging", "fine-tune", *BASELINES, "keep-c", OURS, SHUFFLED, "keep-click",
    "keep-decomposed", "keep-degenerated", "keep-served",
)  # fmt: skip
"""Methods under several seeds: of Tables 2, 4 and 8."""

WATCHED = ("fine-tune", "base-inherited", OURS, "keep-inherited", "keep-concatenated", "keep-concatenated-inherited")
"""Methods that are measured while they learn, too, in the largest sub-domains."""

LIKE = {"base-inherited": BASE, **{name: OURS for name in METHODS if name.startswith("keep-")}}
"""Methods that have another's settings, where a recipe has none of their own."""


@dataclass(frozen=True, slots=True)
class KnowledgeJob:
    """One method on all its sub-domains of one data set, under one seed.

    Attributes
    ----------
    recipe_name : str
    recipe : KnowledgeRecipe
        With the method's own settings; see `KnowledgeRecipe.of`.
    channel : str
        The method.
    seed : int
    """

    recipe_name: str
    recipe: KnowledgeRecipe
    channel: str
    seed: int

    @property
    def id(self) -> str:
        """Such as `ml-1m/keep/0`."""
        return f"{self.recipe_name}/{self.channel}/{self.seed}"

    @property
    def config(self) -> str:
        """See `Work`: of all settings that are not their defaults."""
        plain = [self.channel, self.recipe.model_dump(mode="json", exclude_defaults=True)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

    def load(self, home: Path, packed: Path | None) -> Dataset | Impressions:
        """See `Work`."""
        if self.recipe.days is not None:
            return load_days(self.recipe.dataset, home, packed)
        return load_named(self.recipe.dataset, home, packed=packed)

    def head(self, dataset: Dataset | Impressions) -> dict[str, Any]:
        """See `Work`."""
        return {
            "dataset": {
                "name": dataset.name,
                "checksum": dataset.checksum(),
                "users": len(dataset.users),
                "items": len(dataset.items),
            },
            "settings": self.recipe.model_dump(mode="json"),
        }


def load_plan(folder: Path, *, is_fast: bool = False, seeds: int = 3) -> list[KnowledgeJob]:
    """The jobs of every recipe of `folder`; of `fast.toml` alone, under one seed, if it is fast.

    Raises `ConfigError` as `load_knowledge_recipe` does, and where a recipe has settings of an unknown method.
    """
    if is_fast:
        recipes = {FAST: load_knowledge_recipe(folder / f"{FAST}.toml")}
    else:
        recipes = {name: recipe for name, recipe in load_knowledge_recipes(folder).items() if name != FAST}
    for name, recipe in recipes.items():
        for unknown in recipe.methods.keys() - METHODS.keys():
            nearest = get_close_matches(unknown, METHODS, 1, 0.0)[0]
            raise ConfigError(f"{name}: methods.{unknown}: there is no such method; did you mean {nearest!r}?")
    return [
        KnowledgeJob(name, recipe.of(method if method in recipe.methods else LIKE.get(method, method)), method, seed)
        for name, recipe in recipes.items()
        for method in METHODS
        for seed in range(seeds if method in REPEATED and not is_fast else 1)
    ]
