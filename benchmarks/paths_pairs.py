"""SimNet's pairs a second in one thread: over a concatenation for each pair, and with every item projected once.

    nice -n -10 python benchmarks/paths_pairs.py
    python benchmarks/paths_pairs.py --device cuda      # both forms in torch on a GPU, by the clock

The candidate pairs of an index of generated items: as SimNet stands in the paper (eq. 9), in torch and in the batch
that suits it best, and as index generation does it on processors. Both in turn, in one run.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded: one thread is what is measured

import platform
import time

import numpy as np
import torch
from torch.nn import functional

import headwater
from headwater.retrieval.paths.nets import SimilarityScorer
from headwater.retrieval.paths.weights import PathWeights, UserWeights

WIDTH = 64


class Similarity:
    """A SimNet of drawn weights: items and 4 measures of co-occurrence embedded, two hidden layers."""

    FIELD, MEASURES, LEVELS, HIDDEN, NEXT, LEAK = 16, 4, 35, 64, 32, 0.01

    def __init__(self, n_items: int) -> None:
        torch.manual_seed(0)
        width = WIDTH + 2 * self.FIELD
        self.items = torch.randn(n_items, width) * 0.3
        self.levels = [torch.randn(self.LEVELS, self.FIELD) for _ in range(self.MEASURES)]
        self.first = torch.randn(2 * width + self.MEASURES * self.FIELD, self.HIDDEN) * 0.08
        self.bias = torch.randn(self.HIDDEN) * 0.1
        self.next = torch.randn(self.HIDDEN, self.NEXT) * 0.15
        self.next_bias = torch.randn(self.NEXT) * 0.1
        self.last = torch.randn(self.NEXT, 1) * 0.2
        self.width = width

    @torch.inference_mode()
    def concatenated(self, triggers: torch.Tensor, targets: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        of_pair = [table[levels[:, at]] for at, table in enumerate(self.levels)]
        inputs = torch.cat([self.items[triggers], *of_pair, self.items[targets]], 1)
        hidden = functional.leaky_relu(torch.addmm(self.bias, inputs, self.first), self.LEAK)
        hidden = functional.leaky_relu(torch.addmm(self.next_bias, hidden, self.next), self.LEAK)
        return (hidden @ self.last)[:, 0]

    def moved(self, device: torch.device) -> Similarity:
        """The same net with its weights there."""
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(self, name, value.to(device))
        self.levels = [table.to(device) for table in self.levels]
        return self

    def projected(self) -> list[torch.Tensor]:
        """What the first layer makes of every trigger, target and level: the pair's hidden layer is their sum."""
        parts = self.first.split([self.width, *[self.FIELD] * self.MEASURES, self.width])
        tables = [table @ part for table, part in zip(self.levels, parts[1:-1], strict=True)]
        return [self.items @ parts[0] + self.bias, self.items @ parts[-1], *tables]

    @torch.inference_mode()
    def summed(
        self, tables: list[torch.Tensor], triggers: torch.Tensor, targets: torch.Tensor, levels: torch.Tensor
    ) -> torch.Tensor:
        hidden = tables[0][triggers] + tables[1][targets]
        for at, table in enumerate(tables[2:]):
            hidden += table[levels[:, at]]
        hidden = functional.leaky_relu_(hidden, self.LEAK)
        hidden = functional.leaky_relu_(torch.addmm(self.next_bias, hidden, self.next), self.LEAK)
        return (hidden @ self.last)[:, 0]

    def factorised(self) -> SimilarityScorer:
        start = self.width
        tables = []
        for table in self.levels:
            tables.append((table @ self.first[start : start + self.FIELD]).numpy())
            start += self.FIELD
        layers = ((self.next.numpy(), self.next_bias.numpy()), (self.last.numpy(), np.zeros(1, np.float32)))
        none, nobody = np.zeros((0, 0), np.float32), UserWeights(np.zeros(0, np.float32), np.zeros((0, 0)), {}, {})
        triggers = (self.items @ self.first[: self.width] + self.bias).numpy()
        targets = (self.items @ self.first[start:]).numpy()
        weights = PathWeights(self.LEAK, nobody, none, {}, (), triggers, targets, tuple(tables), layers, None, None, ())
        return SimilarityScorer(weights, ())


