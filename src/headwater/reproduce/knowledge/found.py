"""What there is of a data set: documents by method, and how one method compares with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import ArtefactError
from headwater.reproduce.jobs import Documents
from headwater.reproduce.knowledge.plan import BASE, EVERYWHERE, KnowledgeJob

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2_000
NEEDED = ("domains", "users", "rule", "row", "dataset", "seconds")
Run = dict[str, Any]
"""A job's document."""


@dataclass(frozen=True, slots=True)
class Found:
    """All runs of one data set.

    Attributes
    ----------
    recipe : str
    runs : dict of str to list of dict
        Documents by method; without methods that were not run.
    """

    recipe: str
    runs: dict[str, list[Run]]

    def gauc(self, method: str, domain: str) -> list[float]:
        """In one sub-domain, one figure a run."""
        found = [run["domains"].get(domain, {}).get("gauc") for run in self.runs.get(method, [])]
        return [value for value in found if value is not None]

    def means(self, method: str, domains: Sequence[str]) -> list[float]:
        """Over sub-domains, one figure a run that has all of them."""
        found = []
        for run in self.runs.get(method, []):
            values = [run["domains"].get(domain, {}).get("gauc") for domain in domains]
            if values and None not in values:
                found.append(fmean(values))
        return found

    def domains(self, method: str = BASE) -> list[str]:
        """The sub-domains of a method that were measured, the largest first."""
        runs = self.runs.get(method, [])
        return [name for name, figures in runs[0]["domains"].items() if figures["gauc"] is not None] if runs else []

    def largest(self) -> list[str]:
        """The sub-domains that every method has."""
        everywhere = set(EVERYWHERE)
        shared = [set(self.domains(method)) for method in self.runs if method not in everywhere]
        return [name for name in self.domains() if all(name in some for some in shared)]


def read_found(jobs: Sequence[KnowledgeJob], documents: Documents) -> list[Found]:
    """What there is of each data set that has any. Raises `ArtefactError` where a document is none of such a job."""
    found: dict[str, dict[str, list[Run]]] = {}
    for job in jobs:
        document = documents.whole(job, NEEDED)
        if document is None:
            continue
        if not isinstance(document["users"]["codes"], str):
            raise ArtefactError(f"{documents.path(job)} holds users in lists, as it once was; run the job again")
        found.setdefault(job.recipe_name, {}).setdefault(job.channel, []).append(document)
    return [Found(name, runs) for name, runs in found.items()]


def same_seeds(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[Sequence[Run], Sequence[Run]]:
    """The runs of two methods under seeds that both have; all where they have none in common."""
    seeds = {run["seed"] for run in ours} & {run["seed"] for run in theirs}
    if not seeds:
        return ours, theirs
    return [run for run in ours if run["seed"] in seeds], [run for run in theirs if run["seed"] in seeds]


def gain_over(
    base: Sequence[Run], ours: Sequence[Run], scope: str, within: NDArray[np.bool_] | None = None
) -> tuple[float, float, float]:
    """Gain in pooled GAUC of the mean over the seeds of both, and its 95% interval over resampled users.

    Pooled: every user of every sub-domain counts with their samples there; of `within`, by user code, where given.
    Raises `ArtefactError` where the two were measured on other users or samples.
    """
    ours, base = same_seeds(ours, base)
    samples, theirs = pooled(base, scope)
    others, own = pooled(ours, scope)
    if not np.array_equal(samples, others):
        raise ArtefactError("two methods were measured on other users or samples; run them again")
    differences = own - theirs
    users = np.flatnonzero(samples if within is None else samples * within)
    if not len(users):
        raise ArtefactError("nobody of those who are asked for was measured")
    drawn = _drawn(len(users))
    resampled = (drawn @ differences[users]) / (drawn @ samples[users])
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(differences[users].sum() / samples[users].sum()), float(low), float(high)


@lru_cache(maxsize=2)
def _drawn(users: int) -> NDArray[np.float64]:
    """How often each of so many users is drawn in each resample; in floats, for products of these are much quicker."""
    return np.random.default_rng(0).multinomial(users, np.full(users, 1 / users), RESAMPLES).astype(np.float64)


def activity_of(found: Found) -> NDArray[np.float64]:
    """Clicks before the test of each user by code; 0 of one who was not measured."""
    first = found.runs[BASE][0]
    activity = np.zeros(first["dataset"]["users"])
    activity[numbers(first["users"]["codes"])] = numbers(first["users"]["activity"])
    return activity


def pooled(runs: Sequence[Run], scope: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Samples, and samples times AUC, of each user by code; of several seeds the mean."""
    n = runs[0]["dataset"]["users"]
    samples, areas = np.zeros(n), np.zeros(n)
    for run in runs:
        codes = numbers(run["users"]["codes"])
        samples[codes] += numbers(run["users"][scope]["samples"])
        areas[codes] += numbers(run["users"][scope]["auc"]) / 1000
    return samples / len(runs), areas / len(runs)


def numbers(words: str) -> NDArray[np.int64]:
    """Whole numbers that stand in a document with spaces between."""
    return np.array(words.split(), np.int64)
