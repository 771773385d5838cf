"""How fast Divide trains beside SASRec in the same layout, on generated logs with KuaiRand's statistics.

    python benchmarks/divide.py --size 0.002 --device cpu --length 20 --dimension 32      # seconds, measures little
    python benchmarks/divide.py                                                            # KuaiRand's size, a GPU

Every method sees the same windows and the same positives as the SASRec above it: those of a Divide step, a pass for
each cluster drawn of a user, or, for late prompts, one pass with all targets. SASRec is the channel's own network and
loss, whose negatives are of the whole catalogue; no draw of any method is an item that the window holds. Late prompts
learn the intent as well, in the same pass; the other methods' intent model trains apart, and is measured beside them.
Methods take turns, and the figures are medians over rounds: of wall time on a GPU, of processor time on a CPU, which
others may share.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwater.data import Dataset, Vocabulary
from headwater.nn.batches import NextItemBatches, SequenceBatch
from headwater.nn.inputs import Catalogue
from headwater.nn.objective import Objective, ObjectiveConfig
from headwater.nn.sequences import Histories
from headwater.retrieval.divide.batches import DivideBatches
from headwater.retrieval.divide.channel import WithinClusters
from headwater.retrieval.divide.clusters import Clusters
from headwater.retrieval.divide.config import DivideConfig, IntentConfig
from headwater.retrieval.divide.intent import IntentNetwork
from headwater.retrieval.divide.network import DivideNetwork
from headwater.retrieval.divide.objective import WithinObjective
from headwater.retrieval.learned import Task
from headwater.retrieval.sequence.sasrec import SASRecConfig, SASRecNetwork

USERS, ITEMS, INTERACTIONS, K = 25_828, 108_025, 20_141_835, 15
"""Of KuaiRand in Table 1 of the paper."""

METHODS = {"naive": "none", "Hadamard": "hadamard", "prefix": "prefix", "MMoE": "experts"}
BASE, WHOLE_BASE, LATE = "SASRec", "SASRec, all targets", "late prompts"


@dataclass(frozen=True)
class Logs:
    """Generated logs and what is known of them: the cluster of every item."""

    data: Dataset
    clusters: Clusters


def generate(users: int, items: int, interactions: int, n_clusters: int, *, seed: int = 0, skew: float = 0.8) -> Logs:
    """Logs whose truth is known: users keep to a few clusters, items follow each other within them.

    Cluster sizes are uneven, histories log-normal in length. A click goes to a cluster of the user's taste; half of
    them go to one of the next items of that cluster behind what the user clicked there before, the others to one by
    Zipf's law (weight 1 / rank^skew).

    Parameters
    ----------
    interactions : int
        About as many are made; every user has three or more.
    """
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(n_clusters, 4.0))
    labels = np.sort(random.choice(n_clusters, items, p=shares))
    clusters = Clusters(labels.astype(np.int32), tuple(f"cluster {at}" for at in range(n_clusters)))
    starts, sizes = clusters.starts, clusters.sizes
    weights = np.concatenate([1 / np.arange(1, size + 1) ** skew for size in sizes.tolist()])
    total = np.cumsum(weights)
    low = np.concatenate([[0.0], total])[starts]
    high = np.concatenate([[0.0], total])[starts + sizes]
    lengths = random.lognormal(0.0, 0.9, users)
    lengths = np.maximum(np.rint(lengths * interactions / lengths.sum()), 3).astype(np.int64)
    tastes = random.dirichlet(np.full(n_clusters, 0.3), users) * (sizes > 0)
    tastes = np.cumsum(tastes / tastes.sum(1, keepdims=True), 1)
    latest = np.full((users, n_clusters), -1, np.int64)
    order = np.argsort(-lengths, kind="stable")
    chosen, owners, times = [], [], []
    for step in range(int(lengths.max())):
        active = order[: np.searchsorted(-lengths[order], -step, side="left")]
        cluster = (random.random(len(active))[:, None] > tastes[active]).sum(1).clip(max=n_clusters - 1)
        drawn = np.searchsorted(total, low[cluster] + random.random(len(active)) * (high - low)[cluster])
        before = latest[active, cluster]
        follows = (before >= 0) & (random.random(len(active)) < 0.5)
        place = before - starts[cluster] + random.integers(1, 6, len(active))
        item = np.where(follows, starts[cluster] + place % np.maximum(sizes[cluster], 1), drawn.clip(max=items - 1))
        latest[active, cluster] = item
        chosen.append(item.astype(np.int32))
        owners.append(active.astype(np.int32))
        times.append(np.full(len(active), step, np.int64))
    data = Dataset.from_events(
        "generated",
        Vocabulary(np.arange(users)),
        Vocabulary(np.arange(items)),
        event_users=np.concatenate(owners),
        event_items=np.concatenate(chosen),
        event_times=np.concatenate(times),
        time_unit="position",
    )
    return Logs(data, clusters)


Step = Callable[[int], tuple[int, int]]
"""Trains step n, and says its passes and positives."""


def stepper(method: str, logs: Logs, config: DivideConfig, device: torch.device) -> Step:
    """Of SASRec, or of Divide with one of the adaptations."""
    torch.manual_seed(0)
    catalogue, is_whole = Catalogue.of(logs.data, config.inputs), method in (WHOLE_BASE, LATE)
    if method in (BASE, WHOLE_BASE):
        sizes = config.model_dump(include={"length", "dimension", "layers", "heads", "feed_forward", "dropout"})
        network = SASRecNetwork(SASRecConfig(**sizes, objective=config.objective), catalogue).to(device)
        model: torch.nn.Module = Task(network, Objective(config.objective, logs.data.item_counts, device))
    else:
        changed = config.model_copy(update={"adaptation": METHODS.get(method, "output")})
        if is_whole:
            changed = changed.model_copy(update={"intent": IntentConfig(is_joint=True, prototypes=8)})
        prompted = DivideNetwork(changed, catalogue, len(logs.clusters)).to(device)
        objective = WithinObjective(config.objective, logs.clusters, logs.data.item_counts, device)
        model = WithinClusters(prompted, objective)
    adam = torch.optim.AdamW(model.parameters(), fused=True)
    made = DivideBatches(
        Histories.from_dataset(logs.data, device),
        logs.clusters,
        length=config.length,
        batch_size=config.training.batch_size,
        tasks_per_user=None if is_whole else config.tasks_per_user,
        seed=0,
        times=False,
    )

    def step(n: int) -> tuple[int, int]:
        batch: Any = made.batch(n // made.steps, n % made.steps)
        if method in (BASE, WHOLE_BASE):
            batch = SequenceBatch(
                windows=batch.windows,
                at=batch.at,
                targets=batch.targets,
                is_hidden=None,
                first=0,
                n_positives=batch.n_positives,
                n_passes=batch.n_passes,
                n_processes=1,
                batch_targets=batch.targets,
                generator=batch.generator,
            )
        _descend(model, adam, batch, device, config.training.precision)
        return batch.n_passes, batch.n_positives

    return step


def intent_stepper(logs: Logs, config: DivideConfig, device: torch.device) -> Step:
    """The same of the intent model, whose passes are one for each user."""
    network = IntentNetwork(config, Catalogue.of(logs.data, config.inputs), len(logs.clusters)).to(device)
    labels = torch.from_numpy(logs.clusters.labels.astype(np.int64)).to(device)
    adam = torch.optim.AdamW(network.parameters(), fused=True)
    histories = Histories.from_dataset(logs.data, device)
    made = NextItemBatches(histories, config.length, config.training.batch_size)

    class IntentTask(torch.nn.Module):
        def forward(self, batch: Any) -> torch.Tensor:
            logits = network(batch.windows).flatten(0, 1)[batch.at].float()
            return torch.nn.functional.cross_entropy(logits, labels[batch.targets])

    task = IntentTask()

    def step(n: int) -> tuple[int, int]:
        batch = made.batch(n // made.steps, n % made.steps)
        _descend(task, adam, batch, device, config.training.precision)
        return batch.n_passes, batch.n_positives

    return step


def _descend(model: torch.nn.Module, adam: Any, batch: Any, device: torch.device, precision: str) -> None:
    adam.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = model(batch)
    loss.backward()
    adam.step()


def timed(step: Step, first: int, n: int, device: torch.device) -> tuple[float, float]:
    """Passes and positives a second over n steps, from step `first`."""
    is_cuda = device.type == "cuda"
    wait, now = (torch.cuda.synchronize, time.perf_counter) if is_cuda else (lambda: None, time.process_time)
    wait()
    start = now()
    counts = np.sum([step(first + at) for at in range(n)], 0)
    wait()
    passes, positives = counts / (now() - start)
    return float(passes), float(positives)


def measure(logs: Logs, config: DivideConfig, device: torch.device, *, steps: int, rounds: int) -> dict[str, Any]:
    """Passes and positives a second of every method, and the most memory that each took on the device."""
    steppers = {method: stepper(method, logs, config, device) for method in (BASE, *METHODS, WHOLE_BASE, LATE)}
    steppers["intent"] = intent_stepper(logs, config, device)
    for step in steppers.values():
        timed(step, 0, 2, device)
    found: dict[str, list[tuple[float, float]]] = {method: [] for method in steppers}
    peaks = dict.fromkeys(steppers, 0)
    for turn in range(rounds):
        for method, step in steppers.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            found[method].append(timed(step, 2 + turn * steps, steps, device))
            if device.type == "cuda":
                peaks[method] = max(peaks[method], torch.cuda.max_memory_allocated())
    return {
        method: {
            "passes_per_second": statistics.median(one[0] for one in speeds),
            "positives_per_second": statistics.median(one[1] for one in speeds),
            "peak_device": peaks[method] or None,
        }
        for method, speeds in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, help="share of KuaiRand's users, items and interactions")
    parser.add_argument("--clusters", type=int, default=K)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128, help="users of a step")
    parser.add_argument("--tasks", type=int, default=3, help="clusters drawn of each user and step")
    parser.add_argument("--loss", choices=["bce", "sampled-softmax", "softmax", "unseen-softmax"], default="bce")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--shared", action="store_true", help="one draw of negatives for a step")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, help="JSON to write")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    started = time.perf_counter()
    users, items, interactions = (max(50, round(full * chosen.size)) for full in (USERS, ITEMS, INTERACTIONS))
    logs = generate(users, items, interactions, chosen.clusters)
    print(
        f"{users:,} users, {items:,} items, {len(logs.data):,} interactions in {len(logs.clusters)} clusters, "
        f"generated in {time.perf_counter() - started:.1f} s"
    )
    config = DivideConfig.model_validate(
        {
            "length": chosen.length,
            "dimension": chosen.dimension,
            "layers": chosen.layers,
            "heads": 2,
            "tasks_per_user": chosen.tasks,
            "objective": ObjectiveConfig(
                loss=chosen.loss,
                n_negatives=chosen.negatives,
                shared=chosen.shared,
                excludes_seen=chosen.loss in ("bce", "sampled-softmax"),
            ),
            "training": {"batch_size": chosen.batch_size, "precision": chosen.precision},
        }
    )
    found = measure(logs, config, device, steps=chosen.steps, rounds=chosen.rounds)
    print("| method | passes/s | to SASRec's | positives/s | device GiB |\n|---|---|---|---|---|")
    base = 1.0
    for method, figures in found.items():
        if method in (BASE, WHOLE_BASE):
            base = figures["passes_per_second"]
        peak = "-" if figures["peak_device"] is None else f"{figures['peak_device'] / 2**30:.2f}"
        passes, positives = figures["passes_per_second"], figures["positives_per_second"]
        ratio = "-" if method == "intent" else f"{passes / base:.2f}"
        print(f"| {method} | {passes:,.0f} | {ratio} | {positives:,.0f} | {peak} |")
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"host memory at most {host / 2**30:.2f} GiB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if chosen.results is not None:
        settings = {name: str(value) for name, value in vars(chosen).items()}
        document = {"settings": settings, "methods": found, "host": host, "load": os.getloadavg()[0]}
        chosen.results.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
