"""From a recipe to a table."""

import json
from pathlib import Path

import pytest
from small_recipes import recipe_of

from headwater.data import Dataset, leave_one_out
from headwater.experiment import Row, config_hash, evaluate_recipe
from headwater.experiment.measure import resume_recipe
from headwater.experiment.provenance import seed_of, with_seed
from headwater.experiment.results import Results
from headwater.metrics import FullRanking
from headwater.recipe import Recipe
from headwater.retrieval import evaluate
from headwater.retrieval.base import Channel
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.mf import MFConfig
from headwater.retrieval.classic.popular import Popular, PopularConfig
from headwater.retrieval.evaluation import validation_figure
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig


def test_co_occurrence_beats_popularity_where_users_have_tastes(marketplace: Dataset, recipe: Recipe) -> None:
    popular, itemcf = evaluate_recipe(recipe, marketplace).rows
    assert itemcf.full.metrics["hr@10"] > 2 * popular.full.metrics["hr@10"] > 0
    assert itemcf.sampled is not None
    assert popular.sampled is not None
    assert itemcf.sampled.metrics["ndcg@10"] > popular.sampled.metrics["ndcg@10"]


def test_the_table_as_json_carries_what_it_takes_to_repeat_it(
    marketplace: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    table = evaluate_recipe(recipe, marketplace, part="validation")
    table.save(tmp_path / "results" / "table.json")
    plain = json.loads((tmp_path / "results" / "table.json").read_text(encoding="utf-8"))
    assert plain["part"] == "validation"
    assert plain["dataset"]["checksum"] == marketplace.checksum()
    for row, chosen in zip(plain["rows"], recipe.channels, strict=True):
        assert row["config"] == config_hash(recipe, chosen)
        assert {"seed", "commit", "machine", "fit_seconds", "retrieving"} <= row.keys()
        assert row["full"]["protocol"] == "full ranking over unseen items"
        assert row["full"]["time_tie_rule"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["table.json"]


def test_channels_are_kept_as_they_were_measured(marketplace: Dataset, recipe: Recipe) -> None:
    kept: list[Channel] = []
    table = evaluate_recipe(recipe, marketplace, keep=kept.append)
    split = leave_one_out(marketplace)
    assert [channel.name for channel in kept] == [row.channel for row in table.rows]
    for channel, row in zip(kept, table.rows, strict=True):
        again = evaluate(channel, split.test, FullRanking(), train=split.train, ks=(5, 10)).metrics
        assert again["ndcg@10"] == row.full.metrics["ndcg@10"]


def test_a_refit_learns_from_the_validation_part_too_for_the_epochs_that_validation_chose(
    marketplace: Dataset, learned: SASRecConfig
) -> None:
    learned = learned.model_copy(update={"training": learned.training.model_copy(update={"learning_rate": 0.3})})
    plain = evaluate_recipe(recipe_of(PopularConfig(), learned), marketplace)
    table = evaluate_recipe(recipe_of(PopularConfig(), learned, refit=True), marketplace)
    split = leave_one_out(marketplace)
    assert len(split.before_test) == len(marketplace) - len(split.test)
    training = plain.rows[1].training
    assert training is not None
    epochs = training["best_epoch"] + 1
    assert epochs < learned.training.epochs, "else this shows nothing"
    shorter = learned.model_copy(update={"training": learned.training.model_copy(update={"epochs": epochs})})
    expected = [Popular().fit(split.before_test), SASRec(shorter).fit(split.before_test)]
    for row, before, channel in zip(table.rows, plain.rows, expected, strict=True):
        assert row.full == before.full
        assert row.config == before.config
        assert before.refitted is None
        assert row.refitted is not None
        found = evaluate(channel, split.test, FullRanking(), train=split.before_test, ks=(5, 10))
        assert row.refitted.full.metrics == found.metrics
        again = Row.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False)))
        assert again.refitted == row.refitted
    assert [row.refitted.epochs for row in table.rows if row.refitted] == [None, epochs]


def test_a_run_that_is_there_is_only_fitted_again(marketplace: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    asking = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"refit": True})})
    plain = resume_recipe(recipe, marketplace, Results(tmp_path, "small", recipe, marketplace, "test")).rows
    said: list[str] = []
    again = resume_recipe(
        asking, marketplace, Results(tmp_path, "small", asking, marketplace, "test"), say=said.append
    ).rows
    assert [row.fit_seconds for row in again] == pytest.approx([row.fit_seconds for row in plain], abs=1e-3)
    assert all(row.refitted for row in again)
    assert sum(line.startswith("fitting") for line in said) == len(recipe.channels)
    assert all(row.refitted for row in Results(tmp_path, "small", recipe, marketplace, "test").rows())


