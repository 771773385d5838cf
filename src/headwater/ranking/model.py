"""The seam of models that predict what happens to an impression, and where each kind of them stands."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from headwater.config import Settings
from headwater.data.impressions import Impressions
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODELS = {
    "can": "headwater.ranking.can:CAN",
    "din": "headwater.ranking.din:DIN",
    "lightgbm": "headwater.ranking.baselines.lightgbm:LightGBM",
    "logistic": "headwater.ranking.baselines.logistic:Logistic",
}
"""Kind of a model of impressions -> where its class stands; imported when it is asked for."""


@runtime_checkable
class ImpressionModel(Protocol):
    """Predicts the labels of impressions: click, and cart and conversion given a click."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Settings: ...

    def fit(self, impressions: Impressions, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Learn from impressions in the order of their days, each seen once or many times as the model needs.

        A model whose class says `is_incremental` goes on from what it has learned; any other begins anew.
        """
        ...

    def predict(self, impressions: Impressions) -> dict[str, NDArray[np.float32]]:
        """Task -> (n,) probability; of cart and conversion, given a click.

        The impressions are later than those of `fit`, and their labels are not read.
        """
        ...

    def save(self, path: Path) -> None:
        """Write an artefact folder, nothing of it pickled."""
        ...

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; refuses another item vocabulary."""
        ...


def model_class(kind: str) -> type[Any]:
    """The class of a model, whose `config_class` reads its settings.

    Raises `ConfigError`, which names the nearest kind, where there is none.
    """
    if kind not in MODELS:
        nearest = get_close_matches(kind, MODELS, 1, 0.0)[0]
        raise ConfigError(f"unknown model {kind!r}; did you mean {nearest!r}? (known: {', '.join(MODELS)})")
    module, _, name = MODELS[kind].partition(":")
    return getattr(import_module(module), name)
