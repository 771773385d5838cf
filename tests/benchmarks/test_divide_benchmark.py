"""The logs that Divide's speed is measured on are what they say, and every method takes its steps on them."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwater.retrieval.divide.config import DivideConfig

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "divide.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("divide_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_generated_users_keep_to_their_clusters_and_popular_items_are_popular(script: Any) -> None:
    logs = script.generate(300, 2000, 30_000, 8, seed=1)
    data, clusters = logs.data, logs.clusters
    assert (len(data.users), len(data.items), len(clusters)) == (300, 2000, 8)
    assert len(data) == pytest.approx(30_000, rel=0.05)
    assert data.lengths.min() >= 3
    assert clusters.sizes.sum() == 2000
    labels = clusters.labels[data.event_items]
    of_user = np.zeros((300, 8))
    np.add.at(of_user, (data.event_users, labels), 1)
    likeliest = of_user.max(1).sum() / len(data)
    assert likeliest > 1.5 * np.bincount(labels).max() / len(data), "more than popularity of clusters says"
    counts = np.sort(data.item_counts)[::-1]
    assert counts[:200].sum() > 0.3 * counts.sum()
    again = script.generate(300, 2000, 30_000, 8, seed=1)
    assert again.data.checksum() == data.checksum()


def test_every_method_sees_the_same_passes_and_positives(script: Any) -> None:
    torch.set_num_threads(1)
    logs = script.generate(60, 300, 2_000, 4)
    values = {"length": 10, "dimension": 8, "layers": 1, "heads": 2, "training": {"batch_size": 16}}
    values["objective"] = {"loss": "bce", "n_negatives": 1, "shared": False}
    config, cpu = DivideConfig.model_validate(values), torch.device("cpu")
    for alike in ((script.BASE, *script.METHODS), (script.WHOLE_BASE, script.LATE)):
        counts = {method: script.stepper(method, logs, config, cpu)(0) for method in alike}
        assert len(set(counts.values())) == 1
    found = script.measure(logs, config, cpu, steps=1, rounds=1)
    assert found.keys() == {script.BASE, *script.METHODS, script.WHOLE_BASE, script.LATE, "intent"}
    assert all(figures["passes_per_second"] > 0 for figures in found.values())
