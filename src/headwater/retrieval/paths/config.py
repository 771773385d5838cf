"""Settings of `Paths`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from headwater.nn.catalogue import InputConfig
from headwater.nn.settings import TrainingConfig
from headwater.retrieval.base import ChannelSettings
from headwater.retrieval.paths.cooccurrence import Measure


class PathsConfig(ChannelSettings):
    """Settings of `Paths`."""

    kind: Literal["paths"] = "paths"
    """Names the channel class in a recipe."""

    name: str = "paths"
    """Name in candidates and reasons; one channel of a name in a service."""

    length: int = Field(default=100, ge=1)
    """Triggers of a history: the latest events (50..200)."""

    dimension: int = Field(default=64, ge=1)
    """Of an item's own embedding, and of the vectors of the Direct Net (32..128)."""

    field_dimension: int = Field(default=16, ge=1)
    """Of every other embedding: attributes, levels, positions (8..32)."""

    trigger_hidden: tuple[int, ...] = Field(default=(64, 32), min_length=1)
    """Widths of TrigNet's layers."""

    similarity_hidden: tuple[int, ...] = Field(default=(64, 32), min_length=1)
    """Widths of SimNet's layers; the first one costs nothing a pair, see `headwater.retrieval.paths.network`."""

    direct_hidden: tuple[int, ...] = (64,)
    """Widths of the layers of both towers of the Direct Net."""

    path_dimension: int = Field(default=1, ge=1)
    """1: scalar weights of both hops, softplus(t + s). Above: vectors, softplus(⟨t, s⟩), in exact mode only."""

    leak: float = Field(default=0.01, ge=0, lt=1)
    """Slope below zero of every LeakyReLU."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """On the items' projections and inside the towers (0..0.5)."""

    inputs: InputConfig = InputConfig()
    """What is read of items (`attributes`: text, integers or lists of them as they are, decimals in bins) and of the
    behaviour: ratings, gaps, request time, periods."""

    user_attributes: tuple[str, ...] = ()
    """Columns of the user attributes, of the same kinds."""

    measures: tuple[Measure, ...] = ("cosine", "lift", "window-conditional", "window-lift")
    """What SimNet reads of co-occurrence: of whole histories or sessions, or (`window-`) of what follows soon."""

    bins: int = Field(default=16, ge=1, le=200)
    """Bins of each continuous feature, co-occurrence among them."""

    window: int = Field(default=10, ge=1)
    """Events after a trigger in which a target counts for `window-` measures."""

    session_gap: int | None = Field(default=None, ge=0)
    """A longer time between two events ends a session; none: a history is one session."""

    folds: int = Field(default=5, ge=2)
    """Folds of users; what a user trains on is counted over the other folds."""

    has_direct_net: bool = True
    """Whether there is a direct path; without it a history without a known item has no candidates."""

    has_bias_net: bool = True
    """Whether training has a bias of place and hour, which serving leaves out."""

    loss: Literal["softmax", "bce"] = "softmax"
    """`softmax`: the positive among its candidates; `bce`: each candidate alone, the paper's."""

    negatives: int = Field(default=32, ge=1)
    """n, negatives of each positive, of its own (8..128), or of all positives of a step (512..4096)."""

    shares_negatives: bool = False
    """Compare all examples of a step with the same negatives, all distinct: SimNet then scores a (trigger, candidate)
    pair once for all of them, and a thousand negatives cost what some dozens do otherwise. As many as there are items
    make it the whole catalogue. Needs scalar weights of paths."""

    negative_power: float = Field(default=0.0, ge=0)
    """Negatives are drawn in proportion to interactions to this power: 0 all items alike."""

    positions: int | None = Field(default=20, ge=1)
    """Training examples of each user and epoch, at random positions of the history; none: all positions."""

    training: TrainingConfig = TrainingConfig(batch_size=256)
    """How; a batch counts training examples."""

    search: Literal["exact", "greedy"] = "exact"
    """How items are found. `exact` scores all of them with all triggers; `greedy` follows the best triggers along an
    index of SimNet's neighbours, which is built after training: for large catalogues and for a service."""

    neighbours: int = Field(default=200, ge=1, le=10_000)
    """k, of each item in the index (100..200). 1 M items with 100 take 640 MB, shared between processes."""

    candidates_per_item: int = Field(default=2_000, ge=1)
    """k̂, pairs of each item that SimNet scores for the index: about ten times as many as are kept."""

    followed_triggers: int = Field(default=50, ge=1)
    """m, triggers of a history that greedy retrieval follows: those of highest t."""

    @model_validator(mode="after")
    def _has_similarities(self) -> Self:
        if self.search == "greedy" and self.is_vector:
            raise ValueError("search = 'greedy' follows similarities, which vectors have not: set path_dimension = 1")
        return self

    @model_validator(mode="after")
    def _vectors_share_nothing(self) -> Self:
        if self.shares_negatives and self.is_vector:
            raise ValueError("shares_negatives needs path_dimension = 1: vectors have no similarity without a user")
        return self

    @property
    def is_vector(self) -> bool:
        """Whether hops are vectors."""
        return self.path_dimension > 1
