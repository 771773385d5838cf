"""Artefacts are written whole or not at all, and refused when they are not what was written."""

import json

import numpy as np
import pytest

from headwater.config import Settings
from headwater.data import Vocabulary
from headwater.errors import ArtefactError, LineageError
from headwater.retrieval.artefact import load_artefact, map_tensors, open_artefact, save_artefact, write_tensors

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


def test_mapped_tensors_are_what_was_written_and_cannot_be_written_to(tmp_path) -> None:
    tensors = {
        "floats": np.linspace(0, 1, 7, dtype=np.float32).reshape(7, 1),
        "bytes": np.arange(5, dtype=np.uint8),
        "codes": np.array([[1, -2], [3, 4]], np.int32),
        "keys": np.array([-(2**40)], np.int64),
        "nothing": np.zeros((0, 3), np.float32),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    }
    checksum = write_tensors(tmp_path / "t", tensors)
    found = map_tensors(tmp_path / "t", checksum)
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)
        assert (found[name].dtype, found[name].flags.writeable) == (values.dtype, False)
        assert found[name].flags.aligned
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="t is truncated or altered; train it again"):
        map_tensors(tmp_path / "t", checksum)
    with pytest.raises(ArtefactError, match="u is missing; train it again"):
        map_tensors(tmp_path / "u", checksum)


def test_other_files_lie_beside_the_tensors_and_go_with_them(tmp_path) -> None:
    def note(text: str):
        def put(path) -> str:
            path.write_text(text)
            return text.upper()

        return put

    about = {"kind": "toy", "config": Knobs(), "vocabulary": ITEMS.fingerprint(), "tensors": {}}
    save_artefact(tmp_path / "toy", **about, files={"one": note("a"), "two": note("b")})
    assert open_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs).files == {"one": "A", "two": "B"}
    save_artefact(tmp_path / "toy", **about, files={"two": note("c")})
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["config.json", "tensors.safetensors", "two"]
    save_artefact(tmp_path / "toy", **about)
    assert open_artefact(tmp_path / "toy", ITEMS, kind="toy", config=Knobs).files == {}
    (tmp_path / "toy" / "two").write_text("somebody else's")
    with pytest.raises(ArtefactError, match="a folder of its own"):
        save_artefact(tmp_path / "toy", **about)
