import json
from pathlib import Path

import pytest
import torch

from headwater.data import Dataset, leave_one_out
from headwater.data.packed import pack
from headwater.metrics import FullRanking
from headwater.nn.training import TrainingConfig
from headwater.retrieval import evaluate
from headwater.retrieval.classic import Popular, PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig
from headwater.retrieval.trial import train_packed


def test_a_trial_trains_on_the_training_part_and_measures_what_is_asked(marketplace: Dataset, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    pack(marketplace, tmp_path / "set.npz")
    training = TrainingConfig(epochs=4, validate_every=2, batch_size=64)
    config = SASRecConfig(length=20, dimension=16, layers=1, heads=2, training=training)
    results = train_packed(tmp_path / "set.npz", config, seed=3, device="cpu")
    assert results["config"]["training"]["seed"] == 3
    assert results["training"]["epochs"] == 4
    best = results["training"]["best_value"]
    assert results["validation"]["metrics"]["ndcg@10"] == pytest.approx(best)
    assert "test" not in results
    json.dumps(results)


def test_a_trial_takes_a_channel_that_is_not_iterated(marketplace: Dataset, tmp_path: Path) -> None:
    pack(marketplace, tmp_path / "set.npz")
    results = train_packed(tmp_path / "set.npz", PopularConfig(), parts=("validation", "test"))
    split = leave_one_out(marketplace)
    expected = evaluate(Popular().fit(split.train), split.test, FullRanking(), train=split.train)
    assert results["test"]["metrics"] == expected.metrics
    assert "training" not in results
