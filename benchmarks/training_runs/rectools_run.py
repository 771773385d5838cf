"""SASRec in RecTools 0.19: one epoch is one pass over each user's window, all positions trained."""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from measure import Problem, Settings, Watch, measured, peak_memory, timed_evaluation, warm_up, write
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG
from rectools.models import SASRecModel


def interactions(problem: Problem) -> pd.DataFrame:
    """Training events; the place in the history is the time."""
    return pd.DataFrame(
        {
            Columns.User: problem.event_users,
            Columns.Item: problem.items,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(problem.positions, unit="s"),
        }
    )


def main() -> None:
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # "consider more workers": the default is measured
    settings = Settings.from_argument()
    problem = Problem(settings.packed)
    users = np.arange(problem.n_users)
    n_positives = problem.window_positives(settings.length)

    def ndcg(model: SASRecModel, asked: Dataset) -> float:
        module = model.lightning_model
        was_training = module.training
        loader = model.data_preparator.get_dataloader_recommend(asked, model.recommend_batch_size)
        states, vectors = module._get_user_item_embeddings(loader, settings.device)
        # It drops what lies before the training windows, and with it the items that are found nowhere else.
        item_ids = model.data_preparator.item_id_map
        is_known = np.isin(problem.candidates, item_ids.external_ids)
        known = vectors[item_ids.convert_to_internal(problem.candidates[is_known])]
        columns = torch.from_numpy(np.flatnonzero(is_known)).to(vectors.device)

        def score(rows: np.ndarray) -> torch.Tensor:
            scores = vectors.new_full((len(rows), len(problem.candidates)), -torch.inf)
            scores[:, columns] = states[rows].to(vectors.device) @ known.T
            return scores

        value = problem.ndcg(score)
        module.train(was_training)
        return value

    def train(watch: Watch) -> tuple[SASRecModel, Dataset, Dataset, float]:
        epochs, prepared, asked = 0, 0.0, None

        def begin(trainer: Trainer, module) -> None:
            nonlocal prepared, asked
            prepared = time.perf_counter() - started
            asked = model.data_preparator.transform_dataset_u2i(dataset, users)
            assert np.array_equal(asked.user_id_map.external_ids, users)
            watch.start()

        def end_epoch(trainer: Trainer, module) -> None:
            nonlocal epochs
            epochs += 1
            if not watch.check(epochs * problem.n_users, epochs * n_positives, lambda: ndcg(model, asked)):
                trainer.should_stop = True

        def trainer() -> Trainer:
            return Trainer(
                max_epochs=1_000_000,
                accelerator="gpu" if settings.device == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[LambdaCallback(on_train_start=begin, on_train_epoch_end=end_epoch)],
            )

        seed_everything(settings.seed, verbose=False)
        started = time.perf_counter()
        dataset = Dataset.construct(interactions(problem))
        model = SASRecModel(
            session_max_len=settings.length,
            n_factors=settings.dimension,
            n_blocks=settings.layers,
            n_heads=settings.heads,
            dropout_rate=settings.dropout,
            loss="softmax",
            lr=settings.learning_rate,
            batch_size=settings.batch_size,
            get_trainer_func=trainer,
        )
        model.fit(dataset)
        return model, dataset, asked, prepared

    train(warm_up(settings))
    watch = measured(settings)
    model, dataset, asked, prepare_seconds = train(watch)
    targets = pd.DataFrame({Columns.User: users, Columns.Item: problem.targets})
    metric = NDCG(k=10, divide_by_achievable=True)
    figures = {
        **watch.figures(),
        "prepare_seconds": prepare_seconds,
        **peak_memory(settings.device),
        "own_evaluation": timed_evaluation(
            lambda: float(metric.calc(model.recommend(users, dataset, k=10, filter_viewed=True), targets)),
            settings.device,
        ),
        "shared_evaluation": timed_evaluation(lambda: ndcg(model, asked), settings.device),
    }
    lightning = version("pytorch-lightning")
    write(settings, figures, rectools=version("rectools"), pytorch_lightning=lightning, pandas=version("pandas"))


if __name__ == "__main__":
    main()
