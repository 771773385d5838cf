"""Neighbours of an item by id or title, from any channel of a release that has similarities."""

from pathlib import Path

import pytest

from headwater import release as releases
from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError, UnknownItem
from headwater.experiment import train
from headwater.home import Home
from headwater.recipe import Recipe
from headwater.release import Release
from headwater.release.similar import find_item, similar_items
from headwater.retrieval.classic.ease import EASEConfig
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig

TITLES = ["Alien (1979)", "Aliens (1986)", "Heat (1995)", "Heat (1995)", "Up (2009)", "3"]
NUMBERS = Vocabulary([1, 2, 3, 4, 5, 6])


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, marketplace: Dataset) -> Release:
    home = Home(tmp_path_factory.mktemp("home"))
    recipe = Recipe(dataset="marketplace", channels=(PopularConfig(), ItemCFConfig(), EASEConfig(regularisation=5.0)))
    return releases.load(home.releases / train(recipe, marketplace, home, validate=False))


@pytest.mark.parametrize(
    ("typed", "code"),
    [("1", 0), ("3", 2), ("aliens (1986)", 1), ("Alien (1979)", 0), ("  up (2009) ", 4), ("UP", 4), ("1979", 0)],
)
def test_an_item_is_found_by_id_then_by_title_then_by_a_part_of_one_title(typed: str, code: int) -> None:
    assert find_item(NUMBERS, TITLES, typed) == code


def test_text_ids_are_found_as_they_are_even_where_they_look_like_numbers() -> None:
    assert find_item(Vocabulary(["7", "b"]), ["Seven", "7"], "7") == 0


def test_titles_that_several_items_have_are_listed_with_their_ids() -> None:
    with pytest.raises(UnknownItem, match=r"fits 2 items: Heat \(1995\) \(id 3\); Heat \(1995\) \(id 4\)\. Give"):
        find_item(NUMBERS, TITLES, "heat (1995)")
    with pytest.raises(UnknownItem, match=r"'alien' fits 2 items: Alien \(1979\) \(id 1\); Aliens"):
        find_item(NUMBERS, TITLES, "alien")
    many = Vocabulary(range(20))
    with pytest.raises(UnknownItem, match=r"fits 20 items: .*; and 12 more"):
        find_item(many, [f"part {at}" for at in range(20)], "part")


@pytest.mark.parametrize("typed", ["Allien (1979)", "", "-3", "999"])
def test_what_is_nowhere_is_said_with_what_is_near(typed: str) -> None:
    with pytest.raises(UnknownItem, match=r"near are Alien \(1979\) \(id 1\)" if typed[:1] == "A" else "no item has"):
        find_item(NUMBERS, TITLES, typed)


def test_neighbours_are_the_channels_own_best_first(release: Release) -> None:
    found = similar_items(release, "item-003", k=5)
    assert (found.channel, found.title, len(found.items)) == ("itemcf", "Thing 3", 5)
    channel = release.channels[1]
    for near in found.items:
        code = release.items.code(near.id)
        assert near.similarity == channel.similarities([3], [code])[0, 0]  # type: ignore[attr-defined]
        assert (near.title, near.category) == (f"Thing {code}", f"group {code // 25}")
    assert [near.similarity for near in found.items] == sorted((near.similarity for near in found.items), reverse=True)
    assert {near.category for near in found.items} == {"group 0"}, "the marketplace's users keep to one group"


def test_a_channel_is_chosen_by_name_and_must_have_similarities(release: Release) -> None:
    assert similar_items(release, "item-003", channel="ease").channel == "ease"
    with pytest.raises(ConfigError, match=r"popular says nothing .* that do: itemcf, ease"):
        similar_items(release, "item-003", channel="popular")
    with pytest.raises(ConfigError, match="did you mean 'itemcf'"):
        similar_items(release, "item-003", channel="itemfc")


def test_a_release_without_similarities_says_so(tmp_path: Path, marketplace: Dataset) -> None:
    recipe = Recipe(dataset="marketplace", channels=(PopularConfig(),))
    home = Home(tmp_path)
    only = releases.load(home.releases / train(recipe, marketplace, home, validate=False))
    with pytest.raises(ConfigError, match="knows items from each other"):
        similar_items(only, "item-003")
