"""The policy's defaults are the paper's, and a faulty file is named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from headwater.errors import ConfigError
from headwater.nearline import Policy, PolicyFile


def test_the_defaults_are_the_documented_ones() -> None:
    policy = Policy()
    assert (policy.visits, policy.category_cap, policy.k, policy.alpha, policy.beta) == (10, 20, 200, 50, 10)
    assert (policy.max_age_seconds, policy.target) == (7 * 86_400, "homepage")
    expected = {"mini_detail": 500, "post_purchase": 500, "main_search": 500, "in_shop": 20, "photo_search": 20}
    assert {scenario: policy.truncation(scenario) for scenario in expected} == expected
    assert policy.truncation("unheard of") == 500


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("k = 50\ntruncate_other = 0\n[truncate]\ncart = 30\n")
    policy = Policy.load(path)
    assert (policy.k, policy.visits) == (50, 10)
    assert (policy.truncation("cart"), policy.truncation("in_shop")) == (30, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alhpa = 3", r"alhpa.*'alpha'"),
        ("alpha = 0", "alpha"),
        ("beta = -1", "beta"),
        ("beta = 2.5", "beta"),
        ("visits = 251", "visits"),
        ("[truncate]\nin_shop = 0", r"truncate\.in_shop"),
        ("k = ", "policy.toml"),
    ],
)
def test_a_faulty_key_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Policy.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Policy.load(tmp_path / "none.toml")


def test_a_policy_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Policy().k = 5  # type: ignore[misc]


def test_a_policy_file_is_read_again_when_it_changed_and_kept_when_it_is_broken_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("k = 5")
    watched = PolicyFile(path)
    first = watched.current()
    assert (first.k, watched.current() is first, watched.fault) == (5, True, "")
    path.write_text("alhpa = 77")
    assert watched.current() is first
    assert "'alpha'" in watched.fault
    path.unlink()
    assert watched.current() is first
    assert "does not exist" in watched.fault
    path.write_text("k = 123")
    assert (watched.current().k, watched.fault) == (123, "")


def test_a_policy_file_that_is_broken_from_the_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("k = 0")
    with pytest.raises(ConfigError, match="k"):
        PolicyFile(tmp_path / "policy.toml")


def test_the_sources_are_all_but_the_target_unless_they_are_named() -> None:
    assert [Policy().is_source(name) for name in ("homepage", "main_search")] == [False, True]
    assert [Policy(sources=("in_shop",)).is_source(name) for name in ("in_shop", "main_search")] == [True, False]
    assert [Policy().glare().is_source(name) for name in ("homepage", "main_search")] == [True, False]
