"""The scenarios' rankers: a logistic regression each, over what can be seen, learned from the scenario's own log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.queries import Queries
from headwater.errors import SchemaError
from headwater.retrieval.base import Candidates
from headwater.simulation import ranking_kernels as kernels
from headwater.simulation.catalogue import Catalogue

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNTRAINED = (0.35, 0.15, 0.0, 0.8, 0.6, 0.2, 0.2, 0.8, 0.8, -0.1, 0.5, 0.8)
"""Weights of the first days, before there is a log to learn from: a guess, in the order of `FEATURES`."""

PRIOR_IMPRESSIONS = 20.0
"""How many impressions at the scenario's mean rate an item is given before its own count."""

L2 = 10.0


@dataclass(frozen=True)
class Context:
    """What a request says beside the user: the category and the look that it asks for, -1 for none; (n,) int32 both."""

    categories: NDArray[np.int32]
    looks: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> Context:
        return cls(np.full(n, -1, np.int32), np.full(n, -1, np.int32))


@dataclass(frozen=True)
class Seen:
    """One scenario's own log, as it is learned from: n exposures in time order.

    Attributes
    ----------
    features : (n, 12) float32
        As they were when the page was ranked, see `FEATURES`.
    items, positions : (n,) int32
    clicks : (n,) int8
    days : (n,) int16
    """

    features: NDArray[np.float32]
    items: NDArray[np.int32]
    positions: NDArray[np.int32]
    clicks: NDArray[np.int8]
    days: NDArray[np.int16]


class ScenarioRanker:
    """`Ranker`: score = Σ_f w_f x_f over what can be seen of user, item and request.

    Parameters
    ----------
    name : str
        Of its scenario.
    catalogue : Catalogue
    weights : (12,) float64, optional
        In the order of `FEATURES`; a guess (`UNTRAINED`) without.
    rates : (items,) float32, optional
        The click rate of each item in this scenario, as its logit less the mean's; 0 without.
    """

    def __init__(
        self,
        name: str,
        catalogue: Catalogue,
        weights: NDArray[np.float64] | None = None,
        rates: NDArray[np.float32] | None = None,
    ) -> None:
        self._name = name
        self._catalogue = catalogue
        self.weights = np.array(UNTRAINED) if weights is None else weights
        self.rates = np.zeros(len(catalogue), np.float32) if rates is None else rates

    @property
    def name(self) -> str:
        return self._name

    def score(self, queries: Queries, candidates: Candidates, context: Context | None = None) -> NDArray[np.float32]:
        """(len(candidates),) higher is better; comparable within one query; `context`: what the request asks for."""
        return (self.describe(queries, candidates, context) @ self.weights.astype(np.float32)).astype(np.float32)

    def describe(self, queries: Queries, candidates: Candidates, context: Context | None = None) -> NDArray[np.float32]:
        """(len(candidates), 12) what is known of each candidate, see `FEATURES`."""
        context = context or Context.none(len(queries))
        catalogue = self._catalogue
        features = np.empty((len(candidates), len(kernels.FEATURES)), np.float32)
        kernels.describe(
            candidates.offsets,
            candidates.items,
            queries.offsets,
            queries.items,
            queries.times,
            queries.request_times,
            context.categories,
            context.looks,
            catalogue.codes,
            catalogue.n_codes,
            catalogue.numbers,
            self.rates,
            features,
        )
        return features

    def trained(self, seen: Seen) -> ScenarioRanker:
        """A ranker that learned from the scenario's own log.

        Items' click rates come from all days but the last, weights from the last day, so that no rate knows the click
        that it explains; then rates are counted again over all days. Position is an input while learning, and is left
        out afterwards: what stood further up was seen by more people.

        Raises
        ------
        SchemaError
            The log has fewer than two days, or a last day without both clicks and passed-over items.
        """
        last = seen.days == seen.days.max(initial=-1)
        clicks = seen.clicks[last]
        if last.all() or not 0 < int(clicks.sum()) < len(clicks):
            raise SchemaError(
                f"the ranker of {self.name} needs a log of two days or more, and clicks on the last one; this one has "
                f"{len(seen.clicks):,} exposures and {int(seen.clicks.sum()):,} clicks. Play more days or more users."
            )
        features = seen.features[last].astype(np.float64)
        features[:, 2] = self._rates(seen, ~last)[seen.items[last]]
        inputs = np.column_stack([features, -np.log1p(seen.positions[last]), np.ones(len(clicks))])
        weights = _logistic(inputs, clicks.astype(np.float64))
        everything = np.ones(len(seen.clicks), bool)
        return ScenarioRanker(
            self.name, self._catalogue, weights[: len(kernels.FEATURES)], self._rates(seen, everything)
        )

    def _rates(self, seen: Seen, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        n = len(self._catalogue)
        shown = np.bincount(seen.items[rows], minlength=n)
        clicked = np.bincount(seen.items[rows], seen.clicks[rows], minlength=n)
        mean = min(max(clicked.sum() / max(shown.sum(), 1), 1e-4), 1 - 1e-4)
        rate = (clicked + PRIOR_IMPRESSIONS * mean) / (shown + PRIOR_IMPRESSIONS)
        return (np.log(rate / (1 - rate)) - np.log(mean / (1 - mean))).astype(np.float32)


def _logistic(inputs: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of least log loss with L2 on all but the last (the intercept), by Newton's method."""
    weights = np.zeros(inputs.shape[1])
    penalty = np.full(inputs.shape[1], L2)
    penalty[-1] = 1e-6
    for _ in range(25):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (chances - labels) + penalty * weights
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights
