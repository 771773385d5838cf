"""From a recipe to figures, and from a recipe to a promoted release."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import headwater
from headwater import release as releases
from headwater.config import Settings
from headwater.data import Dataset
from headwater.data.catalogue import load as load_dataset
from headwater.errors import HeadwaterError
from headwater.home import Home
from headwater.metrics.protocols import FullRanking, SampledNegatives
from headwater.profile.history import Profile
from headwater.ranking.affinity import AffinityRanker
from headwater.recipe import Recipe
from headwater.release import Merge
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel
from headwater.retrieval.classic.itemcf import ItemCF
from headwater.retrieval.classic.popular import Popular
from headwater.retrieval.evaluation import Evaluation, evaluate, latency
from headwater.store.lmdb import LmdbStore

Say = Callable[[str], None]
"""Told what is being done now, for a progress display."""


@dataclass(frozen=True, slots=True)
class Row:
    """One channel's line of an evaluation table.

    Attributes
    ----------
    channel : str
    settings : dict
        The channel's settings, as the recipe has them.
    fit_seconds : float
    p50_ms, p99_ms : float
        Latency of retrieving for one query at a time.
    full : Evaluation
        Full ranking over unseen items.
    sampled : Evaluation or None
        99 sampled negatives.
    """

    channel: str
    settings: dict[str, Any]
    fit_seconds: float
    p50_ms: float
    p99_ms: float
    full: Evaluation
    sampled: Evaluation | None


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one recipe's evaluation, with what a reader needs to trust or repeat it."""

    recipe: Recipe
    dataset: Dataset
    part: str
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """The table as plain values: every row carries seed, commit and config hash."""
        provenance = {
            "headwater": headwater.__version__,
            "commit": _commit(),
            "config": config_hash(self.recipe),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        }
        return {
            "dataset": {
                "name": self.dataset.name,
                "users": len(self.dataset.users),
                "items": len(self.dataset.items),
                "interactions": len(self.dataset),
                "checksum": self.dataset.checksum(),
            },
            "part": self.part,
            "provenance": provenance,
            "rows": [
                {
                    "channel": row.channel,
                    "settings": row.settings,
                    "seed": self.recipe.evaluate.seed,
                    "commit": provenance["commit"],
                    "config": provenance["config"],
                    "fit_seconds": round(row.fit_seconds, 3),
                    "retrieve_ms": {"p50": round(row.p50_ms, 4), "p99": round(row.p99_ms, 4)},
                    "full": row.full.to_json(),
                    "sampled": None if row.sampled is None else row.sampled.to_json(),
                }
                for row in self.rows
            ],
        }

    def save(self, path: Path) -> None:
        """Write `to_json` to `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".partial")
        staging.write_text(json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        staging.replace(path)


def fit_channel(settings: Settings, data: Dataset) -> tuple[Channel, float]:
    """A channel of the kind that `settings` are of, fitted on `data`, and the seconds that took."""
    channel = channel_class(settings.kind)(settings)  # type: ignore[attr-defined]
    start = time.perf_counter()
    channel.fit(data)
    return channel, time.perf_counter() - start


def evaluate_recipe(
    recipe: Recipe, home: Home, *, part: str = "test", say: Say = lambda _: None
) -> Table:
    """Fit every channel of `recipe` on the training part and measure it on `part`.

    Parameters
    ----------
    part : "test" or "validation"
        Tune on validation; report test once.
    """
    dataset = load_dataset(recipe.dataset, home.root)
    split = recipe.split.split(dataset)
    held_out = split.test if part == "test" else split.validation
    settings = recipe.evaluate
    rows = []
    for chosen in recipe.channels:
        kind: str = chosen.kind  # type: ignore[attr-defined]
        say(f"fitting {kind} on {len(split.train):,} interactions")
        channel, seconds = fit_channel(chosen, split.train)
        say(f"evaluating {kind} on {len(held_out):,} users")
        full = evaluate(channel, held_out, FullRanking(), train=split.train, ks=settings.ks)
        sampled = None
        if settings.sampled_negatives:
            protocol = SampledNegatives(seed=settings.seed)
            sampled = evaluate(channel, held_out, protocol, train=split.train, ks=settings.ks)
        p50, p99 = latency(channel, held_out.queries, max(settings.ks))
        rows.append(Row(kind, chosen.model_dump(mode="json"), seconds, p50, p99, full, sampled))
    return Table(recipe, dataset, part, rows)


def train(recipe: Recipe, home: Home, *, validate: bool = True, say: Say = lambda _: None) -> str:
    """Train a release on every interaction, promote it, and return its id.

    With `validate`, the channels are first fitted on the training part and measured on validation, and the
    manifest records the figures. The users' histories are written to the profile store, so that a known
    user is known to the service too; running this twice changes nothing there.
    """
    dataset = load_dataset(recipe.dataset, home.root)
    metrics: dict[str, dict[str, float]] = {}
    if validate:
        for row in evaluate_recipe(recipe, home, part="validation", say=say).rows:
            metrics[row.channel] = row.full.metrics
    channels = []
    for chosen in recipe.channels:
        say(f"fitting {chosen.kind} on all {len(dataset):,} interactions")  # type: ignore[attr-defined]
        channels.append(fit_channel(chosen, dataset)[0])
    say("building the release")
    weights = {channel.name: recipe.merge.weights.get(channel.name, 1.0) for channel in channels}
    weights["nearline"] = recipe.merge.weights.get("nearline", 1.0)
    release = releases.build(
        home.releases,
        dataset=dataset,
        channels=channels,
        ranker=build_ranker(recipe, dataset, channels),
        merge=Merge(weights=weights, pool=recipe.merge.pool),
        metrics=metrics,
    )
    say("writing the users' histories to the profile store")
    import_profiles(dataset, home)
    releases.promote(home.releases, release)
    return release
