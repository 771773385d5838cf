"""The rows of an evaluation table, with all that a reader needs to trust or repeat them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.data import Dataset
from headwater.experiment.document import write_document
from headwater.recipe import Recipe
from headwater.retrieval.base import ChannelSettings
from headwater.retrieval.evaluation import Evaluation, Latency

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Refitted:
    """The same run fitted once more, on training and validation part together, and measured on the test part.

    Attributes
    ----------
    full : Evaluation
        Full ranking over unseen items.
    epochs : int or None
        As many as gave the best validation; None for a channel without any.
    commit, machine : str
        Where the figures come from; it may be run later than the row itself.
    """

    full: Evaluation
    epochs: int | None
    commit: str
    machine: str


@dataclass(frozen=True, slots=True)
class Row:
    """One channel's figures in one run.

    Attributes
    ----------
    channel : str
    settings : dict
        The channel's settings, defaults included.
    config : str
        See `config_hash`.
    seed : int or None
        Of fitting; None where nothing is drawn at random.
    commit, machine : str
        Where the figures come from.
    fit_seconds : float
        Validations of early stopping included.
    retrieving : Latency
        Of one query at a time.
    full : Evaluation
        Full ranking over unseen items.
    sampled : Evaluation or None
        99 sampled negatives, where the recipe asks for them.
    training : dict or None
        The `TrainingReport` of a channel over a trained network: epochs, best epoch and value, curve, positives
        and passes a second, peak memory.
    refitted : Refitted or None
        Where the recipe asks for it.
    """

    channel: str
    settings: dict[str, Any]
    config: str
    seed: int | None
    commit: str
    machine: str
    fit_seconds: float
    retrieving: Latency
    full: Evaluation
    sampled: Evaluation | None
    training: dict[str, Any] | None = None
    refitted: Refitted | None = None

    @property
    def target_ranks(self) -> NDArray[np.int32] | None:
        """(targets,) under full ranking; see `Evaluation`."""
        return self.full.target_ranks

    def to_json(self) -> dict[str, Any]:
        """Plain values; every row carries seed, commit and config hash."""
        return {
            "channel": self.channel,
            "settings": self.settings,
            "config": self.config,
            "seed": self.seed,
            "commit": self.commit,
            "machine": self.machine,
            "fit_seconds": round(self.fit_seconds, 3),
            "retrieving": asdict(self.retrieving),
            "full": self.full.to_json(),
            "sampled": self.sampled.to_json() if self.sampled else None,
            "training": self.training,
            "refitted": asdict(self.refitted) | {"full": self.refitted.full.to_json()} if self.refitted else None,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Row:
        """Read what `to_json` gave; raises `TypeError` or `KeyError` where it is of another version."""
        again = fields.get("refitted")
        read = {
            "refitted": Refitted(**{**again, "full": Evaluation.from_json(again["full"])}) if again else None,
            "retrieving": Latency(**fields["retrieving"]),
            "full": Evaluation.from_json(fields["full"]),
            "sampled": Evaluation.from_json(fields["sampled"]) if fields["sampled"] else None,
        }
        return cls(**{**fields, **read})


@dataclass(frozen=True, slots=True)
class Line:
    """One channel of a table: its runs, of one seed each; none where it was not run."""

    settings: ChannelSettings
    rows: Sequence[Row]

    @property
    def channel(self) -> str:
        return self.settings.name

    @property
    def knows_request_time(self) -> bool:
        """Whether the channel reads how long ago the last event was when the request is made: another task."""
        return bool(getattr(getattr(self.settings, "inputs", None), "request_time", False))


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one recipe's evaluation.

    Attributes
    ----------
    rows : list of Row
        In the recipe's order of channels; several of one channel are runs under several seeds.
    failures : dict of str to str
        Why a channel could not be run, by its name.
    """

    recipe: Recipe
    dataset: Dataset
    part: str
    rows: list[Row]
    failures: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[Line]:
        """One line a channel of the recipe, run or not."""
        return [
            Line(chosen, [row for row in self.rows if row.channel == chosen.name]) for chosen in self.recipe.channels
        ]

    def notes(self) -> list[str]:
        """What must stand below the table: protocols, tie rules, and what was not asked, answered or run."""
        said = [f"{name} was not run: {reason}" for name, reason in self.failures.items()]
        if not self.rows:
            return said
        first = self.rows[0]
        said += [
            f"{self.recipe.split.kind}, {self.part} part, {first.full.n_queries:,} queries; {first.full.protocol}"
            + (f"; beside it {first.sampled.protocol}" if first.sampled else ""),
            f"ties in time: {first.full.time_tie_rule}; ties in score: {first.full.score_tie_rule}",
            f"headwater {_each(row.full.headwater for row in self.rows)}, "
            f"commit {_each(row.commit for row in self.rows)}; {_each(row.machine for row in self.rows)}",
        ]
        spent = first.retrieving
        said.append(f"p50, p99: ms to retrieve {spent.k} candidates, one query at a time, {spent.n} queries")
        if any(line.knows_request_time and line.rows for line in self.lines()):
            said.append("* knows how long ago the last event was when the request is made: another task")
        if any(len(line.rows) > 1 for line in self.lines()):
            said.append("±: standard deviation over seeds")
        if first.full.n_repeated:
            said.append(f"{first.full.n_repeated:,} targets stand in their own history and count as missed")
        said += [
            f"{row.channel} had nothing for {row.full.n_unanswered:,} queries, which count as missed"
            for row in (line.rows[0] for line in self.lines() if line.rows)
            if row.full.n_unanswered
        ]
        return said

    def to_json(self) -> dict[str, Any]:
        """The table as plain values."""
        return {**self.head(), "rows": [row.to_json() for row in self.rows]}

    def save(self, path: Path) -> None:
        """Write `to_json`, and what a closer look at the rows gives, to `path`, whole or not at all."""
        from headwater.experiment.breakdown import derived

        write_document(path, {**self.to_json(), **derived(self)})

    def head(self) -> dict[str, Any]:
        """Of which data, cut how, the rows are."""
        return {
            "dataset": {
                "name": self.dataset.name,
                "users": len(self.dataset.users),
                "items": len(self.dataset.items),
                "interactions": len(self.dataset),
                "checksum": self.dataset.checksum(),
            },
            "split": self.recipe.split.model_dump(mode="json", exclude_none=True),
            "part": self.part,
        }


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
