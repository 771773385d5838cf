"""What every system is given and how every system is measured; needs numpy and torch alone, so it runs beside each.

The run scripts import this from their own folder. Each gets one argument, a JSON file of `Settings`, and writes one
JSON file of figures.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS_AT_ONCE = 256
"""Users scored at a time by the shared evaluation; small beside what training takes, in memory."""


@dataclass(frozen=True)
class Settings:
    """One run. Everything that can be equal between the systems stands here once.

    Attributes
    ----------
    packed : str
        Data set, as `headwater data pack` writes it.
    output : str
        JSON file for the figures.
    length, dimension, layers, heads : int
        Of SASRec; the inner layer is as wide as `dimension`.
    dropout, learning_rate : float
    batch_size : int
        Sequences of a step where a sequence trains every position.
    recbole_batch_size : int
        Sequences of a step where a sequence trains its last position only.
    target : float
        Validation NDCG@10 that ends a run.
    seconds : float
        Training time that ends a run.
    device : str
        "cpu" or "cuda".
    threads, seed : int
    """

    packed: str
    output: str
    length: int
    dimension: int
    layers: int
    heads: int
    dropout: float
    learning_rate: float
    batch_size: int
    recbole_batch_size: int
    target: float
    seconds: float
    device: str
    threads: int
    seed: int

    @classmethod
    def from_argument(cls) -> Settings:
        """The settings named on the command line, threads and precision set by them.

        The argument is taken off it: RecBole reads the command line too.
        """
        settings = cls(**json.loads(Path(sys.argv.pop(1)).read_text()))
        torch.set_num_threads(settings.threads)
        torch.set_float32_matmul_precision("high")  # TF32 on GPUs, for all three
        torch.manual_seed(settings.seed)
        return settings


class Problem:
    """A packed data set, left-one-out: each user's last event is not used, the last but one is the target.

    Attributes
    ----------
    offsets, items : (users + 1,), (events,) int64
        Training histories in the order of the packed file, which settled ties in time by input order.
    targets : (users,) int64
    candidates : (n,) int64
        Items with a training event: only these are ranked, since nothing can be learned of others.

    Raises
    ------
    ValueError
        A user has fewer than three events.
    """

    def __init__(self, packed: str | Path) -> None:
        with np.load(packed, allow_pickle=False) as columns:
            offsets, items = columns["offsets"].astype(np.int64), columns["event_items"].astype(np.int64)
        lengths = np.diff(offsets)
        if lengths.min() < 3:
            raise ValueError(f"{packed}: user {lengths.argmin()} has fewer than 3 events; this benchmark asks everyone")
        is_kept = np.ones(len(items), bool)
        is_kept[offsets[1:] - 1] = is_kept[offsets[1:] - 2] = False
        self.offsets = np.concatenate([[0], np.cumsum(lengths - 2)])
        self.items = items[is_kept]
        self.targets = items[offsets[1:] - 2]
        self.candidates = np.unique(self.items)
        self._column = np.full(int(items.max()) + 1, -1)
        self._column[self.candidates] = np.arange(len(self.candidates))

    @property
    def n_users(self) -> int:
        return len(self.targets)

    @property
    def event_users(self) -> np.ndarray:
        """(events,) the user of each training event."""
        return np.repeat(np.arange(self.n_users), np.diff(self.offsets))

    @property
    def positions(self) -> np.ndarray:
        """(events,) each event's place in its history, which stands for the time: no system breaks ties its own way."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def window_positives(self, length: int) -> int:
        """Training positions of one epoch where each user gives the window of the last `length` + 1 events."""
        return int(np.minimum(np.diff(self.offsets) - 1, length).sum())

    @torch.inference_mode()
    def ndcg(self, score: Callable[[np.ndarray], torch.Tensor]) -> float:
        """Mean NDCG@10 of the targets among all candidates that are not in the user's history.

        A target stands behind all candidates with an equal score; one that cannot be ranked (in the history, or
        without a training event) is missed.

        Parameters
        ----------
        score : callable
            Takes users (b,), gives their scores (b, candidates) on any device; minus infinity for an item that the
            system does not know.
        """
        gain = 0.0
        event_users = self.event_users
        for start in range(0, self.n_users, ROWS_AT_ONCE):
            users = np.arange(start, min(start + ROWS_AT_ONCE, self.n_users))
            seen = slice(self.offsets[users[0]], self.offsets[users[-1] + 1])
            scores = score(users).float()
            device = scores.device
            seen_rows, seen_columns, columns = (
                torch.from_numpy(part).to(device)
                for part in (
                    event_users[seen] - start,
                    self._column[self.items[seen]],
                    self._column[self.targets[users]],
                )
            )
            scores[seen_rows, seen_columns] = -torch.inf
            target = scores.gather(1, columns.clamp(min=0)[:, None])
            ranks = (scores >= target).sum(1) - 1
            is_ranked = (columns >= 0) & target[:, 0].isfinite()
            gains = torch.where(is_ranked & (ranks < 10), 1 / torch.log2(ranks + 2.0), 0.0)
            gain += float(gains.double().sum())
        return gain / self.n_users


