"""Train the models of a recipe and measure them: once, on validation or test days, or day after day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.experiment.provenance import commit_id, machine
from headwater.experiment.ranking.recipe import RankRecipe, activity_of
from headwater.experiment.ranking.table import RankRow, RankTable
from headwater.metrics import measure_by_activity, measure_prediction
from headwater.ranking.model import ImpressionModel, model_class


def evaluate_models(
    recipe: RankRecipe,
    impressions: Impressions,
    *,
    part: Literal["validation", "test"] = "test",
    say: Callable[[str], None] = lambda _: None,
) -> RankTable:
    """Train each model on the days before `part`, and measure it on those of `part`.

    Raises
    ------
    SchemaError
        A part has no impression, or a model cannot learn from what there is.
    """
    train, measured = recipe.days.split(impressions, part)
    table = RankTable(recipe, impressions, part)
    for config in recipe.models:
        say(f"training {config.name} on {len(train):,} impressions")
        model, seconds = _fitted(model_class(config.kind)(config), train)
        say(f"measuring {config.name} on {len(measured):,} impressions")
        table.rows.extend(_rows(model, recipe, train, measured, seconds))
    return table


def progressive(
    recipe: RankRecipe,
    impressions: Impressions,
    *,
    first: int,
    last: int,
    say: Callable[[str], None] = lambda _: None,
) -> RankTable:
    """Next-day evaluation: for each day from `first` to `last`, train through the day before and predict it.

    A model that is incremental learns each day once, after it has been predicted; any other is trained anew from
    all days so far. A day without impressions, or on which a label has one value only, is passed over.

    Raises `ConfigError` where no such day is left.
    """
    table = RankTable(recipe, impressions, "next-day")
    days = [day for day, rows in impressions.day_slices() if first <= day <= last and _is_telling(impressions, rows)]
    if not days:
        raise ConfigError(
            f"no day from {first} to {last} of {impressions.name} has impressions with and without a click"
        )
    for config in recipe.models:
        model = model_class(config.kind)(config)
        learned = -1
        for day in days:
            train, measured = impressions.split_days(day - 1, day)
            fresh = train.select(train.days > learned) if model.is_incremental else train
            say(f"training {config.name} through day {day - 1} ({len(fresh):,} impressions)")
            seconds = 0.0
            if len(fresh):
                model, seconds = _fitted(model, fresh)
            learned = day - 1
            table.rows.extend(_rows(model, recipe, train, measured, seconds))
    return table


def _is_telling(impressions: Impressions, rows: slice) -> bool:
    labels = impressions.labels[impressions.tasks[0]][rows]
    return bool(labels.any() and not labels.all())


def _fitted(model: Any, train: Impressions) -> tuple[Any, float]:
    started = time.perf_counter()
    return model.fit(train), time.perf_counter() - started


def _rows(
    model: ImpressionModel, recipe: RankRecipe, train: Impressions, measured: Impressions, fit_seconds: float
) -> Iterator[RankRow]:
    started = time.perf_counter()
    predicted = model.predict(measured)
    seconds = time.perf_counter() - started
    activity = activity_of(train, measured)
    for task, probabilities in predicted.items():
        rows = measured.samples(task)
        columns = measured.user_codes[rows], measured.labels[task][rows], probabilities[rows]
        yield RankRow(
            model=model.name,
            task=task,
            settings=model.config.model_dump(mode="json"),
            train_until=int(train.days[-1]),
            days=(int(measured.days[0]), int(measured.days[-1])),
            fit_seconds=fit_seconds,
            predict_seconds=seconds,
            trained=len(train),
            predicted=len(measured),
            whole=measure_prediction(*columns, bins=recipe.evaluate.bins),
            by_activity=measure_by_activity(
                *columns, activity[rows], edges=recipe.evaluate.activity, bins=recipe.evaluate.bins
            ),
            commit=commit_id(),
            machine=machine(),
        )
