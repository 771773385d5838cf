"""Ranking models of a recipe: on held-out days, and day after day."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.data.impression_log import log_path
from headwater.data.packed import pack_impressions, unpack_impressions
from headwater.errors import ConfigError, SchemaError
from headwater.experiment.ranking import evaluate_models, load_rank_recipe, progressive
from headwater.experiment.ranking.recipe import activity_of
from headwater.ranking.model import MODELS
from headwater.search import load_search, run
from made_up_log import made_up

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "ranking").glob("*.toml"))

RECIPE = """
[data]
kind = "log"
name = "made-up"

[days]
validation = 5
test = 6

[inputs]
item_attributes = ["category"]
context = ["scenario"]

[[models]]
kind = "logistic"
l2 = 3.0
bins = 8

[[models]]
kind = "lightgbm"
rounds = 20
leaves = 7
min_samples = 20
threads = 1

[evaluate]
activity = [20, 60]
bins = 5
"""


def written(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_ranking_recipe_of_the_project_can_be_read(path: Path) -> None:
    assert load_rank_recipe(path).models


def test_each_model_is_trained_on_earlier_days_and_measured_on_later_ones(tmp_path: Path) -> None:
    impressions = made_up()
    recipe = load_rank_recipe(written(tmp_path))
    assert recipe.models[1].item_attributes == ("category",)
    table = evaluate_models(recipe, impressions)
    assert [(row.model, row.task) for row in table.rows] == [
        (model, task) for model in ("logistic", "lightgbm") for task in ("click", "conversion")
    ]
    for row in table.rows:
        assert (row.train_until, row.days) == (5, (6, 7))
        assert row.trained == (impressions.days < 6).sum()
        assert row.predicted == (impressions.days >= 6).sum()
        assert list(row.by_activity) == ["0-20", "20-60", "60+"]
        assert sum(part.samples for part in row.by_activity.values()) == row.whole.samples
    clicks = int(impressions.labels["click"][impressions.days >= 6].sum())
    assert table.rows[0].whole.positives == clicks == table.rows[1].whole.samples
    assert table.rows[0].whole.auc > 0.7
    validation = evaluate_models(recipe, impressions, part="validation")
    assert (validation.rows[0].train_until, validation.rows[0].days) == (4, (5, 5))


def test_activity_counts_what_a_user_liked_before_the_measured_days() -> None:
    train, test = made_up().split_days(5, 6, 7)
    liked = np.zeros(40, int)
    np.add.at(liked, train.user_codes, train.labels["click"])
    np.testing.assert_array_equal(activity_of(train, test), liked[test.user_codes])
    stranger = replace(test, user_codes=np.full(len(test), -1, np.int32))
    assert not activity_of(train, stranger).any()


class Recorder:
    """A model that learns nothing and writes down what it was given."""

    seen: list[tuple[int, int]] = []  # noqa: RUF012 - one list for every instance is the point
    is_incremental = True

    def __init__(self, config: Any) -> None:
        self.config = config
        self.name = config.name

    def fit(self, impressions: Any, *, validate: Any = None) -> "Recorder":
        self.seen.append((int(impressions.days[0]), int(impressions.days[-1])))
        return self

    def predict(self, impressions: Any) -> dict[str, np.ndarray]:
        return {"click": np.full(len(impressions), 0.5, np.float32)}


def test_next_day_evaluation_trains_through_the_day_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impressions = made_up()
    recipe = load_rank_recipe(written(tmp_path)).only(["logistic"])
    table = progressive(recipe, impressions, first=4, last=6)
    clicks = [row for row in table.rows if row.task == "click"]
    assert [(row.train_until, row.days) for row in clicks] == [(3, (4, 4)), (4, (5, 5)), (5, (6, 6))]
    skipped = sum(row.whole.skipped_users for row in clicks)
    everybody = skipped + sum(row.whole.users for row in clicks)
    assert any(f"{skipped:,} of {everybody:,} (click), " in note for note in table.notes())
    # The same day predicted from the same days is the same figure, however it is asked for.
    again = progressive(recipe, impressions, first=6, last=6)
    assert again.rows[0].whole.auc == clicks[-1].whole.auc

    monkeypatch.setattr("headwater.experiment.ranking.run.model_class", lambda kind: Recorder)
    Recorder.seen.clear()
    progressive(recipe, impressions, first=4, last=6)
    assert Recorder.seen == [(0, 3), (4, 4), (5, 5)]
    monkeypatch.setattr(Recorder, "is_incremental", False)
    Recorder.seen.clear()
    progressive(recipe, impressions, first=4, last=6)
    assert Recorder.seen == [(0, 3), (0, 4), (0, 5)]


def test_a_day_without_clicks_is_passed_over_and_named(tmp_path: Path) -> None:
    impressions = made_up(conversions=False)
    quiet = np.where(impressions.days == 5, 0, impressions.labels["click"]).astype(np.int8)
    silent = replace(impressions, labels={"click": quiet})
    recipe = load_rank_recipe(written(tmp_path)).only(["logistic"])
    table = progressive(recipe, silent, first=4, last=6)
    assert [row.days[0] for row in table.rows] == [4, 6]
    assert "days without a click: 5" in table.notes()
    with pytest.raises(ConfigError, match="no day from 5 to 5"):
        progressive(recipe, silent, first=5, last=5)
    whole = evaluate_models(recipe, silent, part="validation")
    assert whole.to_json()["rows"][0]["whole"]["gauc"] is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'kind = "logistic"',
            'kind = "logistc"',
            r"models\[0\].kind: unknown model 'logistc'; did you mean 'logistic'",
        ),
        ("l2 = 3.0", "l3 = 3.0", r"models\[0\]: unknown key 'l3'; did you mean 'l2'"),
        (
            'kind = "lightgbm"\nrounds = 20\nleaves = 7\nmin_samples = 20\nthreads = 1',
            'kind = "logistic"',
            "two models",
        ),
        ("test = 6", "test = 5", "0 < validation < test"),
        ('kind = "logistic"\n', "", "needs a `kind`"),
    ],
)
def test_a_faulty_recipe_is_refused_by_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_rank_recipe(written(tmp_path, RECIPE.replace(old, new, 1)))


def test_names_that_a_recipe_does_not_have_are_refused(tmp_path: Path) -> None:
    recipe = load_rank_recipe(written(tmp_path))
    with pytest.raises(ConfigError, match="did you mean 'logistic'"):
        recipe.only(["logstic"])
    days = recipe.days.model_copy(update={"test": 8, "until": 9})
    with pytest.raises(SchemaError, match="no impression on days 8 to 9"):
        days.split(made_up(), "test")
    text = RECIPE[: RECIPE.index("[[models]]")]
    with pytest.raises(ConfigError, match=f"at least one .*kinds: {', '.join(MODELS)}"):
        load_rank_recipe(written(tmp_path, text))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    pack_impressions(made_up(), log_path("made-up", tmp_path / "home"))
    return tmp_path / "home"


def test_the_commands_print_tables_and_leave_json_and_pictures(tmp_path: Path, home: Path) -> None:
    recipe, results = str(written(tmp_path)), tmp_path / "results"
    places = ["--home", str(home), "--results", str(results)]
    done = CliRunner().invoke(app, ["rank", "evaluate", recipe, "--activity", *places])
    assert done.exit_code == 0, done.output
    for word in ("logistic", "lightgbm", "conversion", "GAUC", "20-60", "are skipped"):
        assert word in done.output
    document = json.loads((results / "rank-recipe-test.json").read_text())
    assert [row["model"] for row in document["rows"]] == ["logistic"] * 2 + ["lightgbm"] * 2
    assert f"{document['rows'][2]['whole']['gauc']:.4f}" in done.output
    assert (results / "rank-recipe-test.png").read_bytes().startswith(b"\x89PNG")
    done = CliRunner().invoke(
        app, ["rank", "days", recipe, "--first", "5", "--last", "6", "--model", "logistic", *places]
    )
    assert done.exit_code == 0, done.output
    assert "mean" in done.output
    assert (results / "rank-recipe-next-day.png").read_bytes().startswith(b"\x89PNG")
    assert {row["days"][0] for row in json.loads((results / "rank-recipe-next-day.json").read_text())["rows"]} == {5, 6}


BEHAVIOURS = """
[data]
kind = "behaviours"
name = "shop"
negatives = 3

