"""One trial from a packed file: train a channel, measure it, say everything; for machines without a recipe's home."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from headwater.config import Settings
from headwater.data.packed import unpack
from headwater.data.splits import leave_one_out
from headwater.metrics import FullRanking
from headwater.nn.devices import Device
from headwater.retrieval import channel_class
from headwater.retrieval.base import ChannelSettings
from headwater.retrieval.evaluation import evaluate, validation_figure


def train_packed(
    path: Path,
    config: ChannelSettings,
    *,
    seed: int = 0,
    device: Device = "auto",
    seconds_limit: float | None = None,
    metric: str = "ndcg@10",
    parts: tuple[Literal["validation", "test"], ...] = ("validation",),
) -> dict[str, Any]:
    """Train a channel on the training part of a packed data set (leave-one-out) and measure it, full ranking.

    Early stopping maximises `metric` on the validation part. While hyper-parameters are being chosen, look at
    "validation" only; "test" is for the end.

    Parameters
    ----------
    path : Path
        Written by `headwater.data.packed.pack`.
    config : ChannelSettings
        Of any trained channel; seed, device and limit replace those of its `training`, where it has one.
    seconds_limit : float, optional
        Wall time of training.

    Returns
    -------
    dict
        Plain values: `channel`, `config`, `data` (name and checksum), `seconds`, `training` (the report) and, for
        each part, its evaluation and the seconds it took.
    """
    dataset = unpack(path)
    split = leave_one_out(dataset)
    training = getattr(config, "training", None)
    if isinstance(training, Settings):
        changed = {"seed": seed, "device": device, "seconds_limit": seconds_limit}
        config = config.model_copy(update={"training": training.model_copy(update=changed)})

    started = time.perf_counter()
    channel = channel_class(config.kind)(config).fit(split.train, validate=validation_figure(split, metric))
    results: dict[str, Any] = {
        "channel": channel.name,
        "config": config.model_dump(mode="json"),
        "data": {"name": dataset.name, "checksum": dataset.checksum(), "split": split.name},
        "seconds": time.perf_counter() - started,
    }
    report = getattr(channel, "report", None)
    if report is not None:
        results["training"] = {
            "epochs": report.epochs,
            "best_epoch": report.best_epoch,
            "best_value": report.best_value,
            "curve": report.curve,
            "positives_per_second": report.positives_per_second,
            "passes_per_second": report.passes_per_second,
            "peak_memory": report.peak_memory,
        }
    for part in parts:
        started = time.perf_counter()
        held_out = split.test if part == "test" else split.validation
        measured = evaluate(channel, held_out, FullRanking(), train=split.train)
        results[part] = {
            "seconds": time.perf_counter() - started,
            "queries": measured.n_queries,
            "protocol": measured.protocol,
            "metrics": measured.metrics,
        }
    return results
