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
from headwater.experiment import evaluate_recipe, promote_fitted
from headwater.home import Home
from headwater.recipe import Recipe
from headwater.retrieval.base import Channel
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
from headwater.show import print_answer, print_evaluation, print_history, telling

TRAINING_MINUTES = 3
"""Of the longest training of `recipes/ml-1m.toml` on a core with nothing else to do, rounded up."""


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

    console.print(Rule("2. Train channels, and compare them on the last interaction of every user"))
    say_how_long(recipe, console)
    channels: list[Channel] = []
    with console.status("") as status:
        table = evaluate_recipe(recipe, dataset, say=telling(console, status), keep=channels.append)
    print_evaluation(console, table)
    table.save(stage.root / "evaluation.json")

    console.print(Rule("3. Promote a release, and ask it"))
    # What was measured is what serves: nothing is trained twice. Channels answer histories, and those are whole:
    # the held-out interactions, from which nothing was learned, count in every answer.
    learned_from = recipe.split.split(dataset).train
    with console.status("") as status:
        release = promote_fitted(
            recipe, channels, stage, learned_from=learned_from, histories=dataset, say=telling(console, status)
        )
    console.print(
        f"promoted release [bold]{release}[/bold]: the channels as they were measured, with every user's whole "
        "history. [dim]`headwater train` learns from the held-out interactions too.[/dim]"
    )
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


def say_how_long(recipe: Recipe, console: Console) -> None:
    """Name the channels that are trained in epochs, for they are what the tour spends its time on."""
    for channel in recipe.channels:
        training = getattr(channel, "training", None)
        if training is not None:
            console.print(
                f"{channel.name} learns for {training.epochs} epochs, which is most of the tour: on MovieLens-1M, with "
                f"the settings of recipes/ml-1m.toml, about {TRAINING_MINUTES} minutes on an idle core",
                highlight=False,
            )


def demo_user(dataset: Dataset) -> int | str:
    """The first user with 40 to 60 interactions: enough to see a taste, few enough to read."""
    fits = np.flatnonzero((dataset.lengths >= 40) & (dataset.lengths <= 60))
    code = fits[0] if len(fits) else int(np.argmax(dataset.lengths))
    return dataset.users.decode([int(code)])[0]
