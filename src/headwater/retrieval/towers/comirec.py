"""ComiRec-SA: interests by self-attention, and lists that trade relevance for variety (Cen et al., KDD 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.nn.inputs import Catalogue
from headwater.nn.prefixes import PrefixBatch
from headwater.nn.sequences import Windows
from headwater.retrieval.base import Candidates, Mask
from headwater.retrieval.towers.interests import InterestChannel, InterestConfig, InterestNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ComiRecConfig(InterestConfig):
    """Settings of `ComiRec`."""

    kind: Literal["comirec"] = "comirec"
    """Names the channel class in a recipe."""

    name: str = "comirec"
    """Name in candidates and reasons; one channel of a name in a service."""

    attention: int = Field(default=4, ge=1)
    """Width d_a of the attention's hidden layer in multiples of d."""

    diversity: float = Field(default=0.0, ge=0)
    """λ of the aggregation: how much score an item may lack for each item of its own category that stands before
    it. 0 orders by score alone. Needs items with a `category`."""

    pool: int = Field(default=1000, ge=1)
    """Best items that the aggregation chooses among, where `diversity` is not 0; k of them where that is more."""


class ComiRecNetwork(InterestNetwork):
    """A = softmax(W₂^T tanh(W₁ H)) over the events, V_u = H A: the self-attentive method.

    Attention reads all that is known of an event, position included; what it adds up are the items' vectors, as in
    the authors' code: a score is then a weighted sum of similarities between items.
    """

    categories: Tensor

    def __init__(self, config: ComiRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, reads_order=True)
        d = config.dimension
        self.first = nn.Linear(d, config.attention * d, bias=False)
        self.second = nn.Linear(config.attention * d, config.interests, bias=False)
        self.register_buffer("categories", torch.zeros(catalogue.n_items, dtype=torch.int32))

    def forward(self, windows: Windows) -> Tensor:
        """(b, K, d) V_u."""
        return torch.einsum("bwk,bwd->bkd", self.weights(windows), self.inputs.items(windows.items))

    def weights(self, windows: Windows) -> Tensor:
        """(b, w, K) A: over a user's events the weights of each interest sum to 1."""
        logits = self.second(torch.tanh(self.first(self.inputs(windows))))
        return logits.masked_fill(~windows.is_event[..., None], -torch.inf).softmax(1)

    def for_targets(self, users: Tensor, batch: PrefixBatch) -> Tensor:
        """(b, d) v_u = V_u[:, argmax(V_u^T e_i)]: the target trains the interest that is nearest to it."""
        best = torch.einsum("bkd,bd->bk", users, self.items(batch.targets)).argmax(1)
        return users[torch.arange(len(best), device=best.device), best]

    def parts(self, windows: Windows, items: Tensor) -> Tensor:
        """a_ji ⟨e_j, e_i⟩ for the interest that the item i is nearest to: over the events j they sum to its score."""
        weights, vectors = self.weights(windows), self.inputs.items(windows.items)
        products = torch.einsum("bwd,bd->bw", vectors, self.items(items))
        by_interest = weights * products[..., None]
        best = by_interest.sum(1).argmax(1)
        return by_interest[torch.arange(len(best), device=best.device), :, best]


class ComiRec(InterestChannel[ComiRecConfig]):
    """The channel; see `LearnedChannel` for what it does and `ComiRecConfig` for its settings.

    With `diversity`, an item's score depends on what stands before it in its list, and so on what is allowed.
    """

    kind: ClassVar[str] = "comirec"
    config_class: ClassVar = ComiRecConfig
    _categories: NDArray[np.int32] | None = None

    def _new_network(self, catalogue: Catalogue) -> ComiRecNetwork:
        network = ComiRecNetwork(self.config, catalogue)
        if self._categories is not None:
            network.categories.copy_(torch.from_numpy(self._categories))
        return network

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """See `LearnedChannel.fit`. Raises `ConfigError` too where items have no category and diversity is asked."""
        if self.config.diversity and "category" not in data.item_attributes.column_names:
            raise ConfigError(f"items of {data.name} have no `category`: {self.name}.diversity must be 0")
        self._categories = data.categories[0]
        return super().fit(data, validate=validate, checkpoint=checkpoint, resume=resume)

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """The items nearest to any interest, in the order that the aggregation gives them."""
        if not self.config.diversity or k < 1:
            return super().retrieve(queries, k, allowed=allowed)
        pool = super().retrieve(queries, max(k, self.config.pool), allowed=allowed)
        categories = cast("ComiRecNetwork", self.network).categories.cpu().numpy()
        return aggregate(pool, categories, self.config.diversity, k)


def aggregate(pool: Candidates, categories: NDArray[np.int32], diversity: float, k: int) -> Candidates:
    """Controllable aggregation: greedy inference for relevance and variety (algorithm 1).

    The paper maximises Q(u, S) = Σ_{i∈S} f(u, i) + λ Σ_{i∈S} Σ_{j∈S} [category of i ≠ category of j] greedily: the
    next item is the one of highest f(u, i) + λ |{j ∈ S of another category}|. That is
    f(u, i) + λ |S| − λ |{j ∈ S of its category}|, in which |S| is the same for all, and items of one category are
    taken in the order of f. So the greedy order is that of f(u, i) − λ · (place of i within its category), and one
    sort gives it.

    Parameters
    ----------
    pool : Candidates
        Of one channel, best first by f.
    categories : (items,) int32
    diversity : float
        λ.
    k : int

    Returns
    -------
    Candidates
        Scored f(u, i) − λ · place.
    """
    category = categories[pool.items]
    by_category = np.lexsort((np.arange(len(pool)), category, pool.rows))
    rows, sorted_category = pool.rows[by_category], category[by_category]
    is_first = np.ones(len(pool), bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (sorted_category[1:] != sorted_category[:-1])
    firsts = np.flatnonzero(is_first)
    place = np.empty(len(pool), np.int64)
    place[by_category] = np.arange(len(pool)) - np.repeat(firsts, np.diff(firsts, append=len(pool)))

    scores = pool.scores - np.float32(diversity) * place.astype(np.float32)
    order = np.lexsort((pool.items, -scores, pool.rows))
    order = order[pool.ranks() < k]
    return replace(pool.select(order), scores=scores[order])
