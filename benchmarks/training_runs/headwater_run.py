"""SASRec here, by its public interface: one epoch is one pass over each user's window, all positions trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import Finished, Problem, Settings, Watch, measured, peak_memory, timed_evaluation, warm_up, write

import headwater
from headwater.data import leave_one_out
from headwater.data.packed import unpack
from headwater.metrics import FullRanking
from headwater.nn.objective import ObjectiveConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import evaluate
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig

EPOCHS = 1_000_000
"""More than any time limit leaves room for."""


def main() -> None:
    settings = Settings.from_argument()
    problem = Problem(settings.packed)
    split = leave_one_out(unpack(Path(settings.packed)))
    queries = split.validation.queries
    # The shared evaluation asks user after user, so the two readings of one file must agree.
    assert np.array_equal(queries.users, np.arange(problem.n_users))
    assert np.array_equal(queries.items, problem.items)
    assert np.array_equal(split.validation.targets, problem.targets)

    config = SASRecConfig(
        length=settings.length,
        dimension=settings.dimension,
        layers=settings.layers,
        heads=settings.heads,
        feed_forward=1,
        dropout=settings.dropout,
        objective=ObjectiveConfig(loss="softmax"),
        training=TrainingConfig(
            epochs=EPOCHS,
            patience=EPOCHS,
            validate_every=1,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            device="cuda" if settings.device == "cuda" else "cpu",
        ),
    )
    n_positives = problem.window_positives(settings.length)

    def ndcg(channel: SASRec) -> float:
        vectors = channel.network.inputs.items.table()[problem.candidates]
        return problem.ndcg(lambda users: channel.encode(queries.slice(users[0], users[-1] + 1))[1] @ vectors.T)

    def train(watch: Watch) -> SASRec:
        epochs = 0

        def validate(channel: SASRec) -> float:
            nonlocal epochs
            epochs += 1
            if not watch.check(epochs * problem.n_users, epochs * n_positives, lambda: ndcg(channel)):
                raise Finished
            return watch.curve[-1]["ndcg@10"]

        channel = SASRec(config)
        watch.start()
        try:
            channel.fit(split.train, validate=validate)
        except Finished:
            channel.network.eval()
        return channel

    train(warm_up(settings))
    watch = measured(settings)
    channel = train(watch)
    figures = {
        **watch.figures(),
        # Packing histories and building the model happen inside `fit`, on the watch.
        "prepare_seconds": 0.0,
        **peak_memory(settings.device),
        "own_evaluation": timed_evaluation(
            lambda: evaluate(channel, split.validation, FullRanking(), train=split.train, ks=(10,)).metrics["ndcg@10"],
            settings.device,
        ),
        "shared_evaluation": timed_evaluation(lambda: ndcg(channel), settings.device),
    }
    write(settings, figures, headwater=headwater.__version__)


if __name__ == "__main__":
    main()
