"""How fast the service answers: over HTTP on loopback, one client and several, and in process.

Needs a trained home (`headwater demo`, or `headwater train` and `--home`). Starts and stops its own service. Prints
a table; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import platform
import threading
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from headwater.demo.processes import running
from headwater.home import Home
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest


def percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def in_process(home: Home, users: list[int], k: int) -> dict[str, float]:
    """The six stages without HTTP; the rank log is not written."""
    seconds = []
    with open_pipeline(home) as pipeline:
        pipeline.warm_up()
        start = time.perf_counter()
        for user in users:
            asked = time.perf_counter()
            pipeline.answer(CandidatesRequest(user=user, k=k))
            seconds.append(time.perf_counter() - asked)
        elapsed = time.perf_counter() - start
    return percentiles(seconds) | {"answers_per_s": round(len(users) / elapsed)}


def over_http(client, users: list[int], k: int, clients: int) -> dict[str, float]:
    """`clients` threads that ask one request after another."""
    seconds: list[float] = []

    def ask(mine: list[int]) -> None:
        for user in mine:
            asked = time.perf_counter()
            client.post("/v1/candidates", json={"user": user, "k": k}).raise_for_status()
            seconds.append(time.perf_counter() - asked)

    ask(users[:50])
    seconds.clear()
    start = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(users[at::clients],)) for at in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return percentiles(seconds) | {"answers_per_s": round(len(users) / (time.perf_counter() - start))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".headwater/demo"))
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("docs/results/benchmark-service.json"))
    arguments = parser.parse_args()
    home = Home(arguments.home)
    users = np.random.default_rng(0).integers(1, 6041, arguments.requests).tolist()
    figures = {"in process": in_process(home, users, arguments.k)}
    with running(home) as client:
        for clients in (1, 8):
            figures[f"HTTP, {clients} client{'s' if clients > 1 else ''}"] = over_http(
                client, users, arguments.k, clients
            )
    table = Table("", "p50 ms", "p99 ms", "answers/s", title=f"{arguments.requests} requests, k {arguments.k}")
    for name, found in figures.items():
        table.add_row(name, f"{found['p50_ms']:.2f}", f"{found['p99_ms']:.2f}", f"{found['answers_per_s']:,}")
    Console().print(table)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": f"{platform.machine()}, Python {platform.python_version()}", "figures": figures}
    arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
