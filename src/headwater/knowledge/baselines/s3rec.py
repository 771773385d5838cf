"""S3-Rec: an encoder of histories, pre-trained by what items, attributes and segments say of each other.

Zhou et al., CIKM 2020, section 4.2. The parts are those of BERT4Rec; what differs is what it is asked: beside a hidden
item its attributes, of every item its own attributes, and which segment was cut out of a history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from headwater.nn.batches import SequenceBatch
from headwater.nn.catalogue import Catalogue
from headwater.nn.inputs import EMBEDDING_STD
from headwater.nn.objective import Objective
from headwater.nn.sequences import Windows, last_outputs
from headwater.retrieval.sequence.bert4rec import BERT4Rec, BERT4RecConfig, BERT4RecNetwork


class S3RecConfig(BERT4RecConfig):
    """Settings of `S3Rec`. The attributes of `inputs` are predicted, and not read: reading would tell them."""

    kind: Literal["s3rec"] = "s3rec"  # type: ignore[assignment]
    """Names it in a recipe."""

    name: str = "s3rec"
    """Name in logs."""

    associated_attributes: float = Field(default=0.2, ge=0)
    """Weight of AAP; these four are those of the paper's code."""

    masked_items: float = Field(default=1.0, ge=0)
    """Weight of MIP."""

    masked_attributes: float = Field(default=1.0, ge=0)
    """Weight of MAP."""

    segments: float = Field(default=0.5, ge=0)
    """Weight of SP."""


class S3RecNetwork(BERT4RecNetwork):
    """Bidirectional blocks over items and positions, with a matrix W for each of the four objectives.

    Parameters
    ----------
    config : S3RecConfig
    catalogue : Catalogue
        Its attributes are those that are predicted.
    """

    def __init__(self, config: S3RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, replace(catalogue, attributes={}))
        self.weights = config
        d = config.dimension
        self.item_of_context = nn.Linear(d, d, bias=False)
        self.attribute_of_item = nn.Linear(d, d, bias=False)
        self.attribute_of_context = nn.Linear(d, d, bias=False)
        self.segment_of_context = nn.Linear(d, d, bias=False)
        starts = [0]
        for codes in catalogue.attributes.values():
            starts.append(starts[-1] + int(codes.max(initial=0)))
        self.attributes = nn.Parameter(torch.randn(starts[-1], d) * EMBEDDING_STD)
        """(values, d) of all attributes, one behind the other."""
        shifted = [
            torch.from_numpy(codes.astype("int64")) + (start * torch.from_numpy(codes > 0))
            for start, codes in zip(starts, catalogue.attributes.values(), strict=False)
        ]
        values = torch.cat(shifted, 1) if shifted else torch.zeros(catalogue.n_items, 0, dtype=torch.int64)
        self.register_buffer("values", values, persistent=False)

    def loss(self, batch: SequenceBatch, objective: Objective) -> Tensor:
        """Sum of the weighted objectives; see `LearnedNetwork`."""
        weights = self.weights
        context = self(batch.windows, batch.is_hidden).flatten(0, 1)[batch.at]
        loss = weights.masked_items * self.masked_items(context, batch, objective)
        if len(self.attributes):
            labels = self.labels(batch.targets)
            of_item = self.attribute_of_item(self.inputs.items(batch.targets))
            loss = loss + weights.associated_attributes * self.attributes_loss(of_item, labels)
            loss = loss + weights.masked_attributes * self.attributes_loss(self.attribute_of_context(context), labels)
        if weights.segments:
            loss = loss + weights.segments * self.segments_loss(batch.windows, batch.generator)
        return loss

    def masked_items(self, context: Tensor, batch: SequenceBatch, objective: Objective) -> Tensor:
        """MIP, section 4.2.2: F_tᵀ W e_i of a hidden item against those of others (by `objective`)."""
        return objective.loss(
            self.item_of_context(context),
            batch.targets,
            self.items,
            generator=batch.generator,
            batch_targets=batch.batch_targets,
            first=batch.first,
            seen=batch.seen() if objective.config.leaves_out_seen else None,
        )

    def attributes_loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """AAP of the vectors of items (section 4.2.1), MAP of the context of hidden ones (section 4.2.3)."""
        logits = vectors @ self.attributes.T
        return functional.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")

    def segments_loss(self, windows: Windows, generator: torch.Generator) -> Tensor:
        """SP, section 4.2.4: what is left of a history knows its own segment from one that stands elsewhere.

        −log σ(s̃ᵀ W s − s̃ᵀ W s⁻), each s the last output over a window that shows the segment alone, and s̃ of one
        that shows everything else. Each process draws for its own histories.
        """
        start, stop = segment_of(windows, generator)
        columns = torch.arange(windows.items.shape[1], device=windows.items.device)
        is_segment = (columns >= start[:, None]) & (columns < stop[:, None])
        flat = windows.items[windows.is_event]
        shift = torch.randint(len(flat), start.shape, generator=generator, device=flat.device)
        others = flat[(shift[:, None] + columns) % len(flat)]
        thrice: Any = (None if column is None else torch.cat([column] * 3) for column in windows)
        both = Windows(*thrice)._replace(items=torch.cat([windows.items, windows.items, others]))
        is_hidden = torch.cat([is_segment, ~is_segment, ~is_segment]) & both.is_event
        rest, own, other = last_outputs(self(both, is_hidden), both).chunk(3)
        asked = self.segment_of_context(rest)
        return functional.softplus(-(asked * (own - other)).sum(1)).sum()

    def labels(self, items: Tensor) -> Tensor:
        """(m, values) 1 where an item has a value of an attribute."""
        values: Tensor = self.values  # type: ignore[assignment]
        found = torch.zeros(len(items), len(self.attributes) + 1, device=items.device)
        return found.scatter_(1, values[items], 1.0)[:, 1:]

    def state(self, windows: Windows, is_hidden: Tensor) -> Tensor:
        """See `BERT4RecNetwork`: Wᵀ F_t, whose inner products with items' vectors are scores."""
        return self.item_of_context(super().state(windows, is_hidden))


def segment_of(windows: Windows, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(b,) first column, and the one behind the last, of a segment of up to half of each window's events."""
    draws = torch.rand(2, len(windows.counts), generator=generator, device=windows.counts.device)
    length = 1 + (draws[0] * (windows.counts // 2)).long().clamp(max=(windows.counts // 2 - 1).clamp(min=0))
    room = windows.counts - length
    start = (draws[1] * (room + 1)).long().clamp(max=room)
    return start, start + length


class S3Rec(BERT4Rec):
    """The pre-trained encoder; before it is fine-tuned it retrieves as BERT4Rec does.

    Parameters
    ----------
    config : S3RecConfig
    """

    kind: ClassVar[str] = "s3rec"
    config_class: ClassVar = S3RecConfig
    config: S3RecConfig

    def _new_network(self, catalogue: Catalogue) -> S3RecNetwork:
        return S3RecNetwork(self.config, catalogue)
