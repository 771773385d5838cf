"""What is measured of one method: GAUC in each sub-domain, by user, and by how active users were."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
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
from headwater.reproduce.knowledge.parts import Parts
from headwater.reproduce.knowledge.plan import EVERYWHERE, METHODS, WATCHED, KnowledgeJob

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUPS = (50, 150, 300)
"""Clicks before the test at which users are grouped (Table 7)."""


def measure(
    job: KnowledgeJob,
    dataset: Dataset | Impressions,
    say: Say,
    memory: dict[str, Any] | None = None,
    *,
    folder: Path | None = None,
    domains: Sequence[str] = (),
) -> dict[str, Any]:
    """Train the method in each of its sub-domains and say all that tables need, as plain values.

    Parameters
    ----------
    memory : dict, optional
        Jobs that are given the same one learn once from the super-domain what they share.
    folder : Path, optional
        Where documents are: sub-domains that a run before this one measured are not measured again.
    domains : sequence of str
        Measure these alone, and leave the others to other runs; without, all.

    Returns
    -------
    dict
        `domains`: figures of clicks by sub-domain, the largest first, and of what follows clicks below `after_click`,
        with a `curve` where the method is watched. `users`: of each user measured anywhere, code, samples, and a
        thousand times samples times AUC of clicks, summed over sub-domains, of the largest alone and of all;
        `activity`: clicks of these users before the test. These are whole numbers with spaces between, for a line of
        each would make the document three times as long. `row`: commit and machine. `seconds` of all.

    Raises
    ------
    ConfigError
        There is no sub-domain to train on, or none of a name that was given.
    Unfinished
        Some are left to other runs.
    """
    cut = DayCut.of_log(dataset, job.recipe) if isinstance(dataset, Impressions) else Cut.of(dataset, job.recipe)
    names = list(cut.membership)
    if not names:
        raise ConfigError(
            f"{dataset.name} has no sub-domain of {job.recipe.least} impressions to train on; lower least"
        )
    if unknown := [domain for domain in domains if domain not in names]:
        raise ConfigError(f"{dataset.name} has no sub-domain {unknown[0]!r}; it has {', '.join(names)}")
    largest = names[: job.recipe.largest]
    asked = names if job.channel in EVERYWHERE else largest
    parts = Parts(folder, job, dataset.checksum())
    todo = [domain for domain in asked if parts.get(domain) is None and (not domains or domain in domains)]
    if todo:
        watch = Watch(cut, largest) if job.channel in WATCHED else None
        trial = Trial(cut, job.recipe, job.seed, todo, say, {} if memory is None else memory, watch)
        started = time.perf_counter()
        for domain, scores in METHODS[job.channel](trial):
            found = _measured(cut, domain, scores, watch)
            say(f"{domain}: GAUC {found['figures']['gauc'] or float('nan'):.4f}")
            parts.put(domain, {**found, "seconds": time.perf_counter() - started})
            started = time.perf_counter()
    measured = dict(zip(asked, parts.require(asked), strict=True))
    return _composed(cut, measured, largest)


def _measured(cut: Cut, domain: str, scores: dict[str, NDArray[np.float32]], watch: Watch | None) -> dict[str, Any]:
    """Of one sub-domain: figures, and samples and areas of each user."""
    test = cut.part(2, domain=domain)
    of_task = {task: _figures(test, task, scores[task]) for task in test.tasks}
    figures = {
        "trained": int(cut.rows(1, domain=domain).sum()),
        **of_task["click"],
        "after_click": {task: of_task[task] for task in of_task if task != "click"},
    }
    if watch is not None and domain in watch.domains:
        figures["curve"] = [{name: _finite(value) for name, value in point.items()} for point in watch.curves[domain]]
    found = grouped_auc(test.user_codes, test.labels["click"], scores["click"])
    known = np.isfinite(found.values)
    samples = found.samples[known]
    users = {
        "codes": found.groups[known].tolist(),
        "samples": samples.tolist(),
        "auc": (samples * found.values[known]).tolist(),
    }
    return {"figures": figures, "users": users, "row": {"commit": commit_id(), "machine": machine()}}


def _composed(cut: Cut, measured: dict[str, dict[str, Any]], largest: Sequence[str]) -> dict[str, Any]:
    """What `measure` returns, of the parts of all sub-domains."""
    n_users = len(cut.whole.users)
    sums = {scope: np.zeros((2, n_users)) for scope in ("largest", "all")}
    for domain, part in measured.items():
        for scope in ("largest", "all") if domain in largest else ("all",):
            codes = np.array(part["users"]["codes"], np.int64)
            sums[scope][:, codes] += np.array([part["users"]["samples"], part["users"]["auc"]])
    users = np.flatnonzero(sums["all"][0])
    before = cut.rows(0, 1) & (cut.whole.labels["click"] == 1)
    clicks = np.bincount(cut.whole.user_codes[before], minlength=n_users)
    rows = [part["row"] for part in measured.values()]
    return {
        "rule": cut.rule,
        "row": {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in rows[0]},
        "domains": {domain: part["figures"] for domain, part in measured.items()},
        "users": {
            "codes": _words(users),
            "activity": _words(clicks[users]),
            **{
                scope: {"samples": _words(samples[users]), "auc": _words(1000 * areas[users])}
                for scope, (samples, areas) in sums.items()
            },
        },
        "seconds": sum(part["seconds"] for part in measured.values()),
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


def _words(values: NDArray[Any]) -> str:
    return " ".join(map(str, np.rint(values).astype(int).tolist()))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
