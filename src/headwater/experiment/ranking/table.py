"""The figures of ranking models, with all that a reader needs to trust or repeat them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headwater.data.impressions import Impressions
from headwater.experiment.document import write_document
from headwater.experiment.ranking.recipe import RankRecipe
from headwater.metrics import Prediction


@dataclass(frozen=True, slots=True)
class RankRow:
    """One model's figures of one task.

    Attributes
    ----------
    model, task : str
    settings : dict
        The model's settings, defaults included.
    train_until : int
        The last day that was trained on.
    days : (int, int)
        First and last measured day.
    fit_seconds, predict_seconds : float
    trained, predicted : int
        Impressions in training, and measured ones.
    whole : Prediction
    by_activity : {group: Prediction}
        By the users' clicks before the measured days.
    commit, machine : str
    """

    model: str
    task: str
    settings: dict[str, Any]
    train_until: int
    days: tuple[int, int]
    fit_seconds: float
    predict_seconds: float
    trained: int
    predicted: int
    whole: Prediction
    by_activity: dict[str, Prediction]
    commit: str
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "task": self.task,
            "settings": self.settings,
            "train_until": self.train_until,
            "days": list(self.days),
            "fit_seconds": round(self.fit_seconds, 3),
            "predict_seconds": round(self.predict_seconds, 3),
            "trained": self.trained,
            "predicted": self.predicted,
            "whole": figures(self.whole),
            "by_activity": {name: figures(found) for name, found in self.by_activity.items()},
            "commit": self.commit,
            "machine": self.machine,
        }


def figures(found: Prediction) -> dict[str, Any]:
    """Plain values of a `Prediction`; a figure that the samples do not define is None."""
    plain = asdict(found)
    bins = {name: values.tolist() for name, values in plain.pop("reliability").items()}
    plain["ece"] = found.ece
    known = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()}
    return known | {"reliability": bins}


@dataclass(frozen=True, slots=True)
class RankTable:
    """The rows of one recipe.

    Attributes
    ----------
    recipe : RankRecipe
    impressions : Impressions
        All of them, of which the rows' days are parts.
    part : str
        `validation`, `test`, or `next-day`: each row trained through the day before it.
    rows : list of RankRow
    """

    recipe: RankRecipe
    impressions: Impressions
    part: str
    rows: list[RankRow] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What must stand below the table."""
        if not self.rows:
            return []
        first = self.rows[0]
        # Every model is measured on the same samples, so those of one model say it for all.
        of_first = [row for row in self.rows if row.model == first.model]
        skipped = {
            task: [
                sum(values)
                for values in zip(
                    *(
                        (row.whole.skipped_users, row.whole.users + row.whole.skipped_users)
                        for row in of_first
                        if row.task == task
                    ),
                    strict=True,
                )
            ]
            for task in dict.fromkeys(row.task for row in of_first)
        }
        quiet = self.impressions.days_without_positives(self.impressions.tasks[0])
        said = [
            f"{self.impressions.name}: {len(self.impressions):,} impressions of {self.impressions.days[-1] + 1:,} days"
            + (f"; negatives are sampled: {self.impressions.sampled}" if self.impressions.sampled else ""),
            "GAUC is weighted by the task's samples; users whose samples have one label are skipped: "
            + ", ".join(f"{part:,} of {whole:,} ({task})" for task, (part, whole) in skipped.items())
            + (", each day's counted by themselves" if self.part == "next-day" else ""),
            "a history ends strictly before its impression; rates of ids count earlier days only",
            f"commit {', '.join(dict.fromkeys(row.commit for row in self.rows))}; "
            f"{', '.join(dict.fromkeys(row.machine for row in self.rows))}",
        ]
        if self.part != "next-day":
            base = ", ".join(f"{row.whole.base_logloss:.4f} ({row.task})" for row in of_first)
            said.append(f"logloss of the measured base rate: {base}")
        if quiet:
            shown = ", ".join(map(str, quiet[:5])) + (f" and {len(quiet) - 5:,} more" if len(quiet) > 5 else "")
            said.append(f"days without a {self.impressions.tasks[0]}: {shown}")
        return said

    def to_json(self) -> dict[str, Any]:
        """The table as plain values."""
        data = self.impressions
        return {
            "data": {
                "name": data.name,
                "users": len(data.users),
                "items": len(data.items),
                "impressions": len(data),
                "checksum": data.checksum(),
                "sampled": data.sampled,
            },
            "days": self.recipe.days.model_dump(mode="json"),
            "part": self.part,
            "rows": [row.to_json() for row in self.rows],
        }

    def save(self, path: Path) -> None:
        """Write `to_json` to `path`, whole or not at all."""
        write_document(path, self.to_json())
