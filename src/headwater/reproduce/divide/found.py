"""What jobs have found so far, read back: the runs of every channel on every data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.reproduce.jobs import Documents, Job

NEEDED = ("row", "merges", "within", "outside", "intent", "dataset", "job")


@dataclass(frozen=True, slots=True)
class Found:
    """All runs of one data set.

    Attributes
    ----------
    recipe : str
    ks : tuple of int
        Cut-offs of recall.
    channels : list of str
        Those that the plan has, run or not.
    runs : dict of str to list of dict
        Documents by channel, those of several seeds together; without channels that were not run.
    """

    recipe: str
    ks: tuple[int, ...]
    channels: list[str]
    runs: dict[str, list[dict[str, Any]]]

    def of(self, channel: str) -> list[dict[str, Any]]:
        return self.runs.get(channel, [])

    def every(self) -> list[dict[str, Any]]:
        return [run for runs in self.runs.values() for run in runs]

    def recall(self, channel: str, merge: str, k: int) -> list[float]:
        """On the test part, one figure for each run that has this merge."""
        return [run["merges"][merge]["test"][str(k)] for run in self.of(channel) if merge in run["merges"]]

    def merges(self, channel: str) -> list[str]:
        """Every way to merge: without quotas first, then by source of chances, alpha rising."""
        runs = self.of(channel)

        def place(merge: str) -> tuple[str, float]:
            source, _, alpha = merge.partition(", alpha ")
            return (source, float(alpha)) if alpha else ("", 0.0)

        return sorted(runs[0]["merges"], key=place) if runs else []

    def best_merge(self, channel: str, k: int, *, among: Callable[[str], bool] = lambda _: True) -> str | None:
        """The way to merge that has the highest validation recall at k, on average over runs; None without a run."""
        runs = self.of(channel)
        names = [name for name in self.merges(channel) if among(name)]

        def figure(name: str) -> float:
            return sum(run["merges"][name]["validation"][str(k)] for run in runs if name in run["merges"])

        return max(names, key=figure) if names else None


def source(runs: Sequence[dict[str, Any]]) -> str:
    """Where figures come from."""
    return "; ".join(
        f"{run['job']}, config {run['row']['config']}, commit {run['row']['commit']}, {run['row']['machine']}"
        for run in runs
    )


def read_found(jobs: Sequence[Job], documents: Documents, say: Callable[[str], None]) -> list[Found]:
    """What there is of each data set that has any, in the plan's order.

    Of documents of one recipe that speak of other data than the first does, those are left out, and said. Raises
    `ArtefactError` where a document is none of such a job.
    """
    by_recipe: dict[str, list[Job]] = {}
    for job in jobs:
        by_recipe.setdefault(job.recipe_name, []).append(job)
    found = []
    for name, its_jobs in by_recipe.items():
        runs: dict[str, list[dict[str, Any]]] = {}
        checksum = None
        for job in its_jobs:
            document = documents.whole(job, NEEDED)
            if document is None:
                continue
            checksum = checksum or document["dataset"]["checksum"]
            if document["dataset"]["checksum"] != checksum:
                say(f"{job.id} was run on other data than the jobs before it, and is left out: run it again")
                continue
            runs.setdefault(job.channel, []).append(document)
        if runs:
            ks = its_jobs[0].recipe.evaluate.ks
            found.append(Found(name, ks, list(dict.fromkeys(job.channel for job in its_jobs)), runs))
    return found
