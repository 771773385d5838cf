from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater.data import Dataset, Vocabulary
from headwater.data.packed import pack, unpack
from headwater.errors import ArtefactError


def rated(time_unit: str = "seconds") -> Dataset:
    """Integer users, string items with awkward ids, ratings, and attributes with nulls and lists."""
    ids = ["a", "ä\x00b", ""]
    return Dataset.from_events(
        "rated",
        Vocabulary([7, -(2**62)]),
        Vocabulary(ids),
        event_users=np.array([0, 1, 0], np.int32),
        event_items=np.array([2, 0, 1], np.int32),
        event_times=np.array([30, 20, 10]),
        event_ratings=np.array([3.5, np.nan, 1.0], np.float32),
        item_attributes=pa.table(
            {
                "id": ids,
                "year": pa.array([1999, None, 2001]),
                "genres": [["x", "y"], [], None],
                "category": ["c", None, "d"],
            }
        ),
        time_unit=time_unit,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("time_unit", ["seconds", "position"])
def test_a_packed_data_set_comes_back_whole(tmp_path: Path, time_unit: str) -> None:
    dataset = rated(time_unit)
    pack(dataset, tmp_path / "folder" / "set.npz")
    again = unpack(tmp_path / "folder" / "set.npz")
    assert again.checksum() == dataset.checksum()
    assert (again.name, again.time_unit) == ("rated", time_unit)
    assert again.items.ids == dataset.items.ids
    assert again.item_attributes.equals(dataset.item_attributes)
    assert again.user_attributes.equals(dataset.user_attributes)
    np.testing.assert_array_equal(again.event_ratings, dataset.event_ratings)


def test_nothing_in_the_file_is_pickled_and_nothing_is_left_beside_it(marketplace: Dataset, tmp_path: Path) -> None:
    pack(marketplace, tmp_path / "set.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.npz"]
    with np.load(tmp_path / "set.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    assert unpack(tmp_path / "set.npz").event_ratings is None


def test_a_damaged_missing_or_foreign_file_is_refused_by_name(marketplace: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    pack(marketplace, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[: len(whole) // 2], bytes(flipped), b"PK nothing"):
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"set\.npz"):
            unpack(path)
    np.savez(path, format=np.array("another"))
    with pytest.raises(ArtefactError, match="has format another"):
        unpack(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ArtefactError, match="no packed data set"):
        unpack(tmp_path / "array.npy")
    with pytest.raises(ArtefactError, match="headwater data pack"):
        unpack(tmp_path / "absent.npz")


def test_altered_events_are_found_even_where_the_archive_is_sound(marketplace: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    pack(marketplace, path)
    with np.load(path) as archive:
        columns = {name: archive[name] for name in archive.files}
    columns["event_items"] = columns["event_items"][::-1].copy()
    np.savez(path, **columns)
    with pytest.raises(ArtefactError, match="was altered"):
        unpack(path)
