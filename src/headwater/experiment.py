"""From a recipe to figures, and from a recipe to a promoted release."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headwater import release as releases
from headwater.data import Dataset
from headwater.home import Home
from headwater.metrics.protocols import FullRanking, SampledNegatives
from headwater.profile.history import Profile
from headwater.ranking.affinity import AffinityRanker
from headwater.recipe import Recipe
from headwater.release import Merge
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel, ChannelSettings
from headwater.retrieval.evaluation import Evaluation, Latency, evaluate, latency
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
        The channel's settings, defaults included.
    fit_seconds : float
    retrieving : Latency
        Of one query at a time.
    full : Evaluation
        Full ranking over unseen items.
    sampled : Evaluation or None
        99 sampled negatives, where the recipe asks for them.
    """

    channel: str
    settings: dict[str, Any]
    fit_seconds: float
    retrieving: Latency
    full: Evaluation
    sampled: Evaluation | None


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one recipe's evaluation, with what a reader needs to trust or repeat it."""

    recipe: Recipe
    dataset: Dataset
    part: str
    rows: list[Row]

    def notes(self) -> list[str]:
        """What must stand below the table: protocols, tie rules, and what was not asked or answered."""
        first = self.rows[0]
        said = [
            f"{self.recipe.split.kind}, {self.part} part, {first.full.n_queries:,} queries; {first.full.protocol}"
            + (f"; beside it {first.sampled.protocol}" if first.sampled else ""),
            f"ties in time: {first.full.time_tie_rule}; ties in score: {first.full.score_tie_rule}",
            f"headwater {first.full.headwater}, commit {commit_id()}, config {config_hash(self.recipe)}",
        ]
        spent = first.retrieving
        said.append(f"p50, p99: ms to retrieve {spent.k} candidates, one query at a time, {spent.n} queries")
        if first.full.n_repeated:
            said.append(f"{first.full.n_repeated:,} targets stand in their own history and count as missed")
        said += [
            f"{row.channel} had nothing for {row.full.n_unanswered:,} queries, which count as missed"
            for row in self.rows
            if row.full.n_unanswered
        ]
        return said

    def to_json(self) -> dict[str, Any]:
        """The table as plain values; every row carries seed, commit and config hash."""
        commit, config = commit_id(), config_hash(self.recipe)
        return {
            "dataset": {
                "name": self.dataset.name,
                "users": len(self.dataset.users),
                "items": len(self.dataset.items),
                "interactions": len(self.dataset),
                "checksum": self.dataset.checksum(),
            },
            "split": self.recipe.split.model_dump(),
            "part": self.part,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "rows": [
                {
                    "channel": row.channel,
                    "settings": row.settings,
                    "seed": self.recipe.evaluate.seed,
                    "commit": commit,
                    "config": config,
                    "fit_seconds": round(row.fit_seconds, 3),
                    "retrieving": asdict(row.retrieving),
                    "full": row.full.to_json(),
                    "sampled": row.sampled.to_json() if row.sampled else None,
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


def fit_channel(settings: ChannelSettings, data: Dataset) -> tuple[Channel, float]:
    """A channel of the kind that `settings` are of, fitted on `data`, and the seconds that took."""
    channel = channel_class(settings.kind)(settings)
    start = time.perf_counter()
    channel.fit(data)
    return channel, time.perf_counter() - start


def evaluate_recipe(recipe: Recipe, dataset: Dataset, *, part: str = "test", say: Say = lambda _: None) -> Table:
    """Fit every channel of `recipe` on the training part and measure it on `part`.

    Parameters
    ----------
    part : "test" or "validation"
        Tune on validation; report test once.
    """
    split = recipe.split.split(dataset)
    held_out = split.test if part == "test" else split.validation
    settings = recipe.evaluate
    rows = []
    for chosen in recipe.channels:
        say(f"fitting {chosen.name} on {len(split.train):,} interactions")
        channel, seconds = fit_channel(chosen, split.train)
        say(f"evaluating {chosen.name} on {len(held_out):,} queries")
        full = evaluate(channel, held_out, FullRanking(), train=split.train, ks=settings.ks)
        sampled = None
        if settings.sampled_negatives:
            protocol = SampledNegatives(seed=settings.seed)
            sampled = evaluate(channel, held_out, protocol, train=split.train, interactions=dataset, ks=settings.ks)
        retrieving = latency(channel, held_out.queries)
        rows.append(Row(chosen.name, chosen.model_dump(mode="json"), seconds, retrieving, full, sampled))
    return Table(recipe, dataset, part, rows)


def train(recipe: Recipe, dataset: Dataset, home: Home, *, validate: bool = True, say: Say = lambda _: None) -> str:
    """Train a release on every interaction, promote it in `home`, and return its id.

    With `validate` the channels are first fitted on the training part and measured on validation, and the
    manifest records the figures. The users' histories are written to the profile store, so that the service
    knows whom the data set knows; running this twice changes nothing there.
    """
    metrics: dict[str, dict[str, float]] = {}
    if validate:
        for row in evaluate_recipe(recipe, dataset, part="validation", say=say).rows:
            metrics[row.channel] = row.full.metrics
    channels = []
    for chosen in recipe.channels:
        say(f"fitting {chosen.name} on all {len(dataset):,} interactions")
        channels.append(fit_channel(chosen, dataset)[0])
    say(f"fitting the ranker {recipe.ranker.name}")
    ranker = AffinityRanker(recipe.ranker).fit(dataset)
    say("building the release")
    names = [*(chosen.name for chosen in recipe.channels), "nearline"]
    release = releases.build(
        home.releases,
        dataset=dataset,
        channels=channels,
        ranker=ranker,
        merge=Merge(weights={name: recipe.merge.weights.get(name, 1.0) for name in names}, pool=recipe.merge.pool),
        metrics=metrics,
    )
    say("writing the users' histories to the profile store")
    import_profiles(dataset, home)
    releases.promote(home.releases, release)
    return release


def import_profiles(dataset: Dataset, home: Home) -> None:
    """Write every user's history to the profile store of `home`; events that are there already stay one."""
    store = LmdbStore(home.store)
    try:
        Profile(store).append_many(
            users=dataset.users.keys[dataset.event_users],
            items=dataset.items.keys[dataset.event_items],
            times=dataset.event_times,
            behaviours=dataset.event_behaviours,
        )
    finally:
        store.close()


# -- provenance


def config_hash(recipe: Recipe) -> str:
    """The first 12 digits of the recipe's sha256, defaults included, formatting apart."""
    plain = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def commit_id() -> str:
    """The checkout's commit, with `+` where it has uncommitted changes; `release` outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return "release"
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True)
    return (head.stdout.strip() or "release") + ("+" if dirty.stdout.strip() else "")
