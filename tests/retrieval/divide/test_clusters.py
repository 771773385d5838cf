"""How items are cut: repeatably, by a column, as given, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small import cut

from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError
from headwater.retrieval.divide.clusters import ClusterConfig, Clusters, clusters_of, load_clusters, save_clusters

ITEM2VEC = ClusterConfig(n=6, dimension=16, epochs=60)


def with_column(data: Dataset, values: list[str | None]) -> Dataset:
    return replace(data, item_attributes=pa.table({"id": data.items.ids, "kind": pa.array(values, pa.string())}))


def test_item2vec_gives_one_partition_for_one_seed_and_finds_what_users_keep_to(marketplace: Dataset) -> None:
    found, again = clusters_of(marketplace, ITEM2VEC), clusters_of(marketplace, ITEM2VEC)
    np.testing.assert_array_equal(found.labels, again.labels)
    assert found.sizes.sum() == len(marketplace.items)
    groups = np.arange(150) // 25
    largest = [np.bincount(groups[found.members(k)], minlength=6).max() for k in range(6)]
    assert sum(largest) > 0.9 * (marketplace.item_counts > 0).sum(), "users keep to a group nine times in ten"


def test_members_starts_and_places_say_one_partition() -> None:
    clusters = cut([2, 0, 2, 2, 0], 4)
    assert clusters.sizes.tolist() == [2, 0, 3, 0]
    assert [clusters.members(k).tolist() for k in range(4)] == [[1, 4], [], [0, 2, 3], []]
    assert clusters.places.tolist() == [0, 0, 1, 2, 1]
    assert clusters.by_cluster[clusters.starts[clusters.labels] + clusters.places].tolist() == [0, 1, 2, 3, 4]


def test_a_column_gives_its_most_common_values_a_cluster_and_all_others_one(marketplace: Dataset) -> None:
    values = ["a"] * 60 + ["b"] * 50 + ["c"] * 20 + [None] * 5 + ["d"] * 15
    found = clusters_of(with_column(marketplace, values), ClusterConfig(source="column", column="kind", n=3))
    assert found.names == ("a", "b", "others")
    assert found.sizes.tolist() == [60, 50, 40]
    assert (found.labels[110:] == 2).all(), "rare values and missing ones together"
    enough = clusters_of(with_column(marketplace, values), ClusterConfig(source="column", column="kind", n=9))
    assert enough.names == ("a", "b", "c", "d", "others")
    assert enough.sizes.tolist() == [60, 50, 20, 15, 5]


def test_a_column_of_50000_values_has_as_many_clusters_as_are_asked() -> None:
    n = 60_000
    data = Dataset.from_events(
        "wide",
        Vocabulary(np.arange(2)),
        Vocabulary(np.arange(n)),
        event_users=np.zeros(3, np.int32),
        event_items=np.arange(3, dtype=np.int32),
        event_times=np.arange(3),
        item_attributes=pa.table({"id": np.arange(n), "category": [str(at % 50_000) for at in range(n)]}),
    )
    found = clusters_of(data, ClusterConfig(source="column", n=100))
    assert len(found) == 100
    assert found.names[-1] == "others"
    assert found.sizes[:99].tolist() == [2] * 99, "values that two items have are the common ones"


def test_a_column_that_is_not_there_names_the_nearest(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="did you mean 'category'"):
        clusters_of(marketplace, ClusterConfig(source="column", column="categories"))


@pytest.mark.parametrize("source", ["item2vec", "column"])
def test_more_clusters_than_items_are_refused(marketplace: Dataset, source: str) -> None:
    with pytest.raises(ConfigError, match=r"151 clusters are asked of 150 items; set clusters\.n to fewer"):
        clusters_of(marketplace, ClusterConfig(source=source, n=151))  # type: ignore[arg-type]


def test_a_file_brings_back_labels_names_and_vectors(marketplace: Dataset, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 150).astype(np.int32)
    given = Clusters(labels, tuple("abcdefg"), random.normal(size=(150, 4)).astype(np.float32))
    save_clusters(given, marketplace, tmp_path / "new" / "clusters.npz")
    found = clusters_of(marketplace, ClusterConfig(source="file", path=tmp_path / "new" / "clusters.npz", n=500))
    np.testing.assert_array_equal(found.labels, labels)
    assert found.names == given.names
    assert found.vectors is not None
    np.testing.assert_array_equal(found.vectors, given.vectors)


def test_a_file_of_another_catalogue_is_refused(marketplace: Dataset, tmp_path: Path) -> None:
    save_clusters(cut(np.zeros(150), 1), marketplace, tmp_path / "clusters.npz")
    with pytest.raises(ConfigError, match="another catalogue than marketplace"):
        load_clusters(tmp_path / "clusters.npz", marketplace.with_frequent_items(10))


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "half", "array"])
def test_a_damaged_file_is_told(marketplace: Dataset, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "clusters.npz"
    save_clusters(cut(np.zeros(150), 1), marketplace, path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "array":
        with path.open("wb") as handle:
            np.save(handle, np.zeros(3))
    else:
        path.write_bytes({"empty": b"", "text": b"<html>", "half": whole[: len(whole) // 2]}[damage])
    with pytest.raises(ConfigError, match=r"clusters\.npz holds no clusters"):
        load_clusters(path, marketplace)


def test_a_source_file_without_a_path_is_refused(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"say which with clusters\.path"):
        clusters_of(marketplace, ClusterConfig(source="file"))


def test_labels_beyond_the_clusters_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        cut([0, 2], 2)


def test_new_items_join_the_cluster_with_items_whose_centroid_is_nearest() -> None:
    vectors = np.array([[2, 0], [9, 1], [0, 3], [0.1, 1]], np.float32)
    clusters = Clusters(np.array([0, 0, 2, 2], np.int32), ("x", "nothing", "y"), vectors)
    assert clusters.nearest(np.array([[5, 0.5], [0.2, 40]], np.float32)).tolist() == [0, 2]
    grown = clusters.grown(np.array([2], np.int32), np.array([[0.2, 40]], np.float32))
    assert grown.sizes.tolist() == [2, 0, 3]
    with pytest.raises(ConfigError, match="need vectors"):
        clusters.grown(np.array([2], np.int32))
    with pytest.raises(ConfigError, match="have no vectors"):
        cut([0, 1], 2).nearest(vectors)