def test_a_row_reads_back_as_it_was_written(marketplace: Dataset, learned: SASRecConfig) -> None:
    (row,) = evaluate_recipe(recipe_of(learned), marketplace).rows
    plain = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert Row.from_json(plain).to_json() == plain


def test_the_config_hash_is_of_the_channel_and_the_protocol_alone(recipe: Recipe) -> None:
    popular, itemcf = recipe.channels
    assert config_hash(recipe, popular) != config_hash(recipe, itemcf)
    assert config_hash(recipe, itemcf) != config_hash(recipe, ItemCFConfig(neighbours=41))
    alone = recipe_of(itemcf)
    assert config_hash(alone, itemcf) == config_hash(recipe, itemcf)
    deeper = alone.model_copy(update={"evaluate": alone.evaluate.model_copy(update={"ks": (5, 10, 20)})})
    assert config_hash(deeper, itemcf) != config_hash(alone, itemcf)


def test_a_setting_added_later_leaves_the_config_hash_as_it_was_until_it_is_used(recipe: Recipe) -> None:
    class Grown(ItemCFConfig):
        novelty: float = 0.0

    _, itemcf = recipe.channels
    grown = Grown.model_validate(itemcf.model_dump())
    assert config_hash(recipe, grown) == config_hash(recipe, itemcf)
    assert config_hash(recipe, grown.model_copy(update={"novelty": 0.5})) != config_hash(recipe, itemcf)
    same_settings = [PopularConfig(name="first"), ItemCFConfig(name="first"), ItemCFConfig(name="second")]
    assert len({config_hash(recipe, channel) for channel in same_settings}) == 3


def test_the_config_hash_leaves_the_seed_apart(recipe: Recipe, learned: SASRecConfig) -> None:
    for chosen in (learned, MFConfig()):
        other = with_seed(chosen, 7)
        assert (seed_of(chosen), seed_of(other)) == (0, 7)
        assert config_hash(recipe, other) == config_hash(recipe, chosen)
    assert seed_of(ItemCFConfig()) is None
    assert with_seed(ItemCFConfig(), 7) == ItemCFConfig()


def test_seeds_are_runs_of_what_draws_at_random_and_of_nothing_else(marketplace: Dataset) -> None:
    recipe = recipe_of(PopularConfig(), MFConfig(factors=4, epochs=2, seed=5))
    rows = evaluate_recipe(recipe, marketplace, seeds=3).rows
    assert [(row.channel, row.seed) for row in rows] == [("popular", None), ("mf", 5), ("mf", 6), ("mf", 7)]
    assert len({row.config for row in rows[1:]}) == 1
    assert len({row.full.metrics["ndcg@10"] for row in rows[1:]}) > 1


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_learned_channel_stops_by_validation_whichever_part_is_measured(
    marketplace: Dataset, learned: SASRecConfig, part: str
) -> None:
    (row,) = evaluate_recipe(recipe_of(learned), marketplace, part=part).rows
    split = leave_one_out(marketplace)
    alone = SASRec(learned).fit(split.train, validate=validation_figure(split))
    assert alone.report is not None
    assert row.training is not None
    assert row.training["best_value"] == alone.report.best_value == validation_figure(split)(alone)
    assert row.training["best_epoch"] == alone.report.best_epoch
    assert [value for _, _, value in row.training["curve"]] == [value for _, _, value in alone.report.curve]
    assert {"epochs", "positives_per_second", "peak_memory"} <= row.training.keys()
    if part == "validation":
        assert row.full.metrics["ndcg@10"] == row.training["best_value"]


def test_targets_are_ranked_down_to_the_deepest_cut_off_of_the_closer_look(
    marketplace: Dataset, recipe: Recipe
) -> None:
    itemcf = evaluate_recipe(recipe, marketplace).rows[1]
    assert itemcf.target_ranks is not None
    assert len(itemcf.target_ranks) == itemcf.full.n_queries
    within = (itemcf.target_ranks >= 0) & (itemcf.target_ranks < 10)
    assert within.mean() == pytest.approx(itemcf.full.metrics["hr@10"])
    assert itemcf.target_ranks.max() > 10
