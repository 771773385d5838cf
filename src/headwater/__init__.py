"""Headwater: the matching stage of a recommender system.

The public names below are loaded when they are used: `import headwater` itself loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.data.catalogue import get as get_dataset
    from headwater.data.catalogue import load as load_dataset
    from headwater.data.dataset import Dataset
    from headwater.data.queries import Queries
    from headwater.data.schema import Behaviour
    from headwater.data.splits import global_time, leave_one_out
    from headwater.data.vocabulary import Vocabulary
    from headwater.errors import HeadwaterError
    from headwater.experiment import evaluate_recipe, train
    from headwater.home import Home
    from headwater.nearline.policy import Policy
    from headwater.ranking.base import Ranker
    from headwater.recipe import Recipe, load_recipe
    from headwater.release import Release
    from headwater.retrieval.base import Candidates, Channel, Mask, Reason, Trainable
    from headwater.retrieval.evaluation import evaluate
    from headwater.retrieval.merge import merge
    from headwater.store.base import Store

__version__ = "0.1.0"

_PLACES = {
    "Behaviour": "data.schema",
    "Candidates": "retrieval.base",
    "Channel": "retrieval.base",
    "Dataset": "data.dataset",
    "HeadwaterError": "errors",
    "Home": "home",
    "Mask": "retrieval.base",
    "Policy": "nearline.policy",
    "Queries": "data.queries",
    "Ranker": "ranking.base",
    "Reason": "retrieval.base",
    "Recipe": "recipe",
    "Release": "release",
    "Store": "store.base",
    "Trainable": "retrieval.base",
    "Vocabulary": "data.vocabulary",
    "evaluate": "retrieval.evaluation",
    "evaluate_recipe": "experiment",
    "get_dataset": "data.catalogue:get",
    "global_time": "data.splits",
    "leave_one_out": "data.splits",
    "load_dataset": "data.catalogue:load",
    "load_recipe": "recipe",
    "merge": "retrieval.merge",
    "train": "experiment",
}
"""Public name -> the module that holds it (and its name there, where that is another)."""

__all__ = [
    "Behaviour",
    "Candidates",
    "Channel",
    "Dataset",
    "HeadwaterError",
    "Home",
    "Mask",
    "Policy",
    "Queries",
    "Ranker",
    "Reason",
    "Recipe",
    "Release",
    "Store",
    "Trainable",
    "Vocabulary",
    "evaluate",
    "evaluate_recipe",
    "get_dataset",
    "global_time",
    "leave_one_out",
    "load_dataset",
    "load_recipe",
    "merge",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, other = _PLACES[name].partition(":")
    return getattr(import_module(f"headwater.{module}"), other or name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
