"""Small settings that the tests of Divide share, and columns to compare with."""

from typing import Any

import numpy as np

from headwater.data import Dataset
from headwater.nn.objective import ObjectiveConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval.divide.clusters import ClusterConfig, Clusters
from headwater.retrieval.divide.config import DivideConfig, IntentConfig


def training(epochs: int = 2, **changed: Any) -> TrainingConfig:
    return TrainingConfig(**{"epochs": epochs, "batch_size": 64, "device": "cpu", "threads": 1} | changed)


def settings(epochs: int = 2, **changed: Any) -> DivideConfig:
    """By `category` where nothing else is said: no test needs gensim that does not ask for it."""
    values: dict[str, Any] = {
        "length": 12,
        "dimension": 16,
        "layers": 1,
        "dropout": 0.0,
        "clusters": ClusterConfig(source="column", n=6),
        "intent": IntentConfig(dimension=16, layers=1, dropout=0.0, training=training(epochs)),
        "training": training(epochs),
    }
    return DivideConfig(**values | changed)


def objective(loss: str, n_negatives: int = 8, **changed: Any) -> ObjectiveConfig:
    return ObjectiveConfig(loss=loss, n_negatives=n_negatives, **changed)  # type: ignore[arg-type]


def cut(labels: list[int] | np.ndarray, n: int) -> Clusters:
    return Clusters(np.asarray(labels, np.int32), tuple(f"cluster {at}" for at in range(n)))


def everybody(data: Dataset) -> np.ndarray:
    return np.arange(len(data.users), dtype=np.int32)
