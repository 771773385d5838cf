"""The classic channels on MovieLens-1M: chosen on validation by six trials each, then measured once on test.

    headwater data get ml-1m
    python benchmarks/classic.py --search        # recipes/search/ml-1m/<kind>.json; trials that stand there are kept
    python benchmarks/classic.py                 # the tables in docs/channels.md
    python benchmarks/classic.py --kinds swing   # one row of them

The best trial of a kind is that of the highest NDCG@10 on the validation part, full ranking.
EASE has a second search, with 99 negatives, because that is where its published figures are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import headwater
from headwater.data import Dataset, Split, leave_one_out
from headwater.data.catalogue import load
from headwater.metrics import FullRanking, Protocol, SampledNegatives
from headwater.retrieval import channel_class, evaluate, latency

SEARCHES = Path(__file__).parents[1] / "recipes" / "search" / "ml-1m"

TRIALS: dict[str, list[dict[str, Any]]] = {
    "ease": [
        {"regularisation": 500.0},
        {"regularisation": 500.0, "half_life": 2.0},
        {"regularisation": 200.0, "half_life": 2.0},
        {"regularisation": 1500.0, "half_life": 2.0},
        {"regularisation": 500.0, "half_life": 3.0},
        {"regularisation": 40.0, "user_exponent": 0.5, "half_life": 2.0},
    ],
    "slim": [
        {"l1": 20.0, "l2": 200.0},
        {"l1": 20.0, "l2": 200.0, "half_life": 2.0},
        {"l1": 5.0, "l2": 200.0, "half_life": 2.0},
        {"l1": 5.0, "l2": 1000.0, "half_life": 2.0},
        {"l1": 1.0, "l2": 500.0, "half_life": 2.0},
        {"l1": 5.0, "l2": 500.0, "half_life": 4.0},
    ],
    "pearson": [
        {"neighbours": 100, "shrinkage": 20.0, "half_life": 2.0},
        {"neighbours": 100, "shrinkage": 0.0, "half_life": 2.0},
        {"neighbours": 300, "shrinkage": 20.0, "half_life": 2.0},
        {"neighbours": 50, "shrinkage": 20.0, "half_life": 2.0},
        {"neighbours": 100, "shrinkage": 20.0, "half_life": 3.0},
        {"neighbours": 100, "shrinkage": 50.0, "half_life": 1.5},
    ],
    "swing": [
        {"target_exponent": 0.0, "half_life": 2.0},
        {"target_exponent": 0.5, "half_life": 2.0},
        {"target_exponent": 1.0, "half_life": 2.0},
        {"target_exponent": 1.5, "half_life": 2.0},
        {"target_exponent": 1.5, "user_exponent": 1.0, "half_life": 2.0},
        {"target_exponent": 1.5, "user_exponent": 1.0, "smoothing": 10.0, "neighbours": 300, "half_life": 2.0},
    ],
    "mf": [
        {"factors": 64, "epochs": 8, "half_life": 2.0},
        {"factors": 128, "half_life": 2.0},
        {"factors": 128, "half_life": 4.0},
        {"factors": 128, "unobserved_weight": 0.1, "half_life": 2.0},
        {"factors": 128, "regularisation": 0.001, "half_life": 2.0},
        {"factors": 192, "half_life": 2.0},
    ],
}
"""Kind -> settings that were tried, in this order."""

SAMPLED_TRIALS: dict[str, list[dict[str, Any]]] = {
    "ease": [
        {"regularisation": 500.0},
        {"regularisation": 1500.0},
        {"regularisation": 4000.0},
        {"regularisation": 10000.0},
        {"regularisation": 100.0, "user_exponent": 0.5},
        {"regularisation": 300.0, "user_exponent": 0.5},
    ],
}
"""The same for the row that is chosen with 99 sampled negatives, histories not fading, as papers report it."""

FIGURES = ("hr@10", "ndcg@10", "hr@50")


def search(kind: str, split: Split, data: Dataset) -> None:
    """Fit and measure every trial of a kind on the validation part, and write them all."""
    full, sampled = FullRanking(), SampledNegatives()
    for name, settings, protocol in ((kind, TRIALS[kind], full), (f"{kind}-99", SAMPLED_TRIALS.get(kind, []), sampled)):
        known = [] if not searched(name).exists() else read(name)
        trials = []
        for number, tried in enumerate(settings, 1):
            found = next((trial for trial in known if trial["settings"] == tried), None)
            if found is None:
                found = measured(kind, tried, split, protocol, data)
            trials.append({"trial": number, **found})
            print(name, json.dumps(trials[-1]), flush=True)
            write(name, protocol, trials)


def measured(kind: str, settings: dict[str, Any], split: Split, protocol: Protocol, data: Dataset) -> dict[str, Any]:
    cls = channel_class(kind)
    started = time.perf_counter()
    channel = cls(cls.config_class.model_validate(settings)).fit(split.train)
    seconds = time.perf_counter() - started
    metrics = evaluate(channel, split.validation, protocol, train=split.train, interactions=data).metrics
    return {"settings": settings, **{name: round(metrics[name], 4) for name in FIGURES}, "seconds": round(seconds, 1)}


def searched(name: str) -> Path:
    return SEARCHES / f"{name}.json"


def read(name: str) -> list[dict[str, Any]]:
    return json.loads(searched(name).read_text(encoding="utf-8"))["trials"]


def write(name: str, protocol: Protocol, trials: list[dict[str, Any]]) -> None:
    searched(name).parent.mkdir(parents=True, exist_ok=True)
    columns = ("trial", "settings", *FIGURES, "seconds")
    rows = ",\n".join("    " + json.dumps({column: trial[column] for column in columns}) for trial in trials)
    head = {
        "kind": name.removesuffix("-99"),
        "dataset": "ml-1m, 3,706 items",
        "part": f"leave-one-out, validation, {protocol}",
        "command": f"python benchmarks/classic.py --search --kinds {name.removesuffix('-99')}",
    }
    lines = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    searched(name).write_text(f'{{\n{lines}  "trials": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def chosen_settings(kind: str) -> list[dict[str, Any]]:
    """The best trial's; the best one's whose histories do not fade; and the best one's with 99 negatives."""
    best_first = sorted(read(kind), key=lambda trial: -trial["ndcg@10"])
    unfading = [trial for trial in best_first if "half_life" not in trial["settings"]]
    sampled = sorted(read(f"{kind}-99"), key=lambda trial: -trial["ndcg@10"]) if kind in SAMPLED_TRIALS else []
    return [trial["settings"] for trial in (*best_first[:1], *unfading[:1], *sampled[:1])]


