"""MF: implicit matrix factorisation by alternating least squares, whose user is solved from the history."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from headwater.data.dataset import Dataset
from headwater.retrieval.classic.additive import AdditiveChannel, AdditiveConfig, WeightedHistories, packed
from headwater.retrieval.classic.incidence import Incidence
from headwater.retrieval.classic.similarities import DenseModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_PER_BLOCK = 64
"""Users or items that one thread of a fit solves at a time."""

LEAST_WEIGHT = 1e-9
"""A history event that weighs less than this is left out of the solved system: it would change no score."""


class MFConfig(AdditiveConfig):
    """Settings of `MF`."""

    kind: Literal["mf"] = "mf"
    """Names the channel class in a recipe."""

    name: str = "mf"
    """Name in candidates and reasons; one channel of a name in a service."""

    factors: int = Field(default=128, ge=1, le=4_096)
    """Length of user and item vectors (64..512). More is better while `regularisation` is tuned with it."""

    regularisation: float = Field(default=0.003, gt=0)
    """λ, by `frequency_exponent` scaled with how much a user or item was seen (0.001..0.05)."""

    unobserved_weight: float = Field(default=0.3, gt=0)
    """α0, weight of every pair without an interaction beside one with (0.02..1). More favours rare items."""

    frequency_exponent: float = Field(default=1.0, ge=0, le=1)
    """ν: 1 scales the regularisation with the number of terms in a row's loss, 0 regularises all rows alike."""

    epochs: int = Field(default=16, ge=1)
    """Each solves all users, then all items."""

    seed: int = Field(default=0, ge=0)
    """Of the first item vectors."""


