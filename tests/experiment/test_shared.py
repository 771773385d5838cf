"""The shared table: resumable, whole or honest about what is not there."""

import json
from pathlib import Path

import pytest
from small_recipes import recipe_of

from headwater.data import Dataset
from headwater.data.disk import save_dataset
from headwater.data.packed import pack
from headwater.errors import ConfigError
from headwater.experiment import Outcome, Row, evaluate_all
from headwater.recipe import Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.mf import MFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig


@pytest.fixture
def home(tmp_path: Path, marketplace: Dataset) -> Path:
    save_dataset(marketplace, tmp_path / "home" / "data" / "marketplace", source="made up")
    return tmp_path / "home"


class Run:
    """One call, and which runs it did not find done."""

    def __init__(self, recipes: dict[str, Recipe], home: Path, **options) -> None:
        self.fresh: list[tuple[str, str, int | None]] = []
        folder = home.parent / "results"
        self.outcomes: list[Outcome] = list(evaluate_all(recipes, home, folder, ended=self._ended, **options))

    def _ended(self, name: str, row: Row) -> None:
        self.fresh.append((name, row.channel, row.seed))

    def table(self):
        (outcome,) = self.outcomes
        assert outcome.table is not None
        return outcome.table


MF = MFConfig(factors=4, epochs=2)
REFIT = recipe_of(MF).evaluate.model_copy(update={"refit": True})


def test_a_second_run_measures_nothing_and_shows_the_same_table(home: Path) -> None:
    recipes = {"small": recipe_of(PopularConfig(), MF)}
    first, second = Run(recipes, home), Run(recipes, home)
    assert first.fresh == [("small", "popular", None), ("small", "mf", 0)]
    assert second.fresh == []
    assert [row.to_json() for row in second.table().rows] == [row.to_json() for row in first.table().rows]
    assert second.outcomes[0].is_whole


def test_what_is_there_is_shown_without_running_or_writing_anything(home: Path) -> None:
    small = {"small": recipe_of(PopularConfig(), MF)}
    done = Run(small, home, only=["popular"])
    before = done.outcomes[0].path.read_bytes()
    shown = Run({"small": small["small"].model_copy(update={"evaluate": REFIT})}, home, is_run=False)
    assert shown.fresh == []
    assert [row.channel for row in shown.table().rows] == ["popular"]
    assert shown.outcomes[0].path.read_bytes() == before
    assert Run(small, home, part="validation", is_run=False).table().rows == []
    assert not (home.parent / "results" / "table-small-validation.json").exists()


def test_only_what_changed_or_is_new_is_measured(home: Path) -> None:
    Run({"small": recipe_of(PopularConfig(), MF)}, home)
    changed = Run({"small": recipe_of(PopularConfig(), ItemCFConfig(), MFConfig(factors=5, epochs=2))}, home)
    assert [channel for _, channel, _ in changed.fresh] == ["itemcf", "mf"]
    more = Run({"small": recipe_of(PopularConfig(), ItemCFConfig(), MFConfig(factors=5, epochs=2))}, home, seeds=3)
    assert more.fresh == [("small", "mf", 1), ("small", "mf", 2)]
    assert [row.seed for row in more.table().rows] == [None, None, 0, 1, 2]


def test_a_run_that_was_stopped_goes_on_after_its_last_whole_row(home: Path) -> None:
    recipes = {"small": recipe_of(PopularConfig(), ItemCFConfig(), MF)}

    def stop(name: str, row: Row) -> None:
        if row.channel == "itemcf":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(evaluate_all(recipes, home, home.parent / "results", ended=stop))
    assert [channel for _, channel, _ in Run(recipes, home).fresh] == ["mf"]


def test_channels_can_be_chosen_and_the_others_lines_stay_empty(home: Path) -> None:
    recipes = {"small": recipe_of(PopularConfig(), ItemCFConfig(), MF)}
    run = Run(recipes, home, only=["mf"], seeds=2)
    assert run.fresh == [("small", "mf", 0), ("small", "mf", 1)]
    assert [(line.channel, len(line.rows)) for line in run.table().lines()] == [
        ("popular", 0),
        ("itemcf", 0),
        ("mf", 2),
    ]
    with pytest.raises(ConfigError, match="no recipe has a channel 'itemfc'; did you mean 'itemcf'"):
        Run(recipes, home, only=["itemfc"])


def test_a_channel_that_cannot_run_says_why_and_the_others_go_on(home: Path, learned: SASRecConfig) -> None:
    without_ratings = learned.model_copy(update={"inputs": learned.inputs.model_copy(update={"ratings": True})})
    run = Run({"small": recipe_of(without_ratings, PopularConfig())}, home)
    assert [channel for _, channel, _ in run.fresh] == ["popular"]
    assert "rating" in run.table().failures["sasrec"]
    assert "sasrec was not run: " + run.table().failures["sasrec"] in run.table().notes()
    assert not run.outcomes[0].is_whole


def test_a_data_set_that_is_not_there_does_not_keep_others_from_running(home: Path) -> None:
    here = recipe_of(PopularConfig())
    run = Run({"away": here.model_copy(update={"dataset": "ml-1m"}), "small": here}, home)
    away, small = run.outcomes
    assert away.table is None
    assert "headwater data get ml-1m" in away.reason
    assert not away.is_whole
    assert small.is_whole


def test_a_packed_data_set_and_that_of_a_home_share_their_results(home: Path, marketplace: Dataset) -> None:
    recipes = {"small": recipe_of(PopularConfig())}
    Run(recipes, home)
    pack(marketplace, home.parent / "packed" / "marketplace.npz")
    elsewhere = home.parent / "nowhere"
    for packed in (home.parent / "packed", home.parent / "packed" / "marketplace.npz"):
        assert Run(recipes, elsewhere, packed=packed).fresh == []


def test_the_document_holds_the_closer_look_too(home: Path) -> None:
    run = Run({"small": recipe_of(PopularConfig(), ItemCFConfig())}, home)
    plain = json.loads(run.outcomes[0].path.read_text(encoding="utf-8"))
    assert [at["k"] for at in plain["incremental"]] == [5, 20]
    assert [channel["channel"] for channel in plain["by_gap"]] == ["popular", "itemcf"]
    assert len(plain["rows"]) == 2


def test_a_closer_look_is_not_replaced_by_one_that_sees_fewer_channels(home: Path) -> None:
    recipes = {"small": recipe_of(PopularConfig(), ItemCFConfig(), MF)}
    run = Run(recipes, home)
    before = json.loads(run.outcomes[0].path.read_text(encoding="utf-8"))
    config = next(row["config"] for row in before["rows"] if row["channel"] == "itemcf")
    (ranks,) = (home.parent / "results" / "ranks").glob(f"*-{config}-*.npy")
    ranks.unlink()
    again = Run(recipes, home)
    assert again.fresh == []
    assert json.loads(again.outcomes[0].path.read_text(encoding="utf-8")) == before


def test_a_training_is_announced_as_such_since_it_draws_its_own_bar(home: Path, learned: SASRecConfig) -> None:
    said: list[str] = []
    Run({"small": recipe_of(PopularConfig(), learned)}, home, say=said.append)
    assert any(line.startswith("fitting popular on ") for line in said)
    assert any(line.startswith("training sasrec (seed 0) on ") for line in said)
