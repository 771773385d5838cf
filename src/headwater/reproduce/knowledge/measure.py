"""What is measured of one method: GAUC in each sub-domain, by user, and by how active users were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data import Dataset
from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.experiment.measure import Say
from headwater.experiment.provenance import commit_id, machine
from headwater.metrics import measure_prediction
from headwater.metrics.auc import grouped_auc
from headwater.reproduce.knowledge.curves import Watch
from headwater.reproduce.knowledge.cut import Cut
from headwater.reproduce.knowledge.days import DayCut
from headwater.reproduce.knowledge.methods import Trial
from headwater.reproduce.knowledge.plan import EVERYWHERE, METHODS, WATCHED, KnowledgeJob

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUPS = (50, 150, 300)
"""Clicks before the test at which users are grouped (Table 7)."""


def measure(
    job: KnowledgeJob, dataset: Dataset | Impressions, say: Say, memory: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train the method in each of its sub-domains and say all that tables need, as plain values.

    Jobs that are given the same `memory` learn once from the super-domain what they share.

    Returns
    -------
    dict
        `domains`: figures of clicks by sub-domain, the largest first, and of what follows clicks below `after_click`,
        with a `curve` where the method is watched. `users`: of each user measured anywhere, code, samples, and a
        thousand times samples times AUC of clicks, summed over sub-domains, of the largest alone and of all;
        `activity`: clicks of these users before the test. These are whole numbers with spaces between, for a line of
        each would make the document three times as long. `row`: commit and machine. `seconds` of all.
    """
    started = time.perf_counter()
    cut = DayCut.of_log(dataset, job.recipe) if isinstance(dataset, Impressions) else Cut.of(dataset, job.recipe)
    names = list(cut.membership)
    if not names:
        raise ConfigError(
            f"{dataset.name} has no sub-domain of {job.recipe.least} impressions to train on; lower least"
        )
    largest = names[: job.recipe.largest]
    asked = names if job.channel in EVERYWHERE else largest
    watch = Watch(cut, largest) if job.channel in WATCHED else None
    trial = Trial(cut, job.recipe, job.seed, asked, say, {} if memory is None else memory, watch)
    sums = {scope: np.zeros((2, len(dataset.users))) for scope in ("largest", "all")}
    domains = {}
    for domain, scores in METHODS[job.channel](trial):
        test = cut.part(2, domain=domain)
        figures = {task: _figures(test, task, scores[task]) for task in test.tasks}
        domains[domain] = {
            "trained": int(cut.rows(1, domain=domain).sum()),
            **figures["click"],
            "after_click": {task: figures[task] for task in figures if task != "click"},
        }
        if watch is not None and domain in watch.domains:
            domains[domain]["curve"] = [
                {name: _finite(value) for name, value in point.items()} for point in watch.curves[domain]
            ]
        say(f"{domain}: GAUC {figures['click']['gauc'] or float('nan'):.4f}")
        for scope in ("largest", "all") if domain in largest else ("all",):
            _add(sums[scope], test.user_codes, test.labels["click"], scores["click"])
    measured = np.flatnonzero(sums["all"][0])
    before = cut.rows(0, 1) & (cut.whole.labels["click"] == 1)
    clicks = np.bincount(cut.whole.user_codes[before], minlength=len(dataset.users))
    return {
        "rule": cut.rule,
        "row": {"commit": commit_id(), "machine": machine()},
        "domains": domains,
        "users": {
            "codes": _words(measured),
            "activity": _words(clicks[measured]),
            **{
                scope: {"samples": _words(samples[measured]), "auc": _words(1000 * areas[measured])}
                for scope, (samples, areas) in sums.items()
            },
        },
        "seconds": time.perf_counter() - started,
    }


def _figures(test: Impressions, task: str, scores: NDArray[np.float32]) -> dict[str, Any]:
    """Of one task over what it is asked of: all impressions, or the clicked ones; None where there is no figure."""
    asked = test.samples(task)
    found = measure_prediction(test.user_codes[asked], test.labels[task][asked], scores[asked])
    return {
        "samples": found.samples,
        "users": found.users,
        "skipped_users": found.skipped_users,
        "gauc": _finite(found.gauc),
        "auc": _finite(found.auc),
        "logloss": _finite(found.logloss),
        "ece": _finite(found.ece),
    }


def _add(
    sums: NDArray[np.float64], users: NDArray[np.int32], labels: NDArray[np.int8], scores: NDArray[np.float32]
) -> None:
    found = grouped_auc(users, labels, scores)
    measured = np.isfinite(found.values)
    sums[0, found.groups[measured]] += found.samples[measured]
    sums[1, found.groups[measured]] += found.samples[measured] * found.values[measured]


def _words(values: NDArray[Any]) -> str:
    return " ".join(map(str, np.rint(values).astype(int).tolist()))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
