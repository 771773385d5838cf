"""A release is whole or refused, and the pointer moves atomically."""

from pathlib import Path

import numpy as np
import pytest

from headwater import release as releases
from headwater.data import Dataset, Vocabulary
from headwater.errors import LineageError, ReleaseError
from headwater.ranking.affinity import AffinityRanker
from headwater.release import Merge
from headwater.retrieval.base import Mask
from headwater.retrieval.classic.itemcf import ItemCF
from headwater.retrieval.classic.popular import Popular


def build(root: Path, dataset: Dataset, now: float) -> str:
    return releases.build(
        root,
        dataset=dataset,
        channels=[Popular().fit(dataset), ItemCF().fit(dataset)],
        ranker=AffinityRanker().fit(dataset),
        merge=Merge(weights={"popular": 1.0, "itemcf": 2.0, "nearline": 1.0}, pool=50),
        metrics={"itemcf": {"hr@10": 0.5}},
        now=now,
    )


@pytest.fixture
def root(tmp_path: Path, marketplace: Dataset) -> Path:
    build(tmp_path, marketplace, now=1_700_000_000)
    return tmp_path


def test_a_loaded_release_answers_as_the_one_that_was_built(root: Path, marketplace: Dataset) -> None:
    loaded = releases.load(root / releases.listed(root)[0])
    queries = marketplace.queries(np.arange(20, dtype=np.int32))
    allowed = Mask.seen(queries)
    before = ItemCF().fit(marketplace).retrieve(queries, 30, allowed=allowed)
    after = next(channel for channel in loaded.channels if channel.name == "itemcf").retrieve(
        queries, 30, allowed=allowed
    )
    assert after.items.tolist() == before.items.tolist()
    assert after.scores.tobytes() == before.scores.tobytes()
    assert loaded.titles == marketplace.titles
    codes, names = marketplace.categories
    assert [loaded.category_names[code] for code in loaded.categories] == [names[code] for code in codes]
    ranker = AffinityRanker().fit(marketplace)
    assert loaded.ranker.score(queries, after).tobytes() == ranker.score(queries, after).tobytes()


def test_the_manifest_says_what_it_is_made_of(root: Path, marketplace: Dataset) -> None:
    manifest = releases.read_manifest(root / releases.listed(root)[0])
    assert manifest.release.startswith("20231114T221320Z-")
    assert manifest.items == marketplace.items.fingerprint()
    assert manifest.window.checksum == marketplace.checksum()
    assert manifest.metrics == {"itemcf": {"hr@10": 0.5}}
    assert set(manifest.checksums) >= {"items.parquet", "users.parquet", "channels/itemcf/tensors.safetensors"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_refused_by_name(root: Path, damage: str) -> None:
    folder = root / releases.listed(root)[0]
    victim = folder / "channels" / "itemcf" / "tensors.safetensors"
    raw = bytearray(victim.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
        victim.write_bytes(raw)
    elif damage == "truncate":
        victim.write_bytes(raw[:-1])
    else:
        victim.unlink()
    with pytest.raises(ReleaseError, match=r"channels/itemcf/tensors.safetensors (was altered|is missing)"):
        releases.load(folder)


def test_a_part_of_another_lineage_is_refused_by_name(root: Path, marketplace: Dataset) -> None:
    folder = root / releases.listed(root)[0]
    other = Vocabulary([f"other-{code}" for code in range(len(marketplace.items))])
    with pytest.raises(LineageError, match="itemcf"):
        ItemCF.load(folder / "channels" / "itemcf", other)


def test_nothing_is_promoted_until_it_is_said(root: Path) -> None:
    with pytest.raises(ReleaseError, match="headwater train"):
        releases.current(root)


def test_promote_and_roll_back_move_one_pointer(root: Path, marketplace: Dataset) -> None:
    first = releases.listed(root)[0]
    second = build(root, marketplace, now=1_700_000_100)
    releases.promote(root, first)
    releases.promote(root, second)
    assert releases.current(root) == second
    assert releases.rollback(root) == first
    assert releases.current(root) == first
    with pytest.raises(ReleaseError, match="no release older"):
        releases.rollback(root)


def test_promoting_what_is_not_there_names_what_is(root: Path) -> None:
    with pytest.raises(ReleaseError, match=f"no release 'nonsense'; it has {releases.listed(root)[0]}"):
        releases.promote(root, "nonsense")


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, marketplace: Dataset) -> None:
    class Unsavable(Popular):
        def save(self, path: Path) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        releases.build(
            tmp_path,
            dataset=marketplace,
            channels=[Unsavable().fit(marketplace)],
            ranker=AffinityRanker().fit(marketplace),
            merge=Merge(weights={}, pool=1),
            metrics={},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_is_not_defined_is_left_out_and_the_release_still_loads(
    tmp_path: Path, marketplace: Dataset
) -> None:
    release = releases.build(
        tmp_path,
        dataset=marketplace,
        channels=[Popular().fit(marketplace)],
        ranker=AffinityRanker().fit(marketplace),
        merge=Merge(weights={}, pool=1),
        metrics={"popular": {"hr@10": 0.5, "popularity@10": float("nan")}},
    )
    releases.promote(tmp_path, release)
    assert releases.load(tmp_path / release).manifest.metrics == {"popular": {"hr@10": 0.5}}


def test_two_builds_of_one_second_that_differ_in_anything_are_two_releases(root: Path, marketplace: Dataset) -> None:
    again = releases.build(
        root,
        dataset=marketplace,
        channels=[Popular().fit(marketplace), ItemCF().fit(marketplace)],
        ranker=AffinityRanker().fit(marketplace),
        merge=Merge(weights={"popular": 9.0, "itemcf": 2.0, "nearline": 1.0}, pool=50),
        metrics={"itemcf": {"hr@10": 0.5}},
        now=1_700_000_000,
    )
    assert len(set(releases.listed(root))) == 2
    assert releases.read_manifest(root / again).merge.weights["popular"] == 9.0
    assert build(root, marketplace, now=1_700_000_000) in releases.listed(root)
    assert len(releases.listed(root)) == 2, "the same release built twice is one"


def test_another_format_is_refused(root: Path) -> None:
    path = root / releases.listed(root)[0] / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 9'))
    with pytest.raises(ReleaseError, match="has format 9; this version reads 1"):
        releases.load(path.parent)
