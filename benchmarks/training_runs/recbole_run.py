"""SASRec in RecBole 1.2.1: every prefix of a history is a sequence of its own, and trains one position."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

# RecBole asks for names that numpy has dropped: before 1.24 the first ones, at 2.0 the others.
for name, kind in {
    "bool": np.bool_,
    "int": np.int64,
    "float": np.float64,
    "object": np.object_,
    "str": np.str_,
}.items():
    setattr(np, name, kind)
for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    setattr(np, name, kind)

import torch  # noqa: E402
from measure import (  # noqa: E402
    Finished,
    Problem,
    Settings,
    Watch,
    measured,
    peak_memory,
    timed_evaluation,
    warm_up,
    write,
)
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.utils import get_trainer, init_seed  # noqa: E402

SECONDS_BETWEEN_CHECKS = 3.0
"""An epoch here can take minutes, so the figure is read within epochs too."""


class WatchedSASRec(SASRec):
    """RecBole's model; before each step, when all steps so far are done, it may be asked to stop."""

    def __init__(self, config, dataset, before_step) -> None:
        super().__init__(config, dataset)
        self._before_step = before_step

    def calculate_loss(self, interaction):
        self._before_step(len(interaction))
        return super().calculate_loss(interaction)


def write_interactions(problem: Problem, folder: Path) -> None:
    """Training events and validation targets as RecBole's atomic file; the place in the history is the time."""
    (folder / "packed").mkdir(parents=True, exist_ok=True)
    users = np.concatenate([problem.event_users, np.arange(problem.n_users)])
    items = np.concatenate([problem.items, problem.targets])
    times = np.concatenate([problem.positions, np.diff(problem.offsets)])
    order = np.lexsort((times, users))
    with (folder / "packed" / "packed.inter").open("w") as lines:
        lines.write("user_id:token\titem_id:token\ttimestamp:float\n")
        np.savetxt(lines, np.stack([users, items, times], 1)[order], fmt="%d", delimiter="\t")


def open_config(settings: Settings, folder: Path) -> Config:
    return Config(
        model="SASRec",
        dataset="packed",
        config_dict={
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "MAX_ITEM_LIST_LENGTH": settings.length,
            "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": "full"},
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "hidden_size": settings.dimension,
            "inner_size": settings.dimension,
            "n_layers": settings.layers,
            "n_heads": settings.heads,
            "hidden_dropout_prob": settings.dropout,
            "attn_dropout_prob": settings.dropout,
            "learning_rate": settings.learning_rate,
            "train_batch_size": settings.recbole_batch_size,
            "eval_batch_size": 4096,
            "epochs": 1_000_000,
            "eval_step": 0,
            "use_gpu": settings.device == "cuda",
            "seed": settings.seed,
            "show_progress": False,
            "state": "ERROR",
        },
    )


def padded(problem: Problem, dataset, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each user's latest training events in RecBole's codes and layout, their number, and the candidates' codes."""
    codes = np.zeros(int(problem.items.max()) + 1, np.int64)
    codes[problem.candidates] = dataset.token2id("item_id", problem.candidates.astype(str))
    sequences = np.zeros((problem.n_users, length), np.int64)
    counts = np.minimum(np.diff(problem.offsets), length)
    for user, (end, count) in enumerate(zip(problem.offsets[1:], counts, strict=True)):
        sequences[user, :count] = codes[problem.items[end - count : end]]
    return torch.from_numpy(sequences), torch.from_numpy(counts), torch.from_numpy(codes[problem.candidates])


def main() -> None:
    settings = Settings.from_argument()
    problem = Problem(settings.packed)
    folder = Path(settings.output).parent / "recbole"
    write_interactions(problem, folder)

    started = time.perf_counter()
    config = open_config(settings, folder)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    prepare_seconds = time.perf_counter() - started

    device = config["device"]
    sequences, counts, candidates = (part.to(device) for part in padded(problem, dataset, settings.length))

    def ndcg(model: SASRec) -> float:
        def score(users: np.ndarray) -> torch.Tensor:
            asked = {"item_id_list": sequences[users], "item_length": counts[users]}
            return model.full_sort_predict(asked)[:, candidates]

        was_training = model.training
        model.eval()
        value = problem.ndcg(score)
        model.train(was_training)
        return value

    def train(watch: Watch, seconds_between: float):
        passes = 0

        def before_step(n: int) -> None:
            nonlocal passes
            if passes and watch.since_check >= seconds_between and not watch.check(passes, passes, lambda: ndcg(model)):
                raise Finished
            passes += n

        init_seed(config["seed"], config["reproducibility"])
        model = WatchedSASRec(config, train_data.dataset, before_step).to(device)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        watch.start()
        try:
            trainer.fit(train_data, saved=False, verbose=False)
        except Finished:
            model.eval()
        return model, trainer

    train(warm_up(settings), seconds_between=0.0)
    watch = measured(settings)
    model, trainer = train(watch, SECONDS_BETWEEN_CHECKS)
    figures = {
        **watch.figures(),
        "prepare_seconds": prepare_seconds,
        **peak_memory(settings.device),
        # Its full ranking of sequential models leaves seen items in; the figure is therefore not the shared one.
        "own_evaluation": timed_evaluation(
            lambda: trainer.evaluate(valid_data, load_best_model=False)["ndcg@10"], settings.device
        ),
        "shared_evaluation": timed_evaluation(lambda: ndcg(model), settings.device),
    }
    write(settings, figures, recbole=version("recbole"), pandas=version("pandas"))


if __name__ == "__main__":
    main()
