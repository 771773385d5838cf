"""One encoder, told for which cluster it encodes (Zhang et al., WWW 2023, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.encoder import Encoder
from headwater.nn.inputs import EMBEDDING_STD, Catalogue, EventInputs, ItemEmbedding
from headwater.nn.sequences import Histories, Windows, last_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.divide.batches import DivideBatch
    from headwater.retrieval.divide.config import DivideConfig
    from headwater.retrieval.divide.objective import WithinObjective

EXPERTS = 4
"""Encoders of the mixture (section 3.1.2)."""


class DivideNetwork(nn.Module):
    """e_u of a user for one cluster (eqs. 4-5).

    Parameters
    ----------
    config : DivideConfig
    catalogue : Catalogue
    n_clusters : int
        K.
    """

    def __init__(self, config: DivideConfig, catalogue: Catalogue, n_clusters: int) -> None:
        super().__init__()
        self.config, d = config, config.dimension
        self.inputs = EventInputs(catalogue, config.inputs, d, config.length, config.dropout)
        self.encoders = nn.ModuleList(
            Encoder(
                d,
                config.layers,
                config.heads,
                feed_forward=config.feed_forward,
                dropout=config.dropout,
                is_causal=True,
            )
            for _ in range(EXPERTS if config.adaptation == "experts" else 1)
        )
        # At one, so that training begins with one encoder for all clusters (eq. 5).
        has_scales = config.adaptation in ("hadamard", "output")
        self.scales = nn.Parameter(torch.ones(n_clusters, d)) if has_scales else None
        self.prefixes = None
        if config.adaptation == "prefix":
            self.prefixes = nn.Parameter(torch.randn(n_clusters, d) * EMBEDDING_STD)
        self.gates = nn.Parameter(torch.zeros(n_clusters, d, EXPERTS)) if config.adaptation == "experts" else None
        self.intent = ClusterHead(d, n_clusters, config.intent.prototypes) if config.intent.is_joint else None

    @property
    def items(self) -> ItemEmbedding:
        """The vectors that states are compared with."""
        return self.inputs.items

    def forward(self, windows: Windows, tasks: Tensor | None = None) -> Tensor:
        """(b, w, d) outputs of windows for the cluster of each row, tasks (b,); of no cluster yet with `output`."""
        if self.config.adaptation == "output":
            return self.encoders[0](self.inputs(windows), windows.is_event)
        assert tasks is not None
        if self.scales is not None:
            return self.encoders[0](self.inputs(windows, scale=self.scales[tasks]), windows.is_event)
        vectors = self.inputs(windows)
        if self.prefixes is not None:
            vectors = torch.cat([self.prefixes[tasks, None].to(vectors.dtype), vectors], 1)
            is_event = functional.pad(windows.is_event, (1, 0), value=True)
            return self.encoders[0](vectors, is_event)[:, 1:]
        if self.gates is None:
            return self.encoders[0](vectors, windows.is_event)
        chances = torch.einsum("bwd,bde->bwe", vectors, self.gates[tasks].to(vectors.dtype)).softmax(-1)
        outputs = torch.stack([encoder(vectors, windows.is_event) for encoder in self.encoders], -1)
        return (outputs * chances[:, :, None]).sum(-1)

    def prompted(self, states: Tensor, tasks: Tensor) -> Tensor:
        """(m, d) of outputs (m, d), each for the cluster of its row, tasks (m,): as they are, but with `output`."""
        if self.config.adaptation != "output" or self.scales is None:
            return states
        return states * functional.embedding(tasks, self.scales)

    def loss(self, batch: DivideBatch, objective: WithinObjective) -> Tensor:
        """Sum over the positives of the loss within their cluster (eq. 3), and of that of their cluster where the same
        encoder learns the intent."""
        states = self(batch.windows, batch.tasks).flatten(0, 1)[batch.at]
        loss = objective.loss(self.prompted(states, batch.clusters), batch, self.inputs.items)
        if self.intent is not None:
            logits, smoothing = self.intent(states).float(), self.config.intent.smoothing
            loss = loss + functional.cross_entropy(logits, batch.clusters, reduction="sum", label_smoothing=smoothing)
        return loss

    def compile_encoders(self) -> None:
        """See `TrainingConfig.is_compiled`."""
        for encoder in self.encoders:
            encoder.compile()

    def encode_for(self, histories: Histories, rows: NDArray[np.int64], tasks: Tensor | None) -> Tensor:
        """(b, d) e_u of each history for the cluster of each row; of no cluster yet with `output`."""
        windows = histories.windows(rows, self.config.length, times=self.config.inputs.reads_times)
        return last_outputs(self(windows, tasks), windows)


class ClusterHead(nn.Module):
    """Logits of clusters from a state: of each, the sum over a few prototypes of what a user of it looks like.

    log Σ_j exp(w_kj · h + b_kj): one prototype is a linear layer; several can tell tastes apart that share a cluster.

    Parameters
    ----------
    dimension, n_clusters, prototypes : int
    """

    def __init__(self, dimension: int, n_clusters: int, prototypes: int) -> None:
        super().__init__()
        self.n_clusters = n_clusters
        self.prototypes = nn.Linear(dimension, n_clusters * prototypes)

    def forward(self, states: Tensor) -> Tensor:
        """(…, K) of (…, d)."""
        return self.prototypes(states).unflatten(-1, (self.n_clusters, -1)).logsumexp(-1)
