"""A ranking recipe: one experiment as TOML, impressions × days × models."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from headwater.config import Settings, parse, read_toml
from headwater.data.impressions import Impressions
from headwater.errors import ConfigError, SchemaError
from headwater.ranking.model import MODELS, model_class


class DataRecipe(Settings):
    """Where impressions come from."""

    kind: Literal["rated", "log", "behaviours"]
    """`rated`: the ratings of a data set; `log`: an imported impression log; `behaviours`: the interactions of a data
    set beside sampled negatives."""
    name: str
    """A known data set (`ml-1m`) or the folder of one; of a log, the name that it was imported under, or its file."""
    click: float = 4.0
    """Least rating of a click (rated)."""
    conversion: float | None = None
    """Least rating of a conversion (rated); no such label without."""
    negatives: int = Field(default=4, ge=1)
    """Items drawn beside each clicked one (behaviours)."""
    seed: int = 0
    """Of that draw."""
    utc_offset: int = 0
    """Seconds by which the clock that days follow is ahead of UTC (rated, behaviours)."""
    sub_domain: str | None = None
    """Only the impressions of this sub-domain."""

    def load(self, home: Path | str) -> Impressions:
        """The impressions.

        Raises
        ------
        DatasetUnavailable, ArtefactError, SchemaError
            The data are not there, are damaged, or are not of this kind.
        """
        if self.kind == "log":
            from headwater.data.impression_log import load_log

            impressions = load_log(self.name, home)
        else:
            from headwater.data.catalogue import load

            dataset = load(self.name, home)
            if self.kind == "rated":
                from headwater.data.rated import rated_impressions

                impressions = rated_impressions(
                    dataset, click=self.click, conversion=self.conversion, utc_offset=self.utc_offset
                )
            else:
                from headwater.data.behaviours import behaviour_impressions

                impressions = behaviour_impressions(
                    dataset, negatives=self.negatives, seed=self.seed, utc_offset=self.utc_offset
                )
        return impressions if self.sub_domain is None else impressions.sub_domain(self.sub_domain)


class DayRecipe(Settings):
    """Which days are trained on and which are measured."""

    validation: int
    """First day of the validation part; all earlier days are its training part."""
    test: int
    """First day of the test part; all earlier days, validation included, are its training part."""
    until: int | None = None
    """Last day of the test part; the last one there is without."""

    @model_validator(mode="after")
    def _in_order(self) -> DayRecipe:
        if not 0 < self.validation < self.test <= (self.test if self.until is None else self.until):
            raise ValueError("days must satisfy 0 < validation < test <= until")
        return self

    def split(self, impressions: Impressions, part: Literal["validation", "test"]) -> tuple[Impressions, Impressions]:
        """What is trained on and what is measured. Raises `SchemaError` where either has no impression."""
        if part == "validation":
            return impressions.split_days(self.validation - 1, self.validation, self.test - 1)
        last = int(impressions.days[-1]) if self.until is None else self.until
        return impressions.split_days(self.test - 1, self.test, last)

    def before_test(self, impressions: Impressions) -> Impressions:
        """All that settings may be chosen on."""
        return impressions.select(impressions.days < self.test)


class RankEvaluate(Settings):
    """What is measured."""

    activity: tuple[Annotated[int, Field(ge=1)], ...] = (50, 150, 300)
    """Borders of the users' groups by clicks before the measured days; those of KEEP's Table 7."""
    bins: int = Field(default=15, ge=1)
    """Equal-mass bins of the calibration."""


class RankRecipe(Settings):
    """One experiment."""

    data: DataRecipe
    """Where impressions come from."""
    days: DayRecipe
    """Which days are trained on and which are measured."""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """Settings that all models share, above all what they read: `item_attributes`, `user_attributes`, `context`."""
    models: tuple[Any, ...]
    """Settings of each model, of its own class."""
    evaluate: RankEvaluate = RankEvaluate()
    """What is measured."""

    def only(self, names: Sequence[str]) -> RankRecipe:
        """The same with the named models; with all where none is named. Raises `ConfigError` on an unknown name."""
        known = [model.name for model in self.models]
        for name in names:
            if name not in known:
                nearest = get_close_matches(name, known, 1, 0.0)[0]
                raise ConfigError(f"the recipe has no model {name!r}; did you mean {nearest!r}?")
        kept = tuple(model for model in self.models if not names or model.name in names)
        return self.model_copy(update={"models": kept})


def load_rank_recipe(path: Path) -> RankRecipe:
    """Read a recipe.

    Raises
    ------
    ConfigError
        No such file, broken TOML, an unknown or mistyped key, no model, an unknown kind of model, or two models of
        one name.
    """
    values = read_toml(path)
    listed = values.get("models", [])
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: models must be tables: [[models]]")
    if not listed:
        raise ConfigError(f"{path}: a recipe needs at least one [[models]] table; kinds: {', '.join(MODELS)}")
    shared = values.get("inputs", {})
    models = [_model(shared, entry, f"{path}: models[{at}]") for at, entry in enumerate(listed)]
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: two models are named {twice[0]!r}; give one of them another `name`")
    return parse(RankRecipe, values | {"models": models}, str(path))


def _model(shared: dict[str, Any], entry: dict[str, Any], where: str) -> Any:
    if "kind" not in entry:
        raise ConfigError(f"{where}: needs a `kind`: one of {', '.join(MODELS)}")
    try:
        config_class = model_class(entry["kind"]).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    return parse(config_class, {**shared, **entry}, where)


def activity_of(train: Impressions, measured: Impressions) -> np.ndarray:
    """(n,) how many positive interactions each measured impression's user has before the first measured one."""
    if not len(measured):
        raise SchemaError(f"{measured.name} holds no impression to measure")
    first = int(measured.times[0])
    owners = np.repeat(np.arange(len(train.users)), np.diff(train.history_offsets))
    counts = np.bincount(owners[train.history_times < first], minlength=len(train.users) + 1)
    return counts[measured.user_codes]  # the last entry, 0, is an unknown user's
