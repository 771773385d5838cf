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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwater.data import Dataset
from headwater.data.generated import CLUSTER, KUAIRAND, generated_logs
from headwater.nn.batches import NextItemBatches, SequenceBatch
from headwater.nn.inputs import Catalogue
from headwater.nn.objective import Objective, ObjectiveConfig
from headwater.nn.sequences import Histories
from headwater.retrieval.divide.batches import DivideBatches
from headwater.retrieval.divide.channel import WithinClusters
from headwater.retrieval.divide.clusters import ClusterConfig, Clusters, clusters_of
from headwater.retrieval.divide.config import DivideConfig, IntentConfig
from headwater.retrieval.divide.intent import IntentNetwork
from headwater.retrieval.divide.network import DivideNetwork
from headwater.retrieval.divide.objective import WithinObjective
from headwater.retrieval.learned import Task
from headwater.retrieval.sequence.sasrec import SASRecConfig, SASRecNetwork

METHODS = {"naive": "none", "Hadamard": "hadamard", "prefix": "prefix", "MMoE": "experts"}
BASE, WHOLE_BASE, LATE = "SASRec", "SASRec, all targets", "late prompts"


Step = Callable[[int], tuple[int, int]]
"""Trains step n, and says its passes and positives."""


def stepper(method: str, data: Dataset, clusters: Clusters, config: DivideConfig, device: torch.device) -> Step:
    """Of SASRec, or of Divide with one of the adaptations."""
    torch.manual_seed(0)
    catalogue, is_whole = Catalogue.of(data, config.inputs), method in (WHOLE_BASE, LATE)
    if method in (BASE, WHOLE_BASE):
        sizes = config.model_dump(include={"length", "dimension", "layers", "heads", "feed_forward", "dropout"})
        network = SASRecNetwork(SASRecConfig(**sizes, objective=config.objective), catalogue).to(device)
        model: torch.nn.Module = Task(network, Objective(config.objective, data.item_counts, device))
    else:
        changed = config.model_copy(update={"adaptation": METHODS.get(method, "output")})
        if is_whole:
            changed = changed.model_copy(update={"intent": IntentConfig(is_joint=True, prototypes=8)})
        prompted = DivideNetwork(changed, catalogue, len(clusters)).to(device)
        objective = WithinObjective(config.objective, clusters, data.item_counts, device)
        model = WithinClusters(prompted, objective)
    adam = torch.optim.AdamW(model.parameters(), fused=True)
    made = DivideBatches(
        Histories.from_dataset(data, device),
        clusters,
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


def intent_stepper(data: Dataset, clusters: Clusters, config: DivideConfig, device: torch.device) -> Step:
    """The same of the intent model, whose passes are one for each user."""
    network = IntentNetwork(config, Catalogue.of(data, config.inputs), len(clusters)).to(device)
    labels = torch.from_numpy(clusters.labels.astype(np.int64)).to(device)
    adam = torch.optim.AdamW(network.parameters(), fused=True)
    histories = Histories.from_dataset(data, device)
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


def measure(
    data: Dataset, clusters: Clusters, config: DivideConfig, device: torch.device, *, steps: int, rounds: int
) -> dict[str, Any]:
    """Passes and positives a second of every method, and the most memory that each took on the device."""
    steppers = {
        method: stepper(method, data, clusters, config, device) for method in (BASE, *METHODS, WHOLE_BASE, LATE)
    }
    steppers["intent"] = intent_stepper(data, clusters, config, device)
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
    parser.add_argument("--clusters", type=int, default=15)
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
    users, items, interactions = (max(50, round(full * chosen.size)) for full in KUAIRAND)
    data = generated_logs(users, items, interactions, chosen.clusters)
    clusters = clusters_of(data, ClusterConfig(source="column", column=CLUSTER, n=chosen.clusters))
    print(
        f"{users:,} users, {items:,} items, {len(data):,} interactions in {len(clusters)} clusters, "
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
    found = measure(data, clusters, config, device, steps=chosen.steps, rounds=chosen.rounds)
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
