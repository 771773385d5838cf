"""One trial of a ranking model from a packed file: train through a day, measure the later days, say everything."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from headwater.data.packed import unpack_impressions
from headwater.errors import ConfigError
from headwater.metrics import measure_prediction
from headwater.ranking.model import model_class

METRICS = ("auc", "gauc", "logloss", "ece")


def train_packed(path: Path, config: Any, *, train_until: int) -> dict[str, Any]:
    """Train on the packed impressions through day `train_until`, and measure every later day of the file.

    While settings are being chosen the file must end before the test days, as that of `headwater rank pack` does.

    Parameters
    ----------
    path : Path
        Written by `headwater.data.packed.pack_impressions`.
    config : settings of a model
    train_until : int
        The last day of training.

    Returns
    -------
    dict
        Plain values: `model`, `config`, `data`, `seconds`, and `validation` with the first task's `metrics` beside
        those of every task.
    """
    impressions = unpack_impressions(path)
    if not len(impressions):
        raise ConfigError(f"{path} holds no impression")
    train, later = impressions.split_days(train_until, train_until + 1, int(impressions.days[-1]))
    started = time.perf_counter()
    model = model_class(config.kind)(config).fit(train)
    seconds = time.perf_counter() - started
    predicted = model.predict(later)
    tasks = {}
    for task, probabilities in predicted.items():
        samples = later.samples(task)
        found = measure_prediction(later.user_codes[samples], later.labels[task][samples], probabilities[samples])
        tasks[task] = {metric: getattr(found, metric) for metric in METRICS}
    return {
        "model": model.name,
        "config": config.model_dump(mode="json"),
        "data": {"name": impressions.name, "checksum": impressions.checksum()},
        "seconds": seconds,
        "validation": {"train_until": train_until, "metrics": tasks[train.tasks[0]], "tasks": tasks},
    }
