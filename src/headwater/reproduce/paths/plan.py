"""Which channels are run, on what, how often: the recipes, the paper's ablations, and the seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.recipe import Recipe
from headwater.reproduce.jobs import SEEDS, Job, planned
from headwater.retrieval.paths.config import PathsConfig

OURS = "paths"
"""The channel that is the paper's."""

HEADLINE = (OURS, "bst", "bst-unseen")
"""Channels that are run under several seeds: the paper's, and what its Table 4 compares it with."""

VECTOR = "paths-vector"
VECTOR_WIDTH = 8

OWN_NEGATIVES = 32
"""Of each positive, where hops are vectors and the negatives of `paths` are those of a whole step."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "paths-without-bias-net": {"has_bias_net": False},
    "paths-without-direct-net": {"has_direct_net": False},
    VECTOR: {"path_dimension": VECTOR_WIDTH},
}
"""Name -> what is changed of `paths`. The loss that `paths` does not have is tried as well."""


def load_plan(folder: Path, *, is_fast: bool = False, seeds: int = SEEDS) -> list[Job]:
    """The jobs of every recipe of `folder`, of one data set each, with the ablations of its channel `paths`.

    Raises `ConfigError` as `load_recipe` does.
    """
    return planned(folder, with_ablations, HEADLINE, is_fast=is_fast, seeds=seeds)


def with_ablations(recipe: Recipe) -> Recipe:
    """The recipe with its channel `paths` in the paper's ablations too; one that it names itself stays as it is."""
    whole = next((chosen for chosen in recipe.channels if chosen.name == OURS), None)
    if not isinstance(whole, PathsConfig):
        return recipe
    other_loss = "bce" if whole.loss == "softmax" else "softmax"
    changes = ABLATIONS | {f"{OURS}-{other_loss}": {"loss": other_loss}}
    if whole.shares_negatives:  # which vectors cannot
        changes[VECTOR] = changes[VECTOR] | {"shares_negatives": False, "negatives": OWN_NEGATIVES}
    named = {chosen.name for chosen in recipe.channels}
    plain = whole.model_dump()
    added = [
        PathsConfig.model_validate({**plain, "name": name, **changed})
        for name, changed in changes.items()
        if name not in named
    ]
    return recipe.model_copy(update={"channels": (*recipe.channels, *added)})
