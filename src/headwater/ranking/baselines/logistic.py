"""Logistic regression over levels: every id, attribute, context and bin of a number has one weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from headwater.ranking.baselines.base import Baseline
from headwater.ranking.baselines.config import BaselineConfig
from headwater.ranking.baselines.inputs import Inputs

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray


class LogisticConfig(BaselineConfig):
    """Settings of `Logistic`."""

    kind: Literal["logistic"] = "logistic"
    """Names the class in a recipe."""
    name: str = "logistic"
    """Name in tables and releases."""
    l2: float = Field(default=10.0, ge=0)
    """Weight of half the squared norm of all weights but the intercept, beside the sum of the log losses."""
    iterations: int = Field(default=100, ge=1)
    """Steps of L-BFGS at most."""


@dataclass(frozen=True)
class LogisticTask:
    """sigmoid(intercept + Σ w[level] over the row's levels).

    Attributes
    ----------
    weights : (features + 1,) float64
        The intercept is the last.
    offsets : {name: int}
        Where the weights of each column's levels begin, in the order of the columns.
    borders : {name: (b,) float32}
        Of the bins of each number, ascending: level 0 is nothing, level 1 is up to the first border.
    """

    weights: NDArray[np.float64]
    offsets: dict[str, int]
    borders: dict[str, NDArray[np.float32]]

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n,) probability."""
        from scipy.special import expit

        return expit(_design(inputs, self.offsets, self.borders, len(self.weights) - 1) @ self.weights)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Weights, and what says which level each belongs to."""
        names = np.frombuffer("\0".join(self.offsets).encode(), np.uint8)
        found = {"weights": self.weights, "offsets": np.array(list(self.offsets.values()), np.int64), "names": names}
        return found | {f"borders.{name}": values for name, values in self.borders.items()}

    def files(self) -> dict[str, str]:
        """None."""
        return {}


class Logistic(Baseline[LogisticConfig, LogisticTask]):
    """Logistic regression with L2, by L-BFGS from zero: the same weights in every run."""

    kind: ClassVar[str] = "logistic"
    config_class: ClassVar[type[LogisticConfig]] = LogisticConfig

    def _learn(self, inputs: Inputs, labels: NDArray[np.int8]) -> LogisticTask:
        from scipy.optimize import minimize
        from scipy.special import expit

        quantiles = np.linspace(0, 1, self.config.bins + 1)[1:-1]
        borders: dict[str, NDArray[np.float32]] = {}
        for name, values in inputs.numbers.items():
            known = values[np.isfinite(values)]
            borders[name] = np.unique(np.quantile(known, quantiles)).astype(np.float32) if len(known) else known
        offsets: dict[str, int] = {}
        n_features = 0
        sizes = inputs.sizes | {name: len(cuts) + 2 for name, cuts in borders.items()}
        for name in (*inputs.levels, *inputs.numbers):
            offsets[name] = n_features
            n_features += sizes[name]
        design = _design(inputs, offsets, borders, n_features)
        transposed = design.T.tocsr()
        y = labels.astype(np.float64)
        l2 = np.full(n_features + 1, self.config.l2)
        l2[-1] = 0.0

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = design @ weights
            value = (np.logaddexp(0.0, logits) - y * logits).sum() + 0.5 * (l2 * weights**2).sum()
            return value / len(y), (transposed @ (expit(logits) - y) + l2 * weights) / len(y)

        start = np.zeros(n_features + 1)
        start[-1] = np.log(y.mean() / (1 - y.mean()))
        # Limits far below the default: the loss is a mean, and its last digits still order items.
        options = {"maxiter": self.config.iterations, "ftol": 1e-9, "gtol": 1e-7}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        return LogisticTask(found.x, offsets, borders)

    def _restore(self, tensors: Mapping[str, NDArray[Any]], files: Mapping[str, str]) -> LogisticTask:
        names = tensors["names"].tobytes().decode().split("\0")
        offsets = dict(zip(names, tensors["offsets"].tolist(), strict=True))
        borders = {name: tensors[f"borders.{name}"] for name in names if f"borders.{name}" in tensors}
        return LogisticTask(tensors["weights"], offsets, borders)


def _design(
    inputs: Inputs, offsets: Mapping[str, int], borders: Mapping[str, NDArray[np.float32]], n_features: int
) -> sp.csr_array:
    """(n, features + 1): 1 at each level of a row, and 1 for the intercept in the last column."""
    import scipy.sparse as sp

    columns = [offsets[name] + codes for name, codes in inputs.levels.items()]
    for name, values in inputs.numbers.items():
        binned = np.where(np.isfinite(values), np.searchsorted(borders[name], values) + 1, 0)
        columns.append((offsets[name] + binned)[:, None])
    n = len(columns[0])
    columns.append(np.full((n, 1), n_features))
    indices = np.concatenate(columns, axis=1).astype(np.int32)
    offsets_of_rows = np.arange(0, indices.size + 1, indices.shape[1])
    ones = np.ones(indices.size, np.float32)
    return sp.csr_array((ones, indices.ravel(), offsets_of_rows), shape=(n, n_features + 1))