[days]
validation = 3
test = 4

[inputs]
context = ["hour"]

[[models]]
kind = "logistic"
l2 = 3.0
bins = 8

[[models]]
kind = "din"
dimension = 4
hidden = [8]
training = { epochs = 1, batch_size = 32, learning_rate = 0.01, device = "cpu", threads = 1 }
"""


def test_a_log_of_clicks_carts_and_purchases_is_imported_and_measured_beside_drawn_negatives(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    lines = ["who,what,did,at"]
    for day in range(6):
        for user in range(30):
            for at in np.sort(random.integers(0, 80_000, 6)).tolist():
                item = user % 3 + 3 * int(random.integers(8))  # everybody keeps to a third of the shop
                lines.append(f"u{user},i{item},pv,{day * 86_400 + at}")
                if random.random() < 0.4:
                    lines.append(f"u{user},i{item},cart,{day * 86_400 + at + 60}")
                    lines.append(f"u{user},i{item},buy,{day * 86_400 + at + 120}")
    log, home = tmp_path / "shop.csv", ["--home", str(tmp_path / "home")]
    log.write_text("\n".join(lines), encoding="utf-8")
    columns = ["--user", "who", "--item", "what", "--behaviour", "did", "--time", "at"]
    words = ["--behaviour-map", "pv=click", "--behaviour-map", "buy=purchase"]
    done = CliRunner().invoke(app, ["data", "import", str(log), *columns, *words, *home])
    assert done.exit_code == 0, done.output
    recipe = str(written(tmp_path, BEHAVIOURS))
    done = CliRunner().invoke(app, ["rank", "evaluate", recipe, "--results", str(tmp_path / "results"), *home])
    assert done.exit_code == 0, done.output
    assert "sampled" in done.output
    rows = json.loads((tmp_path / "results" / "rank-recipe-test.json").read_text())["rows"]
    assert [(row["model"], row["task"]) for row in rows] == [
        (model, task) for model in ("logistic", "din") for task in ("click", "cart", "conversion")
    ]
    clicks, carts, _ = (row["whole"] for row in rows[:3])
    assert clicks["auc"] > 0.6
    assert carts["samples"] == clicks["positives"]
    assert clicks["samples"] > 3 * clicks["positives"]


def test_settings_are_searched_on_what_lies_before_the_test_days(tmp_path: Path, home: Path) -> None:
    packed = tmp_path / "before.npz"
    done = CliRunner().invoke(app, ["rank", "pack", str(written(tmp_path)), str(packed), "--home", str(home)])
    assert done.exit_code == 0, done.output
    assert int(unpack_impressions(packed).days[-1]) == 5
    search = tmp_path / "search.toml"
    head = 'kind = "logistic"\ntrials = 2\nmetric = "gauc"\n'
    search.write_text(head + "train_until = 4\n[base]\nbins = 8\n[space]\nl2 = [3.0, 300.0]\n")
    results = tmp_path / "trials.jsonl"
    done = CliRunner().invoke(app, ["search", str(search), "--data", str(packed), "--results", str(results)])
    assert done.exit_code == 0, done.output
    assert "GAUC" in done.output
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(line["settings"]["l2"] for line in lines) == [3.0, 300.0]
    # The same as what the recipe's validation part says of the same settings.
    recipe = load_rank_recipe(
        written(tmp_path, RECIPE.replace('item_attributes = ["category"]\ncontext = ["scenario"]', ""))
    )
    expected = evaluate_models(recipe.only(["logistic"]), made_up(), part="validation").rows[0].whole
    tried = next(line for line in lines if line["settings"]["l2"] == 3.0)
    assert tried["validation"]["metrics"]["gauc"] == pytest.approx(expected.gauc)
    assert run([load_search(search)], [packed], results) == lines or len(results.read_text().splitlines()) == 2
    search.write_text(head)
    with pytest.raises(ConfigError, match="train_until is missing"):
        load_search(search)
