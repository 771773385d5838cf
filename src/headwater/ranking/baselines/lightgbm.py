"""Gradient-boosted trees by LightGBM (Ke et al., NeurIPS 2017), over rates, counts and levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from headwater.errors import ConfigError
from headwater.ranking.baselines.base import Baseline
from headwater.ranking.baselines.config import BaselineConfig
from headwater.ranking.baselines.inputs import Inputs

if TYPE_CHECKING:
    import lightgbm
    from numpy.typing import NDArray

MODEL = "trees.txt"
"""LightGBM's own text format, which holds no code."""

MAX_LEVELS = 256
"""A column with more levels is read by its rates and counts alone: trees split such columns by chance."""


class LightGBMConfig(BaselineConfig):
    """Settings of `LightGBM`."""

    kind: Literal["lightgbm"] = "lightgbm"
    """Names the class in a recipe."""
    name: str = "lightgbm"
    """Name in tables and releases."""
    rounds: int = Field(default=300, ge=1)
    """Trees."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Shrinkage of each tree."""
    leaves: int = Field(default=63, ge=2)
    """Leaves of a tree at most."""
    min_samples: int = Field(default=100, ge=1)
    """Impressions in a leaf at least."""
    borders: int = Field(default=63, ge=2, le=255)
    """Values that a column can be split at; LightGBM's own default is 255, which takes three times as long."""
    columns: float = Field(default=0.8, gt=0, le=1)
    """Share of columns that a tree may split."""
    l2: float = Field(default=1.0, ge=0)
    """Of the leaves' values."""
    seed: int = 0
    """Of the draw of columns."""
    threads: int = Field(default=0, ge=0)
    """Of training and prediction; 0 is one for each core. The model is the same for any number."""


@dataclass(frozen=True)
class LightGBMTask:
    """A booster, and the columns that it reads."""

    booster: lightgbm.Booster
    threads: int

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n,) probability."""
        table, _, _ = _table(inputs)
        return np.asarray(self.booster.predict(table, num_threads=self.threads), np.float64)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """None: all stands in the text."""
        return {}

    def files(self) -> dict[str, str]:
        """The trees."""
        return {MODEL: self.booster.model_to_string()}


class LightGBM(Baseline[LightGBMConfig, LightGBMTask]):
    """Boosted trees on the log loss. Needs `pip install 'headwater[ranking]'`."""

    kind: ClassVar[str] = "lightgbm"
    config_class: ClassVar[type[LightGBMConfig]] = LightGBMConfig

    def _learn(self, inputs: Inputs, labels: NDArray[np.int8]) -> LightGBMTask:
        lgb = _lightgbm()
        config = self.config
        table, names, categorical = _table(inputs)
        parameters = {
            "objective": "binary",
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_samples,
            "feature_fraction": config.columns,
            "max_bin": config.borders,
            "lambda_l2": config.l2,
            "seed": config.seed,
            "num_threads": config.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        data = lgb.Dataset(table, labels, feature_name=names, categorical_feature=categorical, free_raw_data=True)
        booster = lgb.train(parameters, data, num_boost_round=config.rounds)
        return LightGBMTask(booster, config.threads)

    def _restore(self, tensors: Mapping[str, NDArray[Any]], files: Mapping[str, str]) -> LightGBMTask:
        return LightGBMTask(_lightgbm().Booster(model_str=files[MODEL]), self.config.threads)


def _table(inputs: Inputs) -> tuple[NDArray[np.float32], list[str], list[int]]:
    """(n, columns) numbers and single levels, names that LightGBM accepts, and which columns are levels."""
    # Of a list the first value: a tree has no column that holds several.
    levels = [name for name in inputs.levels if inputs.sizes[name] <= MAX_LEVELS]
    columns = [*inputs.numbers.values(), *(inputs.levels[name][:, 0] for name in levels)]
    names = [_plain(name) for name in (*inputs.numbers, *levels)]
    first = len(inputs.numbers)
    return np.stack(columns, axis=1).astype(np.float32), names, list(range(first, len(columns)))


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError("the model 'lightgbm' needs LightGBM: pip install 'headwater[ranking]'") from error
    return lightgbm
