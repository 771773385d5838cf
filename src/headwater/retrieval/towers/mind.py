"""MIND: a user's interests as capsules that the events of the history are routed to (Li et al., CIKM 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from headwater.nn.inputs import Catalogue
from headwater.nn.prefixes import PrefixBatch
from headwater.nn.sequences import Windows
from headwater.nn.towers import Tower
from headwater.retrieval.towers.interests import InterestChannel, InterestConfig, InterestNetwork


class MINDConfig(InterestConfig):
    """Settings of `MIND`."""

    kind: Literal["mind"] = "mind"
    """Names the channel class in a recipe."""

    name: str = "mind"
    """Name in candidates and reasons; one channel of a name in a service."""

    iterations: int = Field(default=3, ge=1)
    """Rounds of routing (the paper: 3)."""

    sharpness: float = Field(default=1.0, ge=0)
    """p of the label-aware attention: at 0 all interests train on every target alike, the higher the more only the
    nearest one does."""

    hidden: tuple[int, ...] = (128,)
    """Widths of the rectified layers behind each capsule."""


class MINDNetwork(InterestNetwork):
    """Behaviour-to-interest dynamic routing (algorithm 1), a tower behind each capsule, label-aware attention to train.

    What the paper leaves open. Routing logits start as normal draws; here each item has its own, drawn once with
    the model's seed, so that a history has the same interests whenever and beside whomever it is asked, in
    whatever order it comes. Gradients pass through the last round's sum and not through the logits, as in
    capsule networks' code. The paper's pow(V^T e, p) is not defined for negative products; p times the product has
    the same limits. The last layer is linear, since a rectified one could not point away from an item.
    """

    logits: Tensor

    def __init__(self, config: MINDConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue, reads_order=False)
        d = config.dimension
        self.iterations = config.iterations
        self.sharpness = config.sharpness
        self.bilinear = nn.Linear(d, d, bias=False)
        nn.init.normal_(self.bilinear.weight, std=d**-0.5)
        self.tower = Tower(d, config.hidden, d, dropout=config.dropout)
        self.register_buffer("logits", torch.randn(catalogue.n_items, config.interests))

    def forward(self, windows: Windows) -> Tensor:
        """(b, K, d) V_u; see `InterestNetwork`."""
        _, capsules, _ = self.routed(windows)
        vectors = self.tower(squash(capsules))
        return torch.where(self._has_interest(windows)[..., None], vectors, vectors[:, :1])

    def for_targets(self, users: Tensor, batch: PrefixBatch) -> Tensor:
        """(b, d) v_u = V_u softmax(p · V_u^T e_i): label-aware attention, the target over the interests."""
        products = torch.einsum("bkd,bd->bk", users, self.items(batch.targets))
        nearness = (self.sharpness * products).masked_fill(~self._has_interest(batch.windows), -torch.inf)
        return torch.einsum("bk,bkd->bd", nearness.softmax(1), users)

    def parts(self, windows: Windows, items: Tensor) -> Tensor:
        """w_ij S e_i along z_j, of the interest j that the item is nearest to: over the events they sum to |z_j|."""
        votes, capsules, weights = self.routed(windows)
        products = torch.einsum("bkd,bd->bk", self(windows), self.items(items))
        best = products.masked_fill(~self._has_interest(windows), -torch.inf).argmax(1)
        row = torch.arange(len(best), device=best.device)
        direction = normalize(capsules[row, best], dim=-1)
        return weights[row, :, best] * torch.einsum("bwd,bd->bw", votes, direction)

    def _has_interest(self, windows: Windows) -> Tensor:
        """(b, K) bool: the first K'_u = max(1, min(K, log₂ |I_u|)), rounded down (algorithm 1)."""
        interests = torch.arange(self.logits.shape[1], device=windows.counts.device)
        return (interests == 0) | (2 ** (interests + 1) <= windows.counts[:, None])

    def routed(self, windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """Votes (b, w, d), capsules (b, K, d) and weights (b, w, K); see `route`."""
        votes = self.bilinear(self.inputs(windows))
        capsules, weights = route(
            votes, self.logits[windows.items], windows.is_event, self._has_interest(windows), self.iterations
        )
        return votes, capsules, weights


def route(
    votes: Tensor, logits: Tensor, is_event: Tensor, has_interest: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Behaviour-to-interest dynamic routing (algorithm 1).

    Parameters
    ----------
    votes : (b, w, d)
        S e_i: one bilinear map for all pairs of event and interest.
    logits : (b, w, K)
        b_ij at the start.
    is_event : (b, w) bool
    has_interest : (b, K) bool
    iterations : int

    Returns
    -------
    capsules : (b, K, d)
        z_j, before squashing.
    weights : (b, w, K)
        w_ij of the last round; over a user's interests they sum to 1 for each event, and are 0 in padding.
    """
    fixed = votes.detach()
    logits = logits.masked_fill(~has_interest[:, None], -torch.inf)
    for _ in range(iterations - 1):
        weights = logits.softmax(2) * is_event[..., None]
        capsules = torch.einsum("bwk,bwd->bkd", weights, fixed)
        logits = logits + torch.einsum("bkd,bwd->bwk", squash(capsules), fixed)
    weights = logits.softmax(2) * is_event[..., None]
    return torch.einsum("bwk,bwd->bkd", weights, votes), weights


def squash(capsules: Tensor) -> Tensor:
    """u = |z|² / (1 + |z|²) · z / |z|, 0 for z = 0: the direction stays, the length says how sure it is."""
    squares = capsules.square().sum(-1, keepdim=True)
    # |z|² / |z| = |z|: written so that neither value nor gradient divides by a length of 0.
    return capsules * (squares + 1e-12).sqrt() / (1 + squares)


class MIND(InterestChannel[MINDConfig]):
    """The channel; see `LearnedChannel` for what it does and `MINDConfig` for its settings."""

    kind: ClassVar[str] = "mind"
    config_class: ClassVar = MINDConfig

    def _new_network(self, catalogue: Catalogue) -> MINDNetwork:
        return MINDNetwork(self.config, catalogue)
