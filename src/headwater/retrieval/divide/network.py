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
        self.scales = nn.Parameter(torch.ones(n_clusters, d)) if config.adaptation == "hadamard" else None
        self.prefixes = None
        if config.adaptation == "prefix":
            self.prefixes = nn.Parameter(torch.randn(n_clusters, d) * EMBEDDING_STD)
        self.gates = nn.Parameter(torch.zeros(n_clusters, d, EXPERTS)) if config.adaptation == "experts" else None

    @property
    def items(self) -> ItemEmbedding:
        """The vectors that states are compared with."""
        return self.inputs.items

    def forward(self, windows: Windows, tasks: Tensor) -> Tensor:
        """(b, w, d) outputs of windows for the cluster of each row, tasks (b,)."""
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

    def within_loss(self, batch: DivideBatch, objective: WithinObjective) -> Tensor:
        """Sum over the positives of the loss within their cluster (eq. 3)."""
        hidden = self(batch.windows, batch.tasks).flatten(0, 1)[batch.at]
        return objective.loss(hidden, batch, self.inputs.items)

    def compile_encoders(self) -> None:
        """See `TrainingConfig.is_compiled`."""
        for encoder in self.encoders:
            encoder.compile()

    def encode_for(self, histories: Histories, rows: NDArray[np.int64], tasks: Tensor) -> Tensor:
        """(b, d) e_u of each history for the cluster of each row."""
        windows = histories.windows(rows, self.config.length, times=self.config.inputs.reads_times)
        return last_outputs(self(windows, tasks), windows)
