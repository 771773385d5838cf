"""Generated logs are what they say: users keep to clusters, popular items are popular, and a seed says it all."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headwater.cli import app
from headwater.data.generated import CLUSTER, generated_logs
from headwater.data.packed import unpack
from headwater.errors import ConfigError
from headwater.retrieval.divide.clusters import ClusterConfig, clusters_of


def test_generated_users_keep_to_their_clusters_and_popular_items_are_popular() -> None:
    data = generated_logs(300, 2000, 30_000, 8, seed=1)
    clusters = clusters_of(data, ClusterConfig(source="column", column=CLUSTER, n=8))
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
    assert generated_logs(300, 2000, 30_000, 8, seed=1).checksum() == data.checksum()
    assert generated_logs(300, 2000, 30_000, 8, seed=2).checksum() != data.checksum()


@pytest.mark.parametrize(
    ("users", "items", "interactions", "n_clusters", "said"),
    [(10, 5, 100, 6, "6 clusters of 5 items"), (10, 50, 29, 5, "three at least"), (10, 50, 100, 0, "0 clusters")],
)
def test_impossible_sizes_are_refused(users: int, items: int, interactions: int, n_clusters: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        generated_logs(users, items, interactions, n_clusters)


def test_the_verb_writes_a_packed_file_that_keeps_the_clusters(tmp_path: Path) -> None:
    sizes = ["--users", "40", "--items", "200", "--interactions", "800", "-n", "12"]
    done = CliRunner().invoke(app, ["data", "generate", str(tmp_path / "small.npz"), *sizes])
    assert done.exit_code == 0, done.output
    data = unpack(tmp_path / "small.npz")
    assert data.name == "small"
    assert data.checksum() == generated_logs(40, 200, 800, 12, name="small").checksum()
    assert set(data.item_attributes[CLUSTER].to_pylist()) <= {f"cluster {at:02}" for at in range(12)}
