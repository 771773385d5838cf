"""A pre-norm Transformer over windows, causal or bidirectional."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.inputs import EMBEDDING_STD


class Encoder(nn.Module):
    """Blocks of attention and feed-forward layers, each on a normalised input, and a final normalisation.

    x ← x + drop(attention(norm(x))), x ← x + drop(W₂ drop(gelu(W₁ norm(x)))): the pre-norm order (Xiong et al.,
    ICML 2020), which trains without a warm-up. Attention is PyTorch's fused kernel.

    Parameters
    ----------
    dimension : int
        d; a multiple of `heads`.
    layers, heads : int
    feed_forward : int
        Width of W₁ in multiples of d.
    dropout : float
        On attention weights, inside and behind both halves of a block.
    is_causal : bool
        Whether an event attends to itself and those before it only.
    """

    def __init__(
        self, dimension: int, layers: int, heads: int, *, feed_forward: int, dropout: float, is_causal: bool
    ) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.blocks = nn.ModuleList(
            _Block(dimension, heads, feed_forward, dropout, is_causal=is_causal) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dimension)

    def forward(self, vectors: Tensor, is_event: Tensor, bias: Tensor | None = None) -> Tensor:
        """(b, w, d) outputs, meaningless in padding.

        Parameters
        ----------
        vectors : (b, w, d)
        is_event : (b, w) bool
            Events first, padding behind: a causal encoder needs no mask then, since no event attends to what
            follows it.
        bias : (b, heads, w, w), optional
            Added to the attention logits of every block.
        """
        mask = None if self.is_causal else is_event[:, None, None, :]
        if bias is not None:
            w = vectors.shape[1]
            if self.is_causal:
                mask = torch.ones(w, w, dtype=torch.bool, device=vectors.device).tril()
            mask = torch.where(mask, bias, -torch.inf)  # type: ignore[arg-type] # one of the two lines above
        for block in self.blocks:
            vectors = block(vectors, mask)
        return self.norm(vectors)


class _Block(nn.Module):
    def __init__(self, dimension: int, heads: int, feed_forward: int, dropout: float, *, is_causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.is_causal = is_causal
        self.attention_dropout = dropout
        self.attention_norm = nn.LayerNorm(dimension)
        self.attention_in = _linear(dimension, 3 * dimension)
        self.attention_out = _linear(dimension, dimension)
        self.feed_forward_norm = nn.LayerNorm(dimension)
        self.feed_forward_in = _linear(dimension, feed_forward * dimension)
        self.feed_forward_out = _linear(feed_forward * dimension, dimension)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        vectors = vectors + self.dropout(self._attend(self.attention_norm(vectors), mask))
        inner = functional.gelu(self.feed_forward_in(self.feed_forward_norm(vectors)))
        return vectors + self.dropout(self.feed_forward_out(self.dropout(inner)))

    def _attend(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        b, w, d = vectors.shape
        joint = self.attention_in(vectors).view(b, w, 3, self.heads, d // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=mask is None,
        )
        return self.attention_out(mixed.transpose(1, 2).reshape(b, w, d))


def _linear(width_in: int, width_out: int) -> nn.Linear:
    linear = nn.Linear(width_in, width_out)
    nn.init.normal_(linear.weight, std=EMBEDDING_STD)
    nn.init.zeros_(linear.bias)
    return linear
