"""Ids that people type become keys, and keys become ids and titles."""

from pathlib import Path

import pytest

from headwater.cli.names import Names
from headwater.data import Dataset, Vocabulary, key_of
from headwater.errors import SchemaError
from headwater.experiment import train
from headwater.home import Home
from headwater.recipe import Recipe
from headwater.retrieval.classic.popular import PopularConfig

STRINGS = Vocabulary(["ann", "42"])


def test_a_release_says_of_which_kind_ids_are() -> None:
    assert Names("r", STRINGS).user_keys("42") == [key_of("42")]
    assert Names("r", Vocabulary([1, 2])).user_keys("42") == [42]
    assert Names("r", Vocabulary([1, 2])).user_keys("-5") == [-5]
    with pytest.raises(SchemaError, match="'ann' is none"):
        Names("r", Vocabulary([1, 2])).user_keys("ann")


def test_without_a_release_a_number_may_be_either() -> None:
    assert Names().user_keys("42") == [42, key_of("42")]
    assert Names().user_keys("ann") == [key_of("ann")]
    assert not Names().knows_user(42)
    assert Names().items_of([7]) == [(7, "")]


def test_items_have_ids_and_titles_where_the_release_knows_them() -> None:
    names = Names("r", STRINGS, Vocabulary(["a", "b"]), ["Title A", "Title B"])
    assert names.items_of([key_of("b"), 99, key_of("a")]) == [("b", "Title B"), (99, ""), ("a", "Title A")]
    assert (names.knows_user(key_of("ann")), names.knows_user(1)) == (True, False)


def test_the_promoted_release_of_a_home_is_read(tmp_path: Path, marketplace: Dataset) -> None:
    assert Names.of(Home(tmp_path)).release is None
    release = train(
        Recipe(dataset="marketplace", channels=(PopularConfig(),)), marketplace, Home(tmp_path), validate=False
    )
    names = Names.of(Home(tmp_path))
    assert names.release == release
    assert names.items_of([key_of("item-003")]) == [("item-003", "Thing 3")]
    assert names.knows_user(7)
