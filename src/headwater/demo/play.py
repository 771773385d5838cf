"""What `headwater demo` does, step by step."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.rule import Rule

from headwater.data import Dataset
from headwater.data.catalogue import NAMES, get
from headwater.demo.report import write_report
from headwater.demo.visits import PAGE, play_visits
from headwater.experiment import evaluate_recipe, train
from headwater.home import Home
from headwater.recipe import Recipe
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
from headwater.show import print_answer, print_evaluation, print_history, telling


def play(recipe: Recipe, home: Home, console: Console) -> Path:
    """Run the whole tour and return the report's path.

    Releases, store and logs of the tour live in `demo` below `home` and are begun anew each time; the data
    set is kept in `home`, and fetched where it is not there and is a published one.
    """
    start = time.perf_counter()
    stage = Home(home.root / "demo")
    if stage.root.exists():
        shutil.rmtree(stage.root)

    console.print(Rule(f"1. Data: {recipe.dataset}"))
    if recipe.dataset in NAMES:
        with console.status(f"getting {recipe.dataset}"):
            get(recipe.dataset, home.root)
    dataset = recipe.load_dataset(home.root)
    console.print(f"{len(dataset):,} interactions of {len(dataset.users):,} users with {len(dataset.items):,} items")

    console.print(Rule("2. Compare channels on the last interaction of every user"))
    with console.status("") as status:
        table = evaluate_recipe(recipe, dataset, say=telling(console, status))
    print_evaluation(console, table)
    table.save(stage.root / "evaluation.json")

    console.print(Rule("3. Train a release on everything, and ask it"))
    with console.status("") as status:
        release = train(recipe, dataset, stage, validate=False, say=telling(console, status))
    console.print(f"promoted release [bold]{release}[/bold]")
    user = demo_user(dataset)
    with open_pipeline(stage) as pipeline:
        request = CandidatesRequest(user=user, k=PAGE)
        known, recent = pipeline.recent(user, 6)
        console.print(f"\nuser {user}: ", end="")
        print_history(console, recent, known)
        print_answer(console, pipeline.answer(request))

    console.print(Rule("4. The loop, live: service and stream are two processes"))
    played = play_visits(stage, user, console)

    report = write_report(stage.report, table, played)
    console.print(Rule("Done"))
    console.print(f"report with plots: [bold]{report.absolute()}[/bold]", soft_wrap=True)
    console.print(f"[dim]{time.perf_counter() - start:.0f} s. Next: README.md says how to bring your own data.[/dim]")
    return report


def demo_user(dataset: Dataset) -> int | str:
    """The first user with 40 to 60 interactions: enough to see a taste, few enough to read."""
    fits = np.flatnonzero((dataset.lengths >= 40) & (dataset.lengths <= 60))
    code = fits[0] if len(fits) else int(np.argmax(dataset.lengths))
    return dataset.users.decode([int(code)])[0]
