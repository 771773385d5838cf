"""Artefacts are written whole or not at all, and refused when they are not what was written."""

import json

import numpy as np
import pytest

from headwater.config import Settings
from headwater.data import Vocabulary
from headwater.errors import ArtefactError, LineageError
from headwater.retrieval.artefact import load_artefact, save_artefact

ITEMS = Vocabulary(["a", "b"])


class Knobs(Settings):
    depth: int = 1


class Fewer(Settings):
    width: int = 2


def write(path, *, depth: int = 1, tensor: list[float] | None = None) -> None:
    save_artefact(
        path,
        kind="toy",
        config=Knobs(depth=depth),
        vocabulary=ITEMS.fingerprint(),
        tensors={"weights": np.array([1.0, 2.0] if tensor is None else tensor, np.float32)},
    )


def test_what_was_saved_is_loaded(tmp_path) -> None:
    write(tmp_path / "toy", depth=3)
    config, tensors, n_items = load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)
    assert (config, n_items) == (Knobs(depth=3), 2)
    assert tensors["weights"].tolist() == [1.0, 2.0]


def test_the_folder_holds_two_files_and_nothing_stays_beside_it(tmp_path) -> None:
    (tmp_path / "toy").mkdir()  # an empty folder may be there already
    for depth in (1, 2):
        write(tmp_path / "toy", depth=depth)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["config.json", "tensors.safetensors"]
    assert load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)[0].depth == 2


def test_equal_artefacts_are_equal_bytes(tmp_path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name)
    for name in ("config.json", "tensors.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_with_other_things_is_left_alone(tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    for path in (tmp_path / "photos", tmp_path / "photos" / "cat.png"):
        with pytest.raises(ArtefactError, match="a folder of its own"):
            write(path)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]


def test_a_failed_save_keeps_the_older_artefact(tmp_path) -> None:
    write(tmp_path / "toy", depth=5)
    with pytest.raises(TypeError):
        save_artefact(
            tmp_path / "toy",
            kind=object(),  # type: ignore[arg-type]  # JSON has no word for it
            config=Knobs(),
            vocabulary=ITEMS.fingerprint(),
            tensors={},
        )
    assert load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)[0].depth == 5
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_what_a_killed_save_had_moved_away_is_read_again(tmp_path) -> None:
    write(tmp_path / "toy", depth=5)
    # As a writer leaves it that is killed between its two moves: no `toy`, and no lock on its own folder.
    (tmp_path / ".toy.x.partial" / "content").mkdir(parents=True)
    (tmp_path / "toy").rename(tmp_path / ".toy.x.partial" / "old")
    assert load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)[0].depth == 5
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_tensors_of_another_save_are_refused(tmp_path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", tensor=[3.0, 4.0])
    (tmp_path / "two" / "tensors.safetensors").replace(tmp_path / "one" / "tensors.safetensors")
    with pytest.raises(ArtefactError, match="truncated or altered"):
        load_artefact(tmp_path / "one", ITEMS, kind="toy", config=Knobs)


def test_another_kind_format_or_vocabulary_is_refused_by_name(tmp_path) -> None:
    write(tmp_path / "toy")
    with pytest.raises(ArtefactError, match="holds 'toy', not 'itemcf'"):
        load_artefact(tmp_path / "toy", ITEMS, kind="itemcf", config=Knobs)
    with pytest.raises(LineageError, match=r"toy at .*toy was built on another vocabulary"):
        load_artefact(tmp_path / "toy", Vocabulary(["b", "a"]), kind="toy", config=Knobs)
    with pytest.raises(ArtefactError, match=r"another version of headwater.*unknown key 'depth'"):
        load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Fewer)
    path = tmp_path / "toy" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ArtefactError, match="has format 99; this version reads 1"):
        load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)


def test_an_edited_setting_is_refused(tmp_path) -> None:
    write(tmp_path / "toy")
    path = tmp_path / "toy" / "config.json"
    path.write_text(path.read_text().replace('"depth": 1', '"depth": 2'))
    with pytest.raises(ArtefactError, match="altered"):
        load_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs)
