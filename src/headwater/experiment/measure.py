"""Fit the channels of a recipe and measure them, anew or as far as it was not done yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from headwater.config import Settings
from headwater.data import Dataset, Split
from headwater.errors import HeadwaterError
from headwater.experiment.provenance import commit_id, config_hash, machine, seed_of, with_seed
from headwater.experiment.results import Results
from headwater.experiment.table import Refitted, Row, Table
from headwater.metrics.protocols import FullRanking, SampledNegatives
from headwater.recipe import Recipe
from headwater.retrieval import channel_class
from headwater.retrieval.base import Channel, ChannelSettings
from headwater.retrieval.evaluation import evaluate, latency, validation_figure

Say = Callable[[str], None]
"""Told what is being done now, for a progress display. Where it is `TRAINING …`, a bar of the training follows."""

TRAINING = "training "


def fit_channel(
    settings: ChannelSettings,
    data: Dataset,
    *,
    validate: Callable[[Channel], float] | None = None,
    say: Say = lambda _: None,
) -> tuple[Any, float]:
    """A channel of the kind that `settings` are of, fitted on `data`, and the seconds that took."""
    seed = seed_of(settings)
    name = settings.name if seed is None else f"{settings.name} (seed {seed})"
    verb = TRAINING if hasattr(settings, "training") else "fitting "
    say(f"{verb}{name} on {len(data):,} interactions of {data.name}")
    channel = channel_class(settings.kind)(settings)
    start = time.perf_counter()
    channel.fit(data, validate=validate)
    return channel, time.perf_counter() - start


def evaluate_recipe(
    recipe: Recipe,
    dataset: Dataset,
    *,
    part: str = "test",
    seeds: int = 1,
    say: Say = lambda _: None,
    keep: Callable[[Channel], None] = lambda _: None,
) -> Table:
    """Fit every channel of `recipe` on the training part and measure it on `part`.

    Channels over a trained network stop early by NDCG@10 on the validation part, whichever part is measured.

    Parameters
    ----------
    dataset : Dataset
        As `recipe.load_dataset` gives it.
    part : "test" or "validation"
        Tune on validation; report test once.
    seeds : int
        Runs of each channel that draws at random, under the recipe's seed and those that follow it.
    keep : function
        Given each channel as it was measured; without it channels are let go one by one.
    """
    split = recipe.split.split(dataset)
    rows = []
    for run in (run for chosen in recipe.channels for run in _runs(chosen, seeds)):
        channel, row = _measure(run, recipe, dataset, split, part, say)
        keep(channel)
        rows.append(_refit(run, row, split, say) if recipe.evaluate.refit and part == "test" else row)
    return Table(recipe, dataset, part, rows)


def resume_recipe(
    recipe: Recipe,
    dataset: Dataset,
    results: Results,
    *,
    part: str = "test",
    seeds: int = 1,
    only: Collection[str] = (),
    say: Say = lambda _: None,
    ended: Callable[[Row], None] = lambda _: None,
) -> Table:
    """Do what `evaluate_recipe` does for the runs that `results` does not hold, each written there as it ends.

    A channel that cannot be run (a package that this machine lacks, settings that do not fit the data, a loss that
    diverges) is named with its reason in the table, and the others go on.

    Parameters
    ----------
    only : collection of str
        Channels to run, by name; all where empty. What `results` has of the others stands in the table too.
    ended : function
        Given each new row.
    """
    split = recipe.split.split(dataset)
    known = {(row.channel, row.seed): row for row in results.rows()}
    is_refit = recipe.evaluate.refit and part == "test"
    failures = {}
    for chosen in recipe.channels:
        if only and chosen.name not in only:
            continue
        try:
            for run in _runs(chosen, seeds):
                row = known.get((run.name, seed_of(run)))
                if row is None:
                    _, row = _measure(run, recipe, dataset, split, part, say)
                    results.add(row)
                    ended(row)
                if is_refit and row.refitted is None:
                    results.add(_refit(run, row, split, say))
        except (HeadwaterError, ImportError) as error:
            failures[chosen.name] = str(error)
    return Table(recipe, dataset, part, results.rows(), failures)


def for_more_data(chosen: ChannelSettings, training: dict[str, Any] | None) -> ChannelSettings:
    """The settings to fit again where nothing is left to validate with: as many epochs as gave the best validation.

    Parameters
    ----------
    training : dict or None
        The report of the fit that was validated; without one, or without a best epoch, `chosen` stays as it is.
    """
    own = getattr(chosen, "training", None)
    best = (training or {}).get("best_epoch")
    if best is None or not isinstance(own, Settings):
        return chosen
    return chosen.model_copy(update={"training": own.model_copy(update={"epochs": best + 1})})


def _runs(chosen: ChannelSettings, seeds: int) -> list[ChannelSettings]:
    first = seed_of(chosen)
    return [chosen] if first is None else [with_seed(chosen, first + at) for at in range(seeds)]


def _measure(
    run: ChannelSettings, recipe: Recipe, dataset: Dataset, split: Split, part: str, say: Say
) -> tuple[Channel, Row]:
    held_out = split.test if part == "test" else split.validation
    settings, seed = recipe.evaluate, seed_of(run)
    channel, seconds = fit_channel(run, split.train, validate=validation_figure(split), say=say)
    say(f"evaluating {run.name} on {len(held_out):,} queries of {dataset.name}")
    depth = max(settings.incremental_ks)
    full = evaluate(channel, held_out, FullRanking(), train=split.train, ks=settings.ks, depth=depth)
    sampled = None
    if settings.sampled_negatives:
        protocol = SampledNegatives(seed=settings.seed)
        sampled = evaluate(channel, held_out, protocol, train=split.train, interactions=dataset, ks=settings.ks)
    report = getattr(channel, "report", None)
    return channel, Row(
        channel=run.name,
        settings=run.model_dump(mode="json"),
        config=config_hash(recipe, run),
        seed=seed,
        commit=commit_id(),
        machine=machine(),
        fit_seconds=seconds,
        retrieving=latency(channel, held_out.queries),
        full=full,
        sampled=sampled,
        training=asdict(report) if is_dataclass(report) and not isinstance(report, type) else None,
    )


def _refit(run: ChannelSettings, row: Row, split: Split, say: Say) -> Row:
    """The row with what the same run reaches on the test part when it learns from the validation part too."""
    chosen = for_more_data(run, row.training)
    channel, _ = fit_channel(chosen, split.before_test, say=say)
    say(f"evaluating {run.name}, fitted again")
    ks = tuple(int(name.partition("@")[2]) for name in row.full.metrics if name.startswith("hr@"))
    return replace(
        row,
        refitted=Refitted(
            full=evaluate(channel, split.test, FullRanking(), train=split.before_test, ks=ks),
            epochs=getattr(getattr(chosen, "training", None), "epochs", None),
            commit=commit_id(),
            machine=machine(),
        ),
    )
