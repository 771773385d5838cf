"""Parts that every network of the ranking stage is built of: activations, named hidden layers, embedded fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.inputs import EMBEDDING_STD
from headwater.ranking.config import Activation
from headwater.ranking.features import NOBODY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DICE_EPSILON = 1e-8
"""ε of eq. 7 of DIN."""


class Dice(nn.Module):
    """f(s) = p(s) s + (1 − p(s)) α s, p(s) = σ((s − E[s]) / √(Var[s] + ε)); eq. 7 of DIN.

    Means and variances are those of the batch in training, and moving averages of them when serving.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(width))
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, hidden: Tensor, counts: Tensor | None = None) -> Tensor:
        """(…, width); of `hidden` only the places where `counts` (…) is true say what mean and variance are."""
        mean, variance = self.mean, self.variance
        if self.training:
            known = (hidden if counts is None else hidden[counts]).reshape(-1, hidden.shape[-1]).float()
            if len(known):
                variance, mean = torch.var_mean(known, 0, correction=0)
                with torch.no_grad():
                    self.mean.lerp_(mean, self.momentum)
                    self.variance.lerp_(variance, self.momentum)
        share = torch.sigmoid((hidden - mean) * torch.rsqrt(variance + DICE_EPSILON))
        return hidden * (share + (1 - share) * self.slope)


class PReLU(nn.Module):
    """max(s, 0) + α min(s, 0), with α of each unit learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((width,), 0.25))

    def forward(self, hidden: Tensor, counts: Tensor | None = None) -> Tensor:
        """(…, width)."""
        return functional.prelu(hidden.reshape(-1, hidden.shape[-1]), self.slope).view_as(hidden)


def activation_of(kind: Activation, width: int) -> PReLU | Dice:
    """A new activation of `width` units."""
    return Dice(width) if kind == "dice" else PReLU(width)


class Hidden(nn.Module):
    """One hidden layer; what it returns is after the activation, which is where a plug adds to (eq. 5 of KEEP)."""

    def __init__(self, width_in: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width)
        nn.init.kaiming_normal_(self.linear.weight, a=0.25)
        nn.init.zeros_(self.linear.bias)
        self.activation = activation_of(activation, width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(b, width) of (b, width_in)."""
        return self.activation(self.linear(vectors))


class TaskTower(nn.Module):
    """One task's own layers `hidden_1` … `hidden_n`, and two outputs whose difference is its logit, s = z₁ − z₀.

    Parameters
    ----------
    width_in : int
    hidden : tuple of int
    activation : "prelu" or "dice"
    """

    def __init__(self, width_in: int, hidden: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self.layers = tuple(f"hidden_{at}" for at in range(1, len(hidden) + 1))
        for name, width in zip(self.layers, hidden, strict=True):
            self.add_module(name, Hidden(width_in, width, activation))
            width_in = width
        self.output = nn.Linear(width_in, 2)
        nn.init.normal_(self.output.weight, std=width_in**-0.5)
        nn.init.zeros_(self.output.bias)

    def hidden(self) -> list[Hidden]:
        """The hidden layers, first to last."""
        return [self.get_submodule(name) for name in self.layers]  # type: ignore[misc]

    def last_hidden(self, vectors: Tensor) -> Tensor:
        """(b, width) output of the last hidden layer, of (b, width_in)."""
        for layer in self.hidden():
            vectors = layer(vectors)
        return vectors

    def forward(self, vectors: Tensor) -> Tensor:
        """(b,) logits of (b, width_in)."""
        return self.logit(self.last_hidden(vectors))

    def logit(self, hidden: Tensor) -> Tensor:
        """(b,) of what the last hidden layer says."""
        outputs = self.output(hidden).float()
        return outputs[:, 1] - outputs[:, 0]

    @torch.no_grad()
    def begin_at(self, logit: float) -> None:
        """Let logits begin around `logit`, such as that of the share of positives."""
        self.output.bias.copy_(torch.tensor([0.0, logit]))


class FieldTable(nn.Module):
    """Embeddings of things by row: of the thing itself, and of each attribute the mean of its values, side by side.

    Row `NOBODY` is zero and is not learned, so what is unknown adds nothing.

    Parameters
    ----------
    n : int
        Things; there are n + 1 rows.
    own : int
        Width of the thing's own embedding; 0 for none.
    fields : dict of str to (n + 1, values) int32
        `RankingFeatures.item_fields` or `user_fields`.
    dimension : int
        Width of each attribute.
    std : float
        Of all embeddings at the start.
    """

    def __init__(
        self, n: int, own: int, fields: dict[str, NDArray[np.int32]], dimension: int, std: float = EMBEDDING_STD
    ) -> None:
        super().__init__()
        self.n = n
        self.own = _table(n + 1, own, std) if own else None
        self.values = nn.ParameterDict(
            {name: _table(int(codes.max(initial=0)) + 1, dimension, std) for name, codes in fields.items()}
        )
        for name, codes in fields.items():
            self.register_buffer(f"codes_{name}", torch.from_numpy(codes.copy()), persistent=False)
        self.width = own + dimension * len(fields)

    def table(self) -> Tensor:
        """(n + 1, width) all rows."""
        return self._of(None)

    def forward(self, rows: Tensor) -> Tensor:
        """(…, width) of rows (…): each row of the table once, where that is less work."""
        if rows.numel() > self.n:
            return functional.embedding(rows, self.table())
        return self._of(rows.reshape(-1)).view(*rows.shape, self.width)

    def _of(self, rows: Tensor | None) -> Tensor:
        device = next(self.parameters()).device
        parts = []
        if self.own is not None:
            every = torch.arange(self.n + 1, device=device) if rows is None else rows
            parts.append(functional.embedding(every, self.own, padding_idx=NOBODY))
        for name, values in self.values.items():
            codes: Tensor = getattr(self, f"codes_{name}")
            codes = codes if rows is None else codes[rows]
            vectors = functional.embedding(codes, values, padding_idx=NOBODY)
            if codes.shape[1] == 1:
                parts.append(vectors[:, 0])
            else:
                parts.append(vectors.sum(1) / (codes != NOBODY).sum(1, keepdim=True).clamp(min=1))
        return torch.cat(parts, 1)


def _table(rows: int, width: int, std: float) -> nn.Parameter:
    weight = torch.randn(rows, width) * std
    weight[NOBODY] = 0
    return nn.Parameter(weight)
