"""SASRec here, in RecTools and in RecBole, in one run: seconds to one validation NDCG@10, throughput, memory.

    python benchmarks/training.py --preset cpu --recbole-python A/bin/python --rectools-python B/bin/python
    python benchmarks/training.py --preset gpu --packed ml-1m.npz --recbole-python ... --rectools-python ...

`cpu` wants `headwater data get ml-100k` first and takes some minutes, `gpu` wants ml-1m, `smoke` runs everything in
seconds and measures nothing. Each system runs alone, one after the other, in a process of its own and in its own
environment; docs/training.md says how to make those, and what could not be made equal. A peer whose Python is not
given is left out; one that fails gets a row that says why, and the others go on. Results are written after each system.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

RUNS = Path(__file__).parent / "training_runs"
RESULTS = Path("docs/results/benchmark-training.json")

PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "dataset": "ml-100k",
        "length": 50,
        "dimension": 64,
        "layers": 2,
        "heads": 2,
        "dropout": 0.2,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "recbole_batch_size": 128,
        "target": 0.07,
        "seconds": 150.0,
        "device": "cpu",
    },
    "gpu": {
        "dataset": "ml-1m",
        "length": 200,
        "dimension": 128,
        "layers": 2,
        "heads": 4,
        "dropout": 0.2,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "recbole_batch_size": 2048,
        "target": 0.16,
        "seconds": 100.0,
        "device": "cuda",
    },
    "smoke": {
        "dataset": "ml-100k",
        "length": 10,
        "dimension": 8,
        "layers": 1,
        "heads": 1,
        "dropout": 0.0,
        "learning_rate": 1e-2,
        "batch_size": 128,
        "recbole_batch_size": 512,
        "target": 0.02,
        "seconds": 4.0,
        "device": "cpu",
    },
}
"""RecBole trains one position of a sequence where the others train all, so its batch is chosen apart: of 128, 512 and
its default 2,048 the first reached a figure soonest on the CPU; a GPU is idle with it."""

SYSTEMS = {"headwater": "Headwater", "rectools": "RecTools", "recbole": "RecBole"}


def run(system: str, python: str, settings: dict[str, Any], folder: Path, *, wall_limit: float) -> dict[str, Any]:
    """Start one system's script in its own environment and folder.

    Parameters
    ----------
    settings : dict
        Fields of `measure.Settings` but `output`.
    folder : Path
        Gets a folder named by the system, with its settings, log, curve and figures.
    wall_limit : float
        Seconds after which it is killed, with all that it does beside training.

    Returns
    -------
    Its figures, or why there are none: `error`, `log` (its last lines) and the validation `curve` up to there.
    """
    here = folder / system
    here.mkdir()
    output = here / "figures.json"
    (here / "settings.json").write_text(json.dumps(settings | {"output": str(output)}))
    threads = str(settings["threads"])
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with (here / "log").open("w") as log:
        try:
            code = subprocess.run(
                [python, str(RUNS / f"{system}_run.py"), str(here / "settings.json")],
                cwd=here,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=wall_limit,
            ).returncode
        except subprocess.TimeoutExpired:
            return _failure(here, f"killed at the wall limit of {wall_limit:g} s")
        except OSError as error:
            return _failure(here, f"{python} does not start: {error.strerror}")
    if code:
        return _failure(here, f"ended with status {code}: {_last_line(here)}")
    return json.loads(output.read_text())


def _failure(here: Path, reason: str) -> dict[str, Any]:
    curve = here / "curve.jsonl"
    points = [json.loads(line) for line in curve.read_text().splitlines()] if curve.exists() else []
    log = (here / "log").read_text(errors="replace").splitlines()[-20:]
    return {"error": reason, "log": log, "curve": points}


def _last_line(here: Path) -> str:
    lines = (here / "log").read_text(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def pack_dataset(name: str, path: Path) -> None:
    """Pack one of the data sets in Headwater's home."""
    from headwater.data.catalogue import load
    from headwater.data.packed import pack

    pack(load(name), path)


def describe(packed: Path) -> dict[str, Any]:
    """What the packed data set holds."""
    from headwater.data.packed import unpack

    data = unpack(packed)
    return {
        "name": data.name,
        "checksum": data.checksum(),
        "users": len(data.users),
        "items": len(data.items),
        "interactions": len(data),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Where this runs, and how busy that was over the last minutes."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "system": platform.system(),
    }


