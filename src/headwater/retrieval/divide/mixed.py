"""SASRec+: SASRec with a mixture of easy negatives and hard ones, of the positive's cluster (section 3.1.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from headwater.data.dataset import Dataset
from headwater.nn.batches import SequenceBatch
from headwater.nn.inputs import Catalogue
from headwater.nn.losses import binary_cross_entropy, sampled_softmax
from headwater.nn.objective import Objective, is_listed
from headwater.retrieval.divide.clusters import ClusterConfig, Clusters, clusters_of
from headwater.retrieval.divide.config import IntentConfig
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig, SASRecNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SASRecPlusConfig(SASRecConfig):
    """Settings of `SASRecPlus`."""

    kind: Literal["sasrec_plus"] = "sasrec_plus"  # type: ignore[assignment]
    """Names the channel class in a recipe."""

    name: str = "sasrec_plus"
    """Name in candidates and reasons; one channel of a name in a service."""

    clusters: ClusterConfig = ClusterConfig()
    """How items are cut."""

    mix: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives that are drawn from the positive's cluster, to be chosen on validation (0.1..0.9); the
    others from the whole catalogue. At 0 this is `SASRec`, with any objective."""

    intent: IntentConfig = IntentConfig()
    """Of a model of p(cluster | user), where one is asked for beside it; see `QuotaMerged`."""

    @model_validator(mode="after")
    def _negatives_are_drawn(self) -> Self:
        if self.mix and self.objective.loss not in ("bce", "sampled-softmax"):
            raise ValueError(
                f"mix needs drawn negatives: objective.loss bce or sampled-softmax, not {self.objective.loss}"
            )
        return self


class SASRecPlusNetwork(SASRecNetwork):
    """SASRec's, with a loss that draws some negatives from the positive's cluster."""

    labels: Tensor
    starts: Tensor
    sizes: Tensor
    by_cluster: Tensor

    def __init__(self, config: SASRecPlusConfig, catalogue: Catalogue, clusters: Clusters | None) -> None:
        super().__init__(config, catalogue)
        self._mix = config.mix
        if clusters is not None:
            for name in ("labels", "starts", "sizes", "by_cluster"):
                column: NDArray[np.integer] = getattr(clusters, name)
                self.register_buffer(name, torch.from_numpy(column.astype(np.int64)), persistent=False)

    def loss(self, batch: SequenceBatch, objective: Objective) -> Tensor:
        """See `LearnedNetwork`."""
        if not self._mix:
            return super().loss(batch, objective)
        config, mix, positives = objective.config, self._mix, batch.targets
        hidden = self(batch.windows, batch.is_hidden).flatten(0, 1)[batch.at]
        shape = (len(batch.batch_targets), config.n_negatives)
        random = [torch.rand(shape, generator=batch.generator, device=hidden.device) for _ in range(2)]
        mine = slice(batch.first, batch.first + len(positives))
        is_hard, at = random[0][mine] < mix, random[1][mine].double()
        cluster, n_items = self.labels[positives][:, None], len(self.labels)
        size = self.sizes[cluster]
        hard = self.by_cluster[self.starts[cluster] + (at * size).long().clamp_(max=size - 1)]
        drawn = torch.where(is_hard, hard, (at * n_items).long().clamp_(max=n_items - 1))
        scores = torch.einsum("md,mnd->mn", hidden, self.items(drawn)).float()
        positive = (hidden * self.items(positives)).sum(-1).float()
        is_positive = drawn == positives[:, None]
        if config.leaves_out_seen:
            is_positive = is_positive | is_listed(drawn, batch.seen())
        if config.loss == "bce":
            return binary_cross_entropy(positive, scores, is_positive)
        inside = mix / size * (self.labels[drawn] == cluster)
        log_expected = ((1 - mix) / n_items + inside).log() + math.log(config.n_negatives)
        return sampled_softmax(positive, scores, log_expected, is_positive)


class SASRecPlus(SASRec):
    """The channel; see `SASRec`."""

    kind: ClassVar[str] = "sasrec_plus"
    config_class: ClassVar = SASRecPlusConfig
    config: SASRecPlusConfig  # type: ignore[assignment]
    _clusters: Clusters | None = None

    def fit(
        self,
        data: Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """See `LearnedChannel.fit`; clusters are made first, where negatives are drawn from them."""
        self._clusters = clusters_of(data, self.config.clusters) if self.config.mix else None
        return super().fit(data, validate=validate, checkpoint=checkpoint, resume=resume)

    def _new_network(self, catalogue: Catalogue) -> SASRecPlusNetwork:
        return SASRecPlusNetwork(self.config, catalogue, self._clusters)
