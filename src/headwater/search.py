"""Hyper-parameter search on the validation part: the same number of trials, and the same time, for every model.

A search is a TOML file: a kind, the settings that all its trials share, and the values to choose from. Trials are
drawn once from a seed, run side by side in processes of their own, and written one line each as they end, so that a
search that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError
from headwater.ranking.model import MODELS, model_class
from headwater.retrieval import CHANNELS, channel_class


class Search(Settings):
    """One search: a kind of channel, or of ranking model, on one or several data sets."""

    kind: str
    """Kind of channel, or of ranking model."""
    trials: int = Field(default=6, ge=1)
    """Settings tried; the first one has the first value of every list."""
    seconds: float | None = Field(default=90, gt=0)
    """Wall time of one trial's training; none where the model ends by itself."""
    seed: int = 0
    """Of the draw of settings; training has its own, `training.seed`."""
    metric: str = "ndcg@10"
    """What early stopping and the choice maximise, full ranking over unseen items. A ranking model is chosen by
    `gauc` on later days."""
    train_until: int | None = None
    """Of a ranking model: the last day that is trained on; the days after it validate."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Settings of every trial, as in a recipe."""
    space: dict[str, list[Any]] = Field(default_factory=dict)
    """Dotted setting (`training.learning_rate`) -> the values to choose from."""


def load_search(path: Path) -> Search:
    """Read a search; every setting that it can draw is checked now, not in the middle of the night.

    Raises `ConfigError`, which names the file and the key.
    """
    search = parse(Search, read_toml(path), str(path))
    empty = [name for name, values in search.space.items() if not values]
    if empty:
        raise ConfigError(f"{path}: space.{empty[0]} has no value")
    if search.kind in MODELS and search.train_until is None:
        raise ConfigError(f"{path}: train_until is missing: a ranking model learns through a day, and later ones judge")
    for settings in drawn(search):
        parse(_settings_class(search.kind), settings, str(path))
    return search


def _settings_class(kind: str) -> type[Any]:
    if kind in MODELS:
        return model_class(kind).config_class
    if kind not in CHANNELS:
        nearest = get_close_matches(kind, [*CHANNELS, *MODELS], 1, 0.0)[0]
        raise ConfigError(f"unknown kind {kind!r}; did you mean {nearest!r}?")
    return channel_class(kind).config_class


def drawn(search: Search) -> list[dict[str, Any]]:
    """The settings of each trial, distinct; fewer than `trials` where the space has fewer."""
    names = list(search.space)
    sizes = [len(search.space[name]) for name in names]
    n_points = int(np.prod(sizes, dtype=np.int64)) if names else 1
    random = np.random.default_rng(search.seed)
    others = 1 + random.permutation(min(n_points, 1 << 20) - 1)
    points = [0, *others[: search.trials - 1].tolist()]
    trials = []
    for point in points:
        settings: dict[str, Any] = {"kind": search.kind, **_copy(search.base)}
        for name, choice in zip(names, np.unravel_index(point, sizes), strict=True) if names else ():
            _set(settings, name.split("."), search.space[name][int(choice)])
        trials.append(settings)
    return trials


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to run: settings on a packed data set. `key` names it in the results."""

    settings: dict[str, Any]
    packed: Path
    seconds: float | None
    metric: str
    train_until: int | None = None

    @property
    def key(self) -> str:
        """The same for the same settings, data file name and time, in any run."""
        plain: list[Any] = [self.settings, self.packed.name, self.seconds, self.metric]
        if self.train_until is not None:
            plain.append(self.train_until)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def run(
    searches: Sequence[Search],
    packed: Sequence[Path],
    results: Path,
    *,
    parallel: int = 1,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Run every trial of every search on every data set that `results` does not hold yet, and return all lines.

    Parameters
    ----------
    packed : sequence of Path
        Data sets written by `headwater data pack`.
    results : Path
        JSON Lines, appended to as trials end; a last line cut short by a kill is dropped.
    parallel : int
        Trials at a time, each in a process of its own; they share the device.
    told : function
        Given each new line.
    """
    trials = [
        Trial(settings, path, search.seconds, search.metric, search.train_until)
        for path in packed
        for search in searches
        for settings in drawn(search)
    ]
    lines = finished(results)
    known = {line["key"] for line in lines}
    waiting = [trial for trial in trials if trial.key not in known]
    context = multiprocessing.get_context("spawn")
    threads = max((os.cpu_count() or 1) // parallel, 1)
    with ProcessPoolExecutor(parallel, mp_context=context, max_tasks_per_child=1) as pool:
        running = [pool.submit(_run_one, trial, threads) for trial in waiting]
        for ended in as_completed(running):
            line = ended.result()
            append(results, line)
            lines.append(line)
            told(line)
    return lines


def _run_one(trial: Trial, threads: int) -> dict[str, Any]:
    """Train and measure one trial; a failure is a line too, with its reason."""
    line: dict[str, Any] = {"key": trial.key, "data_file": trial.packed.name, "settings": trial.settings}
    import torch

    torch.set_num_threads(threads)
    try:
        config = parse(_settings_class(trial.settings["kind"]), trial.settings, "trial")
        found = _train(trial, config)
    except Exception as error:  # one bad trial must not end a night of good ones
        return line | {"failed": f"{type(error).__name__}: {error}"}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return line | {"device": device, **found}


def _train(trial: Trial, config: Any) -> dict[str, Any]:
    if trial.train_until is not None:
        from headwater.ranking import trial as ranking

        return ranking.train_packed(trial.packed, config, train_until=trial.train_until)
    from headwater.retrieval.trial import train_packed

    return train_packed(trial.packed, config, seconds_limit=trial.seconds, metric=trial.metric)


def finished(results: Path) -> list[dict[str, Any]]:
    """The trials of a results file that ended well; a last line cut short by a kill is passed over."""
    found = []
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [line for line in found if "failed" not in line]


def append(results: Path, line: dict[str, Any]) -> None:
    """Add a trial to a results file."""
    results.parent.mkdir(parents=True, exist_ok=True)
    is_cut_short = results.exists() and results.stat().st_size and not results.read_bytes().endswith(b"\n")
    with results.open("a", encoding="utf-8") as handle:
        # A line that a kill cut short is ended, so that this one stands alone.
        handle.write("\n" * bool(is_cut_short) + json.dumps(line, sort_keys=True) + "\n")


def _copy(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: _copy(value) if isinstance(value, dict) else value for name, value in settings.items()}


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        settings = settings.setdefault(step, {})
    settings[path[-1]] = value
