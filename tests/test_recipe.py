"""A recipe is understood whole or refused by key."""

from pathlib import Path

import pytest

from headwater.errors import ConfigError
from headwater.recipe import load_recipe

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
        (GOOD + "[merge]\nweights = { itemfc = 1 }", "merge.weights names 'itemfc'"),
        (GOOD + "[split]\nkind = 'random'", "split.kind"),
        (GOOD + "[evaluate]\nks = []", "evaluate.ks"),
        (GOOD + "[evaluate]\nks = [0]", "evaluate.ks"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "recipe.toml"))
