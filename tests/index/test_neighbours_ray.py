import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import ray
import scipy.sparse as sp
from headwater.data import Vocabulary
from headwater.index.generation import generate
from headwater.index.pairs import CandidatePairs
from headwater.index.ray import generate_on_ray

folder, n = Path(sys.argv[1]), 500
vocabulary = Vocabulary(np.arange(n))
rng = np.random.default_rng(0)
pairs = CandidatePairs(sp.random_array((n, n), density=0.1, rng=rng, format="csr", dtype=np.float32), per_item=40)
vectors = rng.normal(size=(n, 8)).astype(np.float32)


def write(shard, path):
    return generate(path, pairs, lambda left, right: (vectors[left] * vectors[right]).sum(1), 10,
                    vocabulary=vocabulary, model="m", **({} if shard is None else {"shard": shard}))


write(None, folder / "single")
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
generate_on_ray(folder / "together", write, shards=5, folder=folder / "shards", vocabulary=vocabulary)
print(len(list((folder / "shards").iterdir())))
"""


@pytest.mark.servers
def test_a_run_on_ray_gives_the_bytes_of_the_single_run(tmp_path: Path) -> None:
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "5"
    assert (tmp_path / "together").read_bytes() == (tmp_path / "single").read_bytes()
