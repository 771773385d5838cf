"""Every method whose speed is measured takes its steps on the same passes and positives."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.data.generated import CLUSTER, generated_logs
from headwater.retrieval.divide.clusters import ClusterConfig, clusters_of
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


def test_every_method_sees_the_same_passes_and_positives(script: Any) -> None:
    torch.set_num_threads(1)
    data = generated_logs(60, 300, 2_000, 4)
    clusters = clusters_of(data, ClusterConfig(source="column", column=CLUSTER, n=4))
    values = {"length": 10, "dimension": 8, "layers": 1, "heads": 2, "training": {"batch_size": 16}}
    values["objective"] = {"loss": "bce", "n_negatives": 1, "shared": False}
    config, cpu = DivideConfig.model_validate(values), torch.device("cpu")
    for alike in ((script.BASE, *script.METHODS), (script.WHOLE_BASE, script.LATE)):
        counts = {method: script.stepper(method, data, clusters, config, cpu)(0) for method in alike}
        assert len(set(counts.values())) == 1
    found = script.measure(data, clusters, config, cpu, steps=1, rounds=1)
    assert found.keys() == {script.BASE, *script.METHODS, script.WHOLE_BASE, script.LATE, "intent"}
    assert all(figures["passes_per_second"] > 0 for figures in found.values())
