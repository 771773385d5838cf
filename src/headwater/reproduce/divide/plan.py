"""Which channels are run, on what, how often: the recipes, and what is made of their channels `sasrec` and `divide`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headwater.config import parse
from headwater.recipe import Recipe
from headwater.reproduce.jobs import SEEDS, Job, planned
from headwater.retrieval.divide.config import DivideConfig
from headwater.retrieval.divide.mixed import SASRecPlusConfig

OURS, LATE, BASE = "divide", "divide-late", "sasrec"

LOSSES: dict[str, dict[str, Any]] = {
    "bce": {"loss": "bce", "n_negatives": 1, "shared": False, "excludes_seen": True},
    "sampled": {"loss": "sampled-softmax", "n_negatives": 256, "shared": True, "excludes_seen": True},
    "softmax": {"loss": "softmax"},
    "unseen-softmax": {"loss": "unseen-softmax"},
}
"""Name -> objective: SASRec and Divide, with prompts before or behind its encoder, are trained with each. No draw is an
item that the user chose (eqs. 2 and 3)."""

ADAPTATIONS = {"divide-naive": "none", "divide-mmoe": "experts", "divide-prefix": "prefix"}
"""Ablations of section 2.3, with the loss of `divide`."""

MIXES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of hard negatives of SASRec+ and of Figure 1a, with BCE and one negative; none is `sasrec-bce`."""

HEADLINE = (
    *(OURS, LATE, BASE, "sasrec-original"),
    *("divide-bce", "divide-late-bce", "sasrec-bce", "divide-late-sampled", "sasrec-sampled"),
)
"""Channels that are run under several seeds."""


def load_plan(folder: Path, *, is_fast: bool = False, seeds: int = SEEDS) -> list[Job]:
    """The jobs of every recipe of `folder`, of one data set each, with what is made of its channels.

    Raises `ConfigError` as `load_recipe` does.
    """
    return planned(folder, with_variants, HEADLINE, is_fast=is_fast, seeds=seeds)


def with_variants(recipe: Recipe) -> Recipe:
    """The recipe with `sasrec`, `divide` and `divide-late` under every loss, ablations of `divide`, and mixtures of
    SASRec+.

    A channel that the recipe names itself stays as it is; a loss that `sasrec` or `divide` has already is not repeated,
    and where the catalogue is too large for full sums (the recipe's `sasrec` has drawn negatives), none is made.
    """
    channels = {chosen.name: chosen for chosen in recipe.channels}
    for name in (BASE, OURS, LATE):
        whole = channels.get(name)
        if not isinstance(whole, SASRecPlusConfig | DivideConfig):
            continue
        for loss, objective in LOSSES.items():
            is_full = "n_negatives" not in objective
            own_is_full = whole.objective.loss in ("softmax", "unseen-softmax")
            if whole.objective.loss != objective["loss"] and (own_is_full or not is_full or name != BASE):
                _add(channels, whole, f"{name}-{loss}", objective=objective)
        if name == OURS:
            for variant, adaptation in ADAPTATIONS.items():
                _add(channels, whole, variant, adaptation=adaptation)
        elif name == BASE:
            for mix in MIXES:
                _add(channels, whole, f"sasrec+-{mix}", mix=mix, objective=LOSSES["bce"])
    return recipe.model_copy(update={"channels": tuple(channels.values())})


def _add(channels: dict[str, Any], whole: Any, name: str, **changed: Any) -> None:
    if name not in channels:
        channels[name] = parse(type(whole), {**whole.model_dump(), "name": name, **changed}, name)
