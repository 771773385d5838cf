"""The command line as a user runs it: in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.data import Dataset
from headwater.data.disk import save_dataset

RECIPE = """
dataset = "marketplace"
[[channels]]
kind = "popular"
[[channels]]
kind = "itemcf"
neighbours = 30
[merge]
pool = 60
"""


def headwater(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater", *words]
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "120", "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, marketplace: Dataset) -> Path:
    """A working directory with a data set, a recipe, and a release trained from both."""
    folder = tmp_path_factory.mktemp("place")
    save_dataset(marketplace, folder / ".headwater" / "data" / "marketplace", source="made up")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    done = headwater("train", "recipe.toml", "--no-validate", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "promoted release" in done.stdout
    return folder


def test_every_verb_explains_itself(tmp_path: Path) -> None:
    for verb in ("data", "train", "evaluate", "recommend", "serve", "stream", "demo", "release", "forget"):
        done = headwater(verb, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert verb in done.stdout
        if verb not in ("data", "release"):
            assert f"Example: headwater {verb}" in " ".join(done.stdout.split())


def test_evaluate_prints_one_table_and_writes_it_as_json(place: Path) -> None:
    done = headwater("evaluate", "recipe.toml", "--part", "validation", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("popular", "itemcf", "HR@10", "NDCG@10", "99 sampled negatives", "ties in time"):
        assert word in done.stdout
    assert (place / "docs" / "results" / "evaluate-recipe-validation.json").is_file()


def test_evaluate_all_runs_a_folder_of_recipes_once(place: Path) -> None:
    table = place / "recipes" / "table"
    table.mkdir(parents=True, exist_ok=True)
    (table / "small.toml").write_text(RECIPE, encoding="utf-8")
    (table / "again.toml").write_text("inherits = 'small.toml'\nmin_item_interactions = 10\n", encoding="utf-8")
    done = headwater("evaluate", "--all", "--by-gap", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("small: itemcf: hr@10", "marketplace (items >= 10)", "union so far", "time since the last event"):
        assert word in done.stdout
    for name in ("small", "again"):
        assert (place / "docs" / "results" / f"table-{name}-test.json").is_file()
    once_more = headwater("evaluate", "--all", "--recipes", "recipes/table/small.toml", cwd=place)
    assert once_more.returncode == 0, once_more.stderr
    assert "hr@10" not in once_more.stdout, "nothing is run again"
    assert "HR@10" in once_more.stdout
    shown = headwater("evaluate", "--all", "--no-run", "--part", "validation", cwd=place)
    assert shown.returncode == 0, shown.stderr
    assert "not run" in shown.stdout
    assert not list((place / "docs" / "results").glob("table-*-validation.json"))


def test_recommend_gives_titles_and_says_why(place: Path) -> None:
    done = headwater("recommend", "--user", "7", "-k", "5", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "itemcf: Thing" in done.stdout
    assert "interactions, newest first" in done.stdout
    assert not (place / ".headwater" / "log").exists(), "asking in process leaves no rank log"


def test_similar_shows_titles_and_gives_json(place: Path) -> None:
    done = headwater("similar", "thing 3", "-k", "4", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "Thing 3: nearest by itemcf" in done.stdout
    assert done.stdout.count("group 0") == 4
    done = headwater("similar", "item-003", "-k", "4", "--json", cwd=place)
    assert json.loads(done.stdout)["items"][0]["id"].startswith("item-0")


def test_recommend_to_a_stranger_falls_back_to_what_is_popular(place: Path) -> None:
    done = headwater("recommend", "--user", "123456", "-k", "3", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "popular with everybody" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("recommend", "--user", "seven"), "user ids of release"),
        (("similar", "thing 3", "--channel", "popular"), "channels that do: itemcf"),
        (("similar", "Things 3"), "near are Thing 3"),
        (("similar", "thing 3", "--home", "elsewhere"), "headwater train"),
        (("reproduce", "paths", "--recipes", "nowhere"), "nowhere does not exist"),
        (("train", "recipes.toml"), "recipes.toml does not exist; there is recipe.toml"),
        (("evaluate", "recipe.toml", "--home", "elsewhere"), "marketplace"),
        (("evaluate", "--all", "--recipes", "nothing.toml"), "nothing.toml does not exist"),
        (("recommend", "--user", "7", "--home", "elsewhere"), "headwater train"),
        (("serve", "--home", "elsewhere"), "headwater train"),
        (("serve", "--host", "0.0.0.0"), "HEADWATER_TOKEN"),
        (("stream", "--policy", "nothing.toml"), "nothing.toml does not exist"),
        (("release", "promote", "nonsense"), "no release 'nonsense'"),
        (("release", "rollback"), "no release older"),
    ],
)
def test_a_mistake_is_one_clear_message_and_no_traceback(place: Path, words: tuple[str, ...], says: str) -> None:
    done = headwater(*words, cwd=place)
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("error:")


def test_release_list_marks_the_one_being_served(place: Path) -> None:
    done = headwater("release", "list", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "*" in done.stdout
    assert "popular, itemcf" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate",), "give one recipe, or --all"),
        (("evaluate", "recipe.toml", "--all"), "give one recipe, or --all"),
        (("evaluate", "recipe.toml", "--channel", "popular"), "goes with --all only"),
        (("evaluate", "recipe.toml", "--part", "train"), "neither 'test' nor 'validation'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(place: Path, words: tuple[str, ...], says: str) -> None:
    done = headwater(*words, cwd=place)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