class Finished(Exception):
    """Training has reached its target or its time."""


class Watch:
    """Training time without the validations in it, and when to stop.

    Beside wall time it keeps the processor's: with one thread on a CPU the two agree, unless other programs took
    turns with this one.

    Parameters
    ----------
    target, seconds : float
        A check at or beyond either ends training; seconds are wall time.
    device : str
    clock, processor : callable
        Give seconds of wall time and of this process on the processor.
    log : Path, optional
        File that every check adds its point to, as one line of JSON: what a killed run leaves.
    """

    def __init__(
        self,
        target: float,
        seconds: float,
        device: str,
        clock: Callable[[], float] = time.perf_counter,
        processor: Callable[[], float] = time.process_time,
        log: Path | None = None,
    ) -> None:
        self.target, self.limit, self._log = target, seconds, log
        self.is_target_reached = False
        self.seconds = self.processor_seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self._wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        self._clock, self._processor = clock, processor
        self._since = self._processor_since = 0.0

    def start(self) -> None:
        """Training begins now."""
        self._wait()
        self._since, self._processor_since = self._clock(), self._processor()

    @property
    def since_check(self) -> float:
        """Seconds of training since the last check, not waiting for the device."""
        return self._clock() - self._since

    def check(self, passes: int, positives: int, ndcg: Callable[[], float]) -> bool:
        """Stop the clock, validate, note where training stands; False once it is over, else the clock runs again.

        Parameters
        ----------
        passes, positives : int
            Sequences and positions trained so far.
        ndcg : callable
            Gives the validation figure.
        """
        self._wait()
        self.seconds += self._clock() - self._since
        self.processor_seconds += self._processor() - self._processor_since
        value = ndcg()
        point = {
            "seconds": round(self.seconds, 3),
            "processor_seconds": round(self.processor_seconds, 3),
            "passes": passes,
            "positives": positives,
            "ndcg@10": round(value, 6),
        }
        self.curve.append(point)
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(json.dumps(point) + "\n")
        self.is_target_reached = value >= self.target
        if self.is_target_reached or self.seconds >= self.limit:
            return False
        self.start()
        return True

    def figures(self) -> dict[str, Any]:
        """Time to the target (or without it, to the limit), best figure, throughput and the whole curve."""
        last = self.curve[-1]
        return {
            "is_target_reached": self.is_target_reached,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "best_ndcg@10": max(point["ndcg@10"] for point in self.curve),
            "passes_per_second": last["passes"] / self.seconds,
            "positives_per_second": last["positives"] / self.seconds,
            "curve": self.curve,
        }


def warm_up(settings: Settings) -> Watch:
    """A watch for a training thrown away: it ends at its first check, when kernels and allocators are warm."""
    return Watch(target=2.0, seconds=0.0, device=settings.device)


def measured(settings: Settings) -> Watch:
    """The watch of the training that counts."""
    log = Path(settings.output).with_name("curve.jsonl")
    return Watch(settings.target, settings.seconds, settings.device, log=log)


def peak_memory(device: str) -> dict[str, int | None]:
    """Most bytes so far: resident in memory, and of tensors on the GPU."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss starts from the parent's size at the fork; this mark is the program's own.
        resident = next(
            int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:")
        )
    return {"peak_resident": resident, "peak_gpu": torch.cuda.max_memory_allocated() if device == "cuda" else None}


def timed_evaluation(evaluate: Callable[[], float], device: str) -> dict[str, float]:
    """Fastest of five evaluations after a first that does not count, wall and processor, and the figure they gave."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    value, wall, processor = evaluate(), [], []
    for _ in range(5):
        wait()
        started, processor_started = time.perf_counter(), time.process_time()
        evaluate()
        wait()
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - processor_started)
    return {"seconds": min(wall), "processor_seconds": min(processor), "ndcg@10": value}


def write(settings: Settings, figures: dict[str, Any], **versions: str) -> None:
    """Leave the figures for whoever started this process."""
    figures |= {
        "gpu": torch.cuda.get_device_name() if settings.device == "cuda" else None,
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "numpy": np.__version__,
            **versions,
        },
    }
    Path(settings.output).write_text(json.dumps(figures))
