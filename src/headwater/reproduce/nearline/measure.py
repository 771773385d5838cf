"""What is measured of one arm: sums of every user, sums of groups of users by channel, and the funnel of scenarios."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.experiment.measure import Say
from headwater.experiment.provenance import commit_id, machine
from headwater.nn.devices import threads_of
from headwater.reproduce.nearline.plan import ArmJob
from headwater.simulation.loop import run_arm
from headwater.simulation.measures import COUNTS, SUMS
from headwater.simulation.warmup import WarmUp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def measure(job: ArmJob, start: WarmUp, say: Say) -> dict[str, Any]:
    """Play the job's arm and say everything that tables and figures need, as plain values.

    Returns
    -------
    dict
        `row`: settings, seed, commit, machine. `users`: each of `COUNTS`, a number for every user, in one line of text.
        `channels`: each of `SUMS`, a number for every group of users, likewise. `funnel`: scenario by stage. `health`
        of channels, `records` taken in from the rank log, `seconds` of all of it, `processor_seconds` likewise.
    """
    started, spent = time.perf_counter(), time.process_time()
    # The requests of a minute are too few to share out: threads would wait for each other.
    with threads_of(1), tempfile.TemporaryDirectory(prefix="headwater-bazaar-") as folder:
        result = run_arm(start, job.arm, Path(folder), say)
    sums = result.measures.channel_sums()
    row = {
        "settings": job.arm.model_dump(mode="json", exclude={"bazaar"}),
        "config": job.config,
        "seed": job.seed,
        "commit": commit_id(),
        "machine": machine(),
    }
    return {
        "row": row,
        "users": _lines(COUNTS, result.measures.users),
        "channels": {name: _lines(SUMS, by_group) for name, by_group in sums.items()},
        "funnel": result.funnel.counts.tolist(),
        "health": {name: vars(health) for name, health in result.health.items()},
        "records": result.records,
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(time.process_time() - spent, 1),
    }


def said_of(document: dict[str, Any]) -> str:
    """What an arm came to, in a line."""
    exposures, purchases = (sum(map(int, document["users"][name].split())) for name in ("exposures", "purchases"))
    faults = sum(health["faults"] for health in document["health"].values())
    said = f"{exposures:,} homepage exposures, {purchases:,} purchases of them, {document['records']:,} records"
    return said + (f", {faults} faults of channels" if faults else "")


def _lines(names: tuple[str, ...], values: NDArray[np.int64]) -> dict[str, str]:
    """One line of text for each column: thousands of numbers would take as many lines of a document."""
    return {name: " ".join(map(str, values[:, at].tolist())) for at, name in enumerate(names)}
