"""A recipe is understood whole or refused by key."""

from pathlib import Path

import pytest

from headwater.data import Dataset
from headwater.data.disk import save_dataset
from headwater.data.packed import pack
from headwater.errors import ConfigError, DatasetUnavailable
from headwater.recipe import load_recipe, load_recipes

RECIPES = [
    path
    for folder in ("recipes", "recipes/table")
    for path in sorted((Path(__file__).parents[1] / folder).glob("*.toml"))
]


GOOD = "dataset = 'x'\n[[channels]]\nkind = 'itemcf'\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_of_the_project_reads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.channels
    assert recipe.model_dump()["channels"][0]["kind"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"needs at least one \[\[channels\]\]"),
        (GOOD + "neigbours = 5", r"channels\[0\]: unknown key 'neigbours'; did you mean 'neighbours'"),
        ("dataset = 'x'\n[[channels]]\nkind = 'itemfc'", r"channels\[0\].kind: .*did you mean 'itemcf'"),
        ("dataset = 'x'\n[[channels]]\nneighbours = 5", r"channels\[0\]: needs a `kind`"),
        (GOOD + "neighbours = 'many'", r"channels\[0\]: neighbours: .*integer"),
        (GOOD + "[[channels]]\nkind = 'itemcf'", "two channels are named 'itemcf'"),
        ("dataset = 'x'\n[channels]\nkind = 'itemcf'", r"channels must be tables: \[\[channels\]\]"),
        ("[[channels]]\nkind = 'itemcf'", "dataset: field required"),
        ("datset = 'x'\n[[channels]]\nkind = 'itemcf'", "unknown key 'datset'; did you mean 'dataset'"),
        (GOOD + "[merge]\nweights = { itemfc = 1 }", "merge.weights names 'itemfc'.*did you mean 'itemcf'"),
        (GOOD + "[split]\nkind = 'random'", "split.kind"),
        (GOOD + "[evaluate]\nks = []", "evaluate.ks"),
        (GOOD + "[evaluate]\nks = [0]", "evaluate.ks"),
        (GOOD + "[evaluate]\nincremental_ks = []", "evaluate.incremental_ks"),
        ("min_item_interactions = 0\n" + GOOD, "min_item_interactions"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "recipe.toml"))


def test_a_recipe_takes_what_it_does_not_set_from_the_one_it_inherits(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_text(f"min_item_interactions = 5\n{GOOD}neighbours = 7\n", encoding="utf-8")
    small = load_recipe(written(tmp_path, "inherits = 'large.toml'\ndataset = 'y'"))
    assert (small.dataset, small.min_item_interactions) == ("y", 5)
    assert small.channels == load_recipe(tmp_path / "large.toml").channels
    other = load_recipe(written(tmp_path, "inherits = 'large.toml'\n[[channels]]\nkind = 'popular'"))
    assert [channel.name for channel in other.channels] == ["popular"]


def test_what_cannot_be_inherited_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"away.toml does not exist"):
        load_recipe(written(tmp_path, "inherits = 'away.toml'"))
    (tmp_path / "middle.toml").write_text("inherits = 'large.toml'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"which inherits itself; name 'large.toml' here"):
        load_recipe(written(tmp_path, "inherits = 'middle.toml'"))


def test_a_folder_gives_its_recipes_by_name_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recipe"):
        load_recipes(tmp_path)
    for name in ("b", "a"):
        (tmp_path / f"{name}.toml").write_text(GOOD, encoding="utf-8")
    assert list(load_recipes(tmp_path)) == ["a", "b"]
    assert list(load_recipes(tmp_path / "b.toml")) == ["b"]


def test_rare_items_are_left_out_of_the_recipes_data_set(tmp_path: Path, marketplace: Dataset) -> None:
    save_dataset(marketplace, tmp_path / "data" / "marketplace", source="made up")
    recipe = load_recipe(written(tmp_path, GOOD.replace("'x'", "'marketplace'")))
    assert recipe.load_dataset(tmp_path).checksum() == marketplace.checksum()
    frequent = recipe.model_copy(update={"min_item_interactions": 20}).load_dataset(tmp_path)
    assert frequent.name == "marketplace (items >= 20)"
    assert 0 < len(frequent.items) < len(marketplace.items)


def test_a_packed_file_stands_in_for_the_home_only_where_it_is_the_same_set(
    tmp_path: Path, marketplace: Dataset
) -> None:
    recipe = load_recipe(written(tmp_path, GOOD.replace("'x'", "'marketplace'")))
    packed = tmp_path / "packed" / "marketplace.npz"
    pack(marketplace, packed)
    for given in (packed, packed.parent):
        assert recipe.load_dataset(tmp_path / "nowhere", packed=given).checksum() == marketplace.checksum()
    other = recipe.model_copy(update={"dataset": "shop"})
    with pytest.raises(ConfigError, match=r"holds 'marketplace', and the recipe asks for 'shop'"):
        other.load_dataset(tmp_path, packed=packed)
    with pytest.raises(DatasetUnavailable, match="shop"):
        other.load_dataset(tmp_path, packed=packed.parent)


def test_scenarios_may_be_nearline_channels_of_their_own(tmp_path: Path) -> None:
    weights = "[merge.weights]\nitemcf = 2\n'nearline/main_search' = 3\n'nearline/in_shop' = 1\n"
    assert load_recipe(written(tmp_path, GOOD + weights)).merge.nearline == ["nearline/main_search", "nearline/in_shop"]
    assert load_recipe(written(tmp_path, GOOD)).merge.nearline == ["nearline"]
    with pytest.raises(ConfigError, match="names both 'nearline' and 'nearline/main_search'"):
        load_recipe(written(tmp_path, GOOD + weights + "nearline = 1\n"))


def test_a_recipe_may_ask_for_a_sample_of_the_requests(tmp_path: Path, marketplace: Dataset) -> None:
    split = load_recipe(written(tmp_path, GOOD + "[split]\nrequests = 7\n")).split.split(marketplace)
    assert len(split.test) == len(split.validation) == 7
    assert len(load_recipe(written(tmp_path, GOOD)).split.split(marketplace).test) > 7
