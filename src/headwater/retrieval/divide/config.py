"""Settings of `Divide`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from headwater.config import Settings
from headwater.nn.objective import ObjectiveConfig
from headwater.nn.settings import TrainingConfig
from headwater.retrieval.divide.clusters import ClusterConfig
from headwater.retrieval.learned import LearnedConfig


class IntentConfig(Settings):
    """The model of p(cluster | user): an encoder of its own, or a head on the encoder of the items."""

    is_joint: bool = False
    """Whether the encoder that learns items within clusters learns the clusters too, with the adaptation `output`: both
    losses are summed, so that training maximises the likelihood of p(cluster | user) · p(item | cluster, user). Of the
    settings below `prototypes` and `smoothing` hold then."""

    prototypes: int = Field(default=1, ge=1)
    """Vectors of each cluster that a state is compared with; its logit is the log of their sum (1..16)."""

    dimension: int = Field(default=64, ge=1)
    """d (32..128)."""

    layers: int = Field(default=2, ge=1)
    """Blocks (1..3)."""

    heads: int = Field(default=2, ge=1)
    """Attention heads; they divide the dimension."""

    dropout: float = Field(default=0.4, ge=0, lt=1)
    """As in SASRec (0.2..0.6)."""

    training: TrainingConfig = TrainingConfig(epochs=60)
    """How, under the channel's own `training.seed`. Where `fit` is given a validation, each history's last event is
    held out, and training stops early by how likely the model finds its cluster."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is spread over all clusters, against overconfidence (0..0.2)."""


class DivideConfig(LearnedConfig):
    """Settings of `Divide`."""

    kind: Literal["divide"] = "divide"
    """Names the channel class in a recipe."""

    name: str = "divide"
    """Name in candidates and reasons; one channel of a name in a service."""

    clusters: ClusterConfig = ClusterConfig()
    """How items are cut."""

    adaptation: Literal["hadamard", "prefix", "none", "experts", "output"] = "hadamard"
    """How the encoder is told its task: each item's vector multiplied by the cluster's prompt (eq. 5), the prompt as
    an event before the first (eq. 4), not at all ('naive MTL'), or a mixture of four encoders (MMoE). `output`, which
    is ours, multiplies the encoder's *output* by the prompt: one pass of a history serves all clusters."""

    layers: int = Field(default=2, ge=1)
    """Blocks of the encoder (2..4)."""

    heads: int = Field(default=2, ge=1)
    """Attention heads of each block; they divide the dimension."""

    feed_forward: int = Field(default=4, ge=1)
    """Width of the inner layer in multiples of d."""

    dropout: float = Field(default=0.4, ge=0, lt=1)
    """On inputs, attention and both halves of a block."""

    objective: ObjectiveConfig = ObjectiveConfig(loss="unseen-softmax")
    """What training minimises within the positive's cluster: sums and negatives are of that cluster alone, and but
    with `softmax` without what the user has chosen elsewhere in the window (eq. 3)."""

    tasks_per_user: int = Field(default=3, ge=1)
    """Clusters of each user and step, drawn from those that hold any of the window's targets; a pass for each. With the
    adaptation `output` one pass has all targets, and none is drawn."""

    intent: IntentConfig = IntentConfig()
    """The model of p(cluster | user)."""

    merge: Literal["quota", "calibrated"] = "quota"
    """`quota`: M_k of each cluster by p^alpha; `calibrated`: by p(cluster | user) · p(item | cluster, user), for which
    every cluster is encoded and scored in full. Binary cross-entropy against uniform negatives of the cluster has its
    optimum at log p(item | cluster, user) plus a constant, so that it gives chances too."""

    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Of `quota`: 0 all clusters alike (absolute fairness), 1 by chance, 1e6 the likeliest one alone, as long as it
    has items."""

    @model_validator(mode="after")
    def _heads_divide_dimensions(self) -> Self:
        for part in (self, self.intent):
            if part.dimension % part.heads:
                raise ValueError(f"dimension {part.dimension} is no multiple of heads {part.heads}")
        if self.intent.is_joint and self.adaptation != "output":
            raise ValueError(
                f"intent.is_joint needs prompts behind the encoder: adaptation 'output', not {self.adaptation!r}"
            )
        objective = self.objective
        if self.merge == "calibrated" and "bce" in objective.loss and objective.negatives != "uniform":
            raise ValueError(
                f"merge 'calibrated' needs scores that are log-chances up to a constant: under {objective.loss} with "
                f"{objective.negatives} negatives they are not; use negatives 'uniform', a softmax, or merge 'quota'"
            )
        return self
