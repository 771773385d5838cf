from pathlib import Path

import pytest

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError


class Inner(Settings):
    depth: int = 1


class Outer(Settings):
    neighbours: int = 10
    inner: Inner = Inner()


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"here: unknown key 'neigbours'; did you mean 'neighbours'\?"):
        parse(Outer, {"neigbours": 5}, "here")


def test_an_unknown_key_of_a_nested_table_is_named_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'inner.dept'; did you mean 'depth'"):
        parse(Outer, {"inner": {"dept": 2}}, "here")


def test_a_value_of_another_type_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"here: inner.depth: .*integer.*\(got 'deep'\)"):
        parse(Outer, {"inner": {"depth": "deep"}}, "here")


def test_a_missing_file_lists_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.toml").write_text("")
    with pytest.raises(ConfigError, match=r"does not exist; there is .*ml-1m.toml"):
        read_toml(tmp_path / "ml1m.toml")


def test_broken_toml_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("a = 1\nb =\n")
    with pytest.raises(ConfigError, match=r"bad.toml: .*line 2"):
        read_toml(tmp_path / "bad.toml")