def row(kind: str, settings: dict[str, Any], split: Split) -> str:
    cls = channel_class(kind)
    started = time.perf_counter()
    channel = cls(cls.config_class.model_validate(settings)).fit(split.train)
    seconds = time.perf_counter() - started
    speed = latency(channel, split.test.queries, k=200)
    full = evaluate(channel, split.test, FullRanking(), train=split.train).metrics
    sampled = evaluate(channel, split.test, SampledNegatives(), train=split.train).metrics
    cells = [full[name] for name in ("hr@10", "hr@20", "hr@50", "ndcg@10", "coverage@50")]
    cells += [sampled["hr@10"], sampled["ndcg@10"]]
    figures = " | ".join(f"{cell:.4f}" for cell in cells)
    options = ", ".join(f"{name} {value:g}" for name, value in settings.items()) or "defaults"
    return f"| {cls.__name__}, {options} | {seconds:.1f} | {speed.p50_ms:.2f} | {speed.p99_ms:.2f} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", action="store_true", help="try settings on the validation part")
    parser.add_argument("--kinds", nargs="+", choices=sorted(TRIALS), default=sorted(TRIALS))
    chosen = parser.parse_args()
    data = load("ml-1m")
    if chosen.search:
        split = leave_one_out(data)
        for kind in chosen.kinds:
            search(kind, split, data)
        return
    print(f"headwater {headwater.__version__}, {os.cpu_count()} cores ({platform.machine()})")
    for least in (1, 5):
        kept = data if least == 1 else data.with_frequent_items(least)
        split = leave_one_out(kept)
        print(f"\n{kept.name}: {len(kept):,} interactions, {len(kept.users):,} users, {len(kept.items):,} items")
        print("| channel | fit s | p50 ms | p99 ms | HR@10 | HR@20 | HR@50 | NDCG@10 | coverage@50 | ", end="")
        print("HR@10, 99 neg. | NDCG@10, 99 neg. |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for kind in chosen.kinds:
            for settings in chosen_settings(kind):
                print(row(kind, settings, split), flush=True)


if __name__ == "__main__":
    main()