def print_table(results: dict[str, dict[str, Any]], target: float) -> None:
    """One row for each system, as the docs show it."""
    print(
        f"| system | s to NDCG@10 ≥ {target:g} | of these on the processor | best NDCG@10 | passes/s | positives/s "
        "| prepare s | evaluate s, own | evaluate s, shared | peak GiB | peak GPU GiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for system, figures in results.items():
        if "error" in figures:
            best = max((point["ndcg@10"] for point in figures["curve"]), default=0.0)
            reason = figures["error"].replace("|", "/")
            print(f"| {SYSTEMS[system]} | not measured: {reason} | - | {best:.4f} |" + " - |" * 7)
            continue
        gpu = figures["peak_gpu"]
        cells = [
            f"{'' if figures['is_target_reached'] else 'not in '}{figures['seconds']:.1f}",
            f"{figures['processor_seconds']:.1f}",
            f"{figures['best_ndcg@10']:.4f}",
            f"{figures['passes_per_second']:,.0f}",
            f"{figures['positives_per_second']:,.0f}",
            f"{figures['prepare_seconds']:.1f}",
            f"{figures['own_evaluation']['seconds']:.3f}",
            f"{figures['shared_evaluation']['seconds']:.3f}",
            f"{figures['peak_resident'] / 2**30:.2f}",
            "-" if gpu is None else f"{gpu / 2**30:.2f}",
        ]
        print(f"| {SYSTEMS[system]} | " + " | ".join(cells) + " |")


def print_ratios(results: dict[str, dict[str, Any]]) -> None:
    """How many times longer the peers take than Headwater does, which must have reached the target."""
    ours = results.get("headwater")
    if ours is None or "error" in ours or not ours["is_target_reached"]:
        return
    for system, figures in results.items():
        if system == "headwater" or "error" in figures:
            continue
        least = "" if figures["is_target_reached"] else "more than "
        for clock, name in (("wall", "seconds"), ("on the processor", "processor_seconds")):
            own, shared = (figures[kind][name] / ours[kind][name] for kind in ("own_evaluation", "shared_evaluation"))
            print(
                f"{SYSTEMS[system]} to Headwater, {clock}: time to target {least}{figures[name] / ours[name]:.1f}x, "
                f"evaluation {own:.1f}x (shared {shared:.1f}x)"
            )


def save(path: Path, preset: str, document: dict[str, Any]) -> None:
    """Put the run beside those of the other presets."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept | {preset: document}, indent=1, sort_keys=True) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--packed", type=Path, help="a packed data set in place of the preset's")
    parser.add_argument("--recbole-python", metavar="PATH", help="Python with recbole 1.2.1")
    parser.add_argument("--rectools-python", metavar="PATH", help="Python with rectools[torch] 0.19")
    parser.add_argument("--threads", type=int, default=1, help="of each system, on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("target", "seconds", "dropout"):
        parser.add_argument(f"--{name}", type=float, help="in place of the preset's")
    for name in ("batch-size", "recbole-batch-size"):
        parser.add_argument(f"--{name}", type=int, help="in place of the preset's")
    parser.add_argument("--wall-limit", type=float, default=300.0, help="seconds of one system, all that it does")
    parser.add_argument("--without-headwater", action="store_true", help="measure the given peers alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to add the run to")
    return parser.parse_args()


def main() -> int:
    chosen = parse()
    settings = dict(PRESETS[chosen.preset])
    dataset = settings.pop("dataset")
    for name in ("target", "seconds", "dropout", "batch_size", "recbole_batch_size"):
        value = getattr(chosen, name)
        settings[name] = settings[name] if value is None else value
    settings |= {"threads": chosen.threads, "seed": chosen.seed}
    pythons = {
        "headwater": None if chosen.without_headwater else sys.executable,
        "rectools": chosen.rectools_python,
        "recbole": chosen.recbole_python,
    }
    # A virtual environment is found by the path of its link to Python, so links are not followed.
    asked = {system: os.path.abspath(python) for system, python in pythons.items() if python}
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        packed = Path(temporary) / "data.npz" if chosen.packed is None else chosen.packed.resolve()
        if chosen.packed is None:
            pack_dataset(dataset, packed)
        data = describe(packed)
        print(
            f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions"
        )
        document = {
            "preset": chosen.preset,
            "date": date.today().isoformat(),
            "data": data,
            "settings": settings,
            "systems": results,
        }
        for system, python in asked.items():
            print(f"{SYSTEMS[system]} ...", file=sys.stderr, flush=True)
            figures = run(
                system, python, settings | {"packed": str(packed)}, Path(temporary), wall_limit=chosen.wall_limit
            )
            if "error" in figures:
                print(*figures["log"], sep="\n", file=sys.stderr)
                print(f"{SYSTEMS[system]} {figures['error']}", file=sys.stderr, flush=True)
            results[system] = figures
            save(chosen.results, chosen.preset, document | {"machine": machine()})
    print_table(results, settings["target"])
    print_ratios(results)
    print(f"the same with every curve: {chosen.results}")
    return 1 if any("error" in figures for figures in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
