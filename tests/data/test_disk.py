"""Data sets in folders: whole or not at all."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater.data import Dataset, Vocabulary
from headwater.data.catalogue import load
from headwater.data.disk import MANIFEST, PARTS, load_dataset, read_manifest, save_dataset
from headwater.errors import ArtefactError


def small(**changes: object) -> Dataset:
    dataset = Dataset.from_events(
        "small",
        Vocabulary([7, 5]),
        Vocabulary(["ä", "b", "c"]),
        event_users=np.array([0, 1, 0], np.int32),
        event_items=np.array([1, 2, 0], np.int32),
        event_times=np.array([3, 1, 2]),
        event_ratings=np.array([1, 2.5, 3], np.float32),
        item_attributes=pa.table({"id": ["ä", "b", "c"], "title": ["A", None, "C"], "genres": [["x"], [], None]}),
    )
    return replace(dataset, **changes)  # type: ignore[arg-type]


def test_what_was_saved_comes_back(tmp_path: Path, marketplace: Dataset) -> None:
    for dataset in (small(), small(event_ratings=None, time_unit="position"), marketplace):
        manifest = save_dataset(dataset, tmp_path / dataset.name, source="a test")
        loaded = load_dataset(tmp_path / dataset.name)
        assert loaded.checksum() == dataset.checksum() == manifest.checksum
        assert (loaded.name, loaded.time_unit) == (dataset.name, dataset.time_unit)
        assert loaded.item_attributes.equals(dataset.item_attributes)
        assert loaded.user_attributes.equals(dataset.user_attributes)
        assert (loaded.event_ratings is None) == (dataset.event_ratings is None)
        for column in ("offsets", "event_items", "event_times", "event_behaviours"):
            assert getattr(loaded, column).dtype == getattr(dataset, column).dtype
            assert getattr(loaded, column).tolist() == getattr(dataset, column).tolist()


def test_a_data_set_without_any_event_comes_back(tmp_path: Path) -> None:
    empty = small().keep(np.zeros(3, bool))
    save_dataset(empty, tmp_path / "empty")
    assert load_dataset(tmp_path / "empty").checksum() == empty.checksum()


def test_the_folder_says_what_it_holds(tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small", source="a test")
    manifest = read_manifest(tmp_path / "small")
    assert (manifest.users, manifest.items, manifest.interactions, manifest.source) == (2, 3, 3, "a test")
    assert "order of the input" in manifest.tie_rule
    assert {path.name for path in (tmp_path / "small").iterdir()} == {MANIFEST, *PARTS}


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small")
    save_dataset(small(event_ratings=None), tmp_path / "small")
    assert load_dataset(tmp_path / "small").event_ratings is None
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_failing_save_leaves_the_old_data_set_and_nothing_else(tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small")
    with pytest.raises(pa.ArrowException):
        save_dataset(small(event_times=np.zeros(99, np.int64)), tmp_path / "small")
    assert load_dataset(tmp_path / "small").checksum() == small().checksum()
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_an_error_while_the_new_data_set_is_moved_in_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_dataset(small(), tmp_path / "small")
    rename = Path.rename

    def full_disk(path: Path, target: Path) -> Path:
        if path.name == "content":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_dataset(small(event_ratings=None), tmp_path / "small")
    assert load_dataset(tmp_path / "small").event_ratings is not None
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


KILLED_BETWEEN_THE_MOVES = """
import os, signal, sys
from pathlib import Path
from headwater.data.disk import load_dataset, save_dataset
rename = Path.rename
def move(path, target):
    if path.name == "content":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = move
save_dataset(load_dataset(sys.argv[1]), sys.argv[1])
"""


@pytest.mark.parametrize("by", ["load_dataset", "load", "a save that fails"])
def test_what_a_writer_killed_between_the_two_moves_had_put_away_comes_back(by: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "[small]"
    save_dataset(small(), folder)
    done = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_THE_MOVES, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not folder.exists()
    if by == "a save that fails":
        with pytest.raises(pa.ArrowException):
            save_dataset(small(event_times=np.zeros(99, np.int64)), folder)
    found = load("[small]", tmp_path) if by == "load" else load_dataset(folder)
    assert found.checksum() == small().checksum()
    assert [path.name for path in folder.parent.iterdir()] == ["[small]"]


def test_a_writer_that_lives_is_not_disturbed(tmp_path: Path) -> None:
    busy = tmp_path / ".small.x.partial"
    (busy / "old").mkdir(parents=True)
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ArtefactError, match="is not a data set"):
        load_dataset(tmp_path / "small")
    assert (busy / "old").is_dir()
    os.close(lock)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(ArtefactError, match="holds something other than a data set"):
        save_dataset(small(), tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"meow"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_file_is_named(part: str, damage: str, tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small")
    path = tmp_path / "small" / part
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:-1] if damage == "truncated" else whole[:middle] + b"?" + whole[middle + 1 :])
    with pytest.raises(ArtefactError, match=f"{part} is (missing|truncated or was altered). Fetch or import"):
        load_dataset(tmp_path / "small")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"checksum": "0" * 32}, "do not belong together"),
        ({"users": "many"}, "users"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(change: dict, said: str, tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small")
    path = tmp_path / "small" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtefactError, match=said):
        load_dataset(tmp_path / "small")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_broken_manifest_is_refused(text: str, tmp_path: Path) -> None:
    save_dataset(small(), tmp_path / "small")
    (tmp_path / "small" / MANIFEST).write_text(text)
    with pytest.raises(ArtefactError, match=r"dataset\.json"):
        load_dataset(tmp_path / "small")


def test_a_folder_without_a_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"is not a data set: it has no dataset\.json"):
        load_dataset(tmp_path)


WRITER = """
import sys
import numpy as np
from headwater.data import Dataset, Vocabulary
from headwater.data.disk import save_dataset
n = 400_000
random = np.random.default_rng(0)
dataset = Dataset.from_events(
    "big", Vocabulary(np.arange(1000)), Vocabulary(np.arange(5000)),
    event_users=random.integers(0, 1000, n).astype(np.int32), event_items=random.integers(0, 5000, n).astype(np.int32),
    event_times=random.integers(0, 10**9, n),
)
print("ready", flush=True)
while True:
    save_dataset(dataset, sys.argv[1])
"""


def test_a_killed_writer_leaves_a_whole_data_set_or_none_and_the_next_one_sweeps_up(tmp_path: Path) -> None:
    folder = tmp_path / "big"
    for delay in (0.02, 0.05, 0.11):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(delay)
            os.kill(writer.pid, signal.SIGKILL)
        if folder.exists():
            assert len(load_dataset(folder)) == 400_000
    save_dataset(small(), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["big"]
    assert len(load_dataset(folder)) == 3