class FoldIn(DenseModel):
    """Item vectors, and the user's vector as the least squares solution for a history.

    score = V (D + V_hᵀ C V_h)⁻¹ V_hᵀ C 1 with V_h the history's item vectors, C their weights and
    D = α0 VᵀV + λ (Σ c + α0 |I|)^ν. It is linear in the events' right sides, so that each has its part in a score
    (Hu, Koren and Volinsky, ICDM 2008, section 5).

    Parameters
    ----------
    factors : (items, d) float32
        V, turned so that VᵀV is diagonal: D is then inverted by division. Scores do not change by that.
    penalty : (3,) float64
        λ, α0 and ν.
    """

    def __init__(self, factors: NDArray[np.float32], penalty: NDArray[np.float64]) -> None:
        self.factors, self.penalty = factors, penalty
        self._spectrum = np.einsum("id,id->d", factors, factors, dtype=np.float64)

    @property
    def n_items(self) -> int:
        return len(self.factors)

    def scores(self, histories: WeightedHistories, start: int, stop: int) -> NDArray[np.float32]:
        scores = np.zeros((stop - start, self.n_items), np.float32)
        for row in range(start, stop):
            triggers = histories.items[histories.offsets[row] : histories.offsets[row + 1]]
            at, vectors, weights = self._known(triggers, histories.weights)
            if len(at):
                user = self._solve(vectors, weights, vectors.T @ weights)
                scores[row - start] = self.factors @ user.astype(np.float32)
        return scores

    def parts(self, triggers: NDArray[np.int32], weights: NDArray[np.float64], item: int) -> NDArray[np.float64]:
        """(len(triggers),) c_j v_iᵀ (D + V_hᵀ C V_h)⁻¹ v_j."""
        parts = np.zeros(len(triggers))
        at, vectors, known_weights = self._known(triggers, weights)
        if len(at) and item < self.n_items:
            direction = self._solve(vectors, known_weights, self.factors[item].astype(np.float64))
            parts[at] = known_weights * (vectors @ direction)
        return parts

    def similarities(self, triggers: NDArray[np.integer], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """(triggers, targets) inner products of the items' vectors."""
        return self.factors[triggers] @ self.factors[targets].T

    def _known(
        self, triggers: NDArray[np.int32], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Places, vectors and weights of the events that count."""
        ages = len(triggers) - 1 - np.arange(len(triggers))
        at = np.flatnonzero((ages < len(weights)) & (triggers < self.n_items))
        at = at[weights[ages[at]] >= LEAST_WEIGHT]
        return at, self.factors[triggers[at]].astype(np.float64), weights[ages[at]]

    def _solve(
        self, vectors: NDArray[np.float64], weights: NDArray[np.float64], right: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(D + V_hᵀ C V_h)⁻¹ right; by Woodbury's identity where the history is shorter than the vectors."""
        from scipy.linalg import solve

        strength, unobserved, exponent = self.penalty
        penalty = unobserved * self._spectrum + strength * (weights.sum() + unobserved * self.n_items) ** exponent
        if len(vectors) >= vectors.shape[1]:
            system = (vectors.T * weights) @ vectors
            system.flat[:: len(system) + 1] += penalty
            return solve(system, right, assume_a="pos", check_finite=False)
        scaled = vectors / penalty
        system = scaled @ vectors.T
        system.flat[:: len(system) + 1] += 1.0 / weights
        return right / penalty - scaled.T @ solve(system, scaled @ right, assume_a="pos", check_finite=False)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"factors": self.factors, "penalty": self.penalty}

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        return cls(packed(tensors["factors"], np.float32), packed(tensors["penalty"], np.float64))


class MF(AdditiveChannel[FoldIn]):
    """iALS (Hu, Koren and Volinsky, ICDM 2008; Rendle et al., "Revisiting the performance of iALS", RecSys 2022).

    min Σ_{(u,i) chosen} (1 − ⟨w_u, h_i⟩)² + α0 Σ_{u,i} ⟨w_u, h_i⟩²
        + λ Σ_u (|I_u| + α0 |I|)^ν ‖w_u‖² + λ Σ_i (|U_i| + α0 |U|)^ν ‖h_i‖²

    Only the item vectors are kept. A query's user vector is solved from its history, with c_j = 2^(-age_j /
    half_life) as the weight of event j, so that a user who was never trained on, or who clicked a second ago, is
    served as every other: trained users' vectors would be the same for their training history, and older for any
    other. Scores may be negative; items that nobody had in training are never returned.

    Parameters
    ----------
    config : MFConfig
    """

    kind: ClassVar[str] = "mf"
    config_class: ClassVar = MFConfig
    model_class: ClassVar = FoldIn
    config: MFConfig

    def fit(
        self, data: Dataset, *, validate: Callable[[Self], float] | None = None, threads: int | None = None
    ) -> Self:
        """Solve users and items in turns. The result does not depend on `threads` (all cores by default).

        Time of an epoch grows with interactions x factors² + (users + items) x factors³. `validate` is not
        used: the number of epochs is a setting.
        """
        from scipy.linalg import eigh

        config = self.config
        chosen = Incidence.of(data.matrix())
        n_users, n_items = len(data.users), len(data.items)
        # Spread as in Rendle et al., section 3: scores start small at any number of factors.
        spread = 0.1 / np.sqrt(config.factors)
        items = np.random.default_rng(config.seed).normal(0, spread, (n_items, config.factors)).astype(np.float32)
        users = np.zeros((n_users, config.factors), np.float32)
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for _ in range(config.epochs):
                self._solve_side(pool, chosen.user_offsets, chosen.user_items, items, users)
                self._solve_side(pool, chosen.item_offsets, chosen.item_users, users, items)
        # The last users are those of the last items but one; queries solve their own.
        _, axes = eigh(items.T.astype(np.float64) @ items)
        penalty = np.array([config.regularisation, config.unobserved_weight, config.frequency_exponent])
        turned = np.ascontiguousarray(items.astype(np.float64) @ axes[:, ::-1], np.float32)
        return self._restore(FoldIn(turned, penalty), data.items.fingerprint())

    def _solve_side(
        self,
        pool: ThreadPoolExecutor,
        offsets: NDArray[np.int64],
        others: NDArray[np.int32],
        fixed: NDArray[np.float32],
        solved: NDArray[np.float32],
    ) -> None:
        """Set every row of `solved` to its least squares solution; rows without an interaction to 0."""
        from headwater.retrieval.classic import mf_kernels as kernels

        config = self.config
        gram = np.ascontiguousarray(np.float32(config.unobserved_weight) * (fixed.T @ fixed))

        def block(start: int) -> None:
            kernels.solve_rows(
                start,
                min(start + ROWS_PER_BLOCK, len(solved)),
                offsets,
                others,
                fixed,
                gram,
                config.regularisation,
                config.unobserved_weight,
                config.frequency_exponent,
                solved,
            )

        list(pool.map(block, range(0, len(solved), ROWS_PER_BLOCK)))
