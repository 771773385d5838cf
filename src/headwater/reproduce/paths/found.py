"""What jobs have found so far, read back: the runs of every channel on every data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from headwater.errors import ArtefactError
from headwater.experiment.table import Row
from headwater.reproduce.jobs import Documents, Job
from headwater.retrieval.evaluation import Evaluation

Side = Literal["personalised", "item_to_item"]
Protocol = Literal["sampled", "full"]


@dataclass(frozen=True, slots=True)
class Run:
    """One job's document.

    Attributes
    ----------
    row : Row
    item_to_item : dict of protocol to Evaluation, or None
        None where the model has no item-to-item retrieval.
    by_length : list of (int or None, Evaluation)
    views : dict
    dataset : dict
        Name, sizes and checksum.
    """

    job: str
    row: Row
    item_to_item: dict[str, Evaluation] | None
    by_length: list[tuple[int | None, Evaluation]]
    views: dict[str, Any]
    dataset: dict[str, Any]

    def evaluation(self, side: Side, protocol: Protocol) -> Evaluation | None:
        """None where this run has none of that kind."""
        if side == "item_to_item":
            return None if self.item_to_item is None else self.item_to_item[protocol]
        return self.row.full if protocol == "full" else self.row.sampled

    @property
    def source(self) -> str:
        """Where its figures come from."""
        row = self.row
        return f"{self.job}, config {row.config}, commit {row.commit}, {row.machine}"

    @classmethod
    def from_document(cls, document: dict[str, Any], where: str) -> Run:
        """Read a job's document; raises `ArtefactError`, which names `where`, if it is not one."""
        try:
            items = document["item_to_item"]
            return cls(
                document["job"],
                Row.from_json(document["row"]),
                None if items is None else {name: Evaluation.from_json(side) for name, side in items.items()},
                [(entry["length"], Evaluation.from_json(entry["full"])) for entry in document["by_length"]],
                document["views"],
                document["dataset"],
            )
        except (KeyError, TypeError) as error:
            raise ArtefactError(
                f"{where} is no document of such a job ({error}); move it away and run it again"
            ) from error


@dataclass(frozen=True, slots=True)
class Found:
    """All runs of one data set.

    Attributes
    ----------
    recipe : str
    channels : list of str
        Those that the plan has, run or not.
    runs : dict of str to list of Run
        By channel, those of several seeds together; without channels that were not run.
    """

    recipe: str
    channels: list[str]
    runs: dict[str, list[Run]]

    @property
    def title(self) -> str:
        """The recipe's name, and its data set's where that is another."""
        data = self.every()[0].dataset["name"]
        return self.recipe if data == self.recipe else f"{self.recipe} ({data})"

    def of(self, channel: str) -> list[Run]:
        return self.runs.get(channel, [])

    def every(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs]

    def figures(self, channel: str, side: Side, protocol: Protocol, metric: str) -> list[float]:
        """One for each run that has it."""
        found = [run.evaluation(side, protocol) for run in self.of(channel)]
        return [evaluation.metrics[metric] for evaluation in found if evaluation is not None]

    def mean(self, channel: str, side: Side, protocol: Protocol, metric: str = "hr@10") -> float | None:
        """Over seeds; None where it was not run."""
        return _mean(self.figures(channel, side, protocol, metric))

    def by_length(self, channel: str, length: int | None, metric: str) -> list[float]:
        """Full ranking with the latest `length` events alone, one figure for each run."""
        return [
            evaluation.metrics[metric] for run in self.of(channel) for n, evaluation in run.by_length if n == length
        ]

    def mean_by_length(self, channel: str, length: int | None, metric: str = "hr@300") -> float | None:
        return _mean(self.by_length(channel, length, metric))

    def view(self, channel: str, name: str) -> Any:
        """Of the channel's first run; None where there is none."""
        return next((run.views[name] for run in self.of(channel) if name in run.views), None)


def read_found(jobs: Sequence[Job], documents: Documents, say: Callable[[str], None]) -> list[Found]:
    """What there is of each data set that has any, in the plan's order.

    Of documents of one recipe that speak of other data than the first does, those are left out, and said.
    """
    by_recipe: dict[str, list[Job]] = {}
    for job in jobs:
        by_recipe.setdefault(job.recipe_name, []).append(job)
    found = []
    for name, its_jobs in by_recipe.items():
        runs: dict[str, list[Run]] = {}
        checksum = None
        for job in its_jobs:
            document = documents.read(job)
            if document is None:
                continue
            run = Run.from_document(document, str(documents.path(job)))
            checksum = checksum or run.dataset["checksum"]
            if run.dataset["checksum"] != checksum:
                say(f"{run.job} was run on other data than the jobs before it, and is left out: run it again")
                continue
            runs.setdefault(job.channel, []).append(run)
        if runs:
            found.append(Found(name, list(dict.fromkeys(job.channel for job in its_jobs)), runs))
    return found


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