def similarity(n_items: int, repeats: int) -> None:
    torch.set_num_threads(1)
    net = Similarity(n_items)
    started = time.perf_counter()
    factorised = net.factorised()
    projected = time.perf_counter() - started
    rng = np.random.default_rng(0)
    n = 200 * 1000  # of 200 items, 1,000 candidates each
    triggers = np.repeat(rng.integers(0, n_items, 200), 1000).astype(np.int32)
    targets = rng.integers(0, n_items, n).astype(np.int32)
    levels = rng.integers(0, net.LEVELS, (n, net.MEASURES)).astype(np.uint8)
    given = [torch.from_numpy(part.astype(np.int64)) for part in (triggers, targets, levels)]
    found: dict[str, list[float]] = {}
    largest = 0.0
    for _ in range(repeats):
        started = time.thread_time()
        ours = factorised.of_levels(triggers, targets, levels)
        found.setdefault("factorised, compiled", []).append(n / (time.thread_time() - started) / 1e6)
        for size in (1 << 11, 1 << 13, 1 << 17):
            started = time.thread_time()
            theirs = torch.cat(
                [net.concatenated(*(part[at : at + size] for part in given)) for at in range(0, n, size)]
            )
            found.setdefault(f"concatenated, torch, {size} pairs", []).append(n / (time.thread_time() - started) / 1e6)
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()))
    best = max(np.median(figures) for label, figures in found.items() if label.startswith("concatenated"))
    print(f"SimNet, {n_items:,} items projected in {projected:.2f} s, one thread, processor time, median of {repeats}; "
          f"scores differ by {largest:.1e} at most")  # fmt: skip
    print("| | M pairs/s | of the best concatenated |\n|---|---|---|")
    for label, figures in found.items():
        print(f"| {label} | {np.median(figures):.2f} | {np.median(figures) / best:.1f} x |")


def on_device(n_items: int, repeats: int, device: torch.device) -> None:
    """Both forms in torch, 16 million pairs at a time in pieces of a million, by the clock."""
    net = Similarity(n_items).moved(device)
    tables, n, size = net.projected(), 1 << 24, 1 << 20
    random = torch.Generator(device).manual_seed(0)
    triggers, targets = (torch.randint(n_items, (n,), generator=random, device=device) for _ in range(2))
    levels = torch.randint(net.LEVELS, (n, net.MEASURES), generator=random, device=device)
    forms = {
        "factorised, torch": lambda *part: net.summed(tables, *part),
        "concatenated, torch": net.concatenated,
    }
    found: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(repeats + 1):
        for form, score in forms.items():
            torch.cuda.synchronize(device)
            started = time.perf_counter()
            for at in range(0, n, size):
                score(triggers[at : at + size], targets[at : at + size], levels[at : at + size])
            torch.cuda.synchronize(device)
            found[form].append(n / (time.perf_counter() - started) / 1e6)
    some = slice(0, 100_000)
    one, other = (score(triggers[some], targets[some], levels[some]) for score in forms.values())
    print(f"SimNet, {n_items:,} items, {torch.cuda.get_device_name(device)}, median of {repeats}; "
          f"scores differ by {float((one - other).abs().max()):.1e} at most")  # fmt: skip
    for form, figures in found.items():
        print(f"{form}: {np.median(figures[1:]):.0f} M pairs/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cuda measures both forms in torch there")
    chosen = parser.parse_args()
    print(f"headwater {headwater.__version__}, {os.cpu_count()} cores ({platform.machine()}), numpy {np.__version__}, "
          f"torch {torch.__version__}, niceness {os.nice(0)}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if chosen.device == "cpu":
        similarity(chosen.items, chosen.repeats)
    else:
        on_device(chosen.items, chosen.repeats, torch.device(chosen.device))


if __name__ == "__main__":
    main()
