"""A closer look at the runs of a table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_recipes import recipe_of

from headwater.data import Dataset, leave_one_out
from headwater.experiment import Table, by_gap, evaluate_recipe, incremental
from headwater.experiment.breakdown import derived
from headwater.recipe import Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig


def with_ranks(table: Table, ranks: dict[str, np.ndarray]) -> Table:
    rows = [replace(row, full=replace(row.full, target_ranks=ranks.get(row.channel))) for row in table.rows]
    return replace(table, rows=rows)


def test_incremental_recall_of_one_channel_is_its_recall(marketplace: Dataset, recipe: Recipe) -> None:
    table = evaluate_recipe(recipe, marketplace)
    at_5, at_20 = incremental(table)
    assert (at_5.k, at_20.k) == (5, 20)
    for part, row in zip(at_5.contributions, table.rows, strict=True):
        assert part.channel == row.channel
        assert part.recall == pytest.approx(row.full.metrics["recall@5"])
    assert at_5.recall >= max(part.recall for part in at_5.contributions)
    assert at_5.greedy[0].channel == "itemcf"


def test_fewer_than_two_channels_with_ranks_give_no_incremental_recall(marketplace: Dataset, recipe: Recipe) -> None:
    table = evaluate_recipe(recipe, marketplace)
    first = table.rows[0].target_ranks
    assert first is not None
    assert incremental(with_ranks(table, {"popular": first})) == []
    assert incremental(with_ranks(table, {"popular": first, "itemcf": first[:-1]})) == [], "ranks of other targets"
    assert derived(with_ranks(table, {})) == {}


def test_hit_rates_by_gap_average_to_the_whole(marketplace: Dataset, recipe: Recipe) -> None:
    table = evaluate_recipe(recipe, marketplace)
    for found, row in zip(by_gap(table), table.rows, strict=True):
        # The marketplace's users act once a minute.
        assert [bucket.gap for bucket in found.buckets] == ["under 1 hour"]
        assert found.hit_rate == pytest.approx(row.full.metrics["hr@5"])
        assert found.gain is None


def test_what_knows_the_request_time_is_set_beside_the_best_that_does_not(marketplace: Dataset) -> None:
    asking = SASRecConfig(name="asking")
    asking = asking.model_copy(update={"inputs": asking.inputs.model_copy(update={"request_time": True})})
    recipe = recipe_of(PopularConfig(), ItemCFConfig(), PopularConfig(name="asking"))
    users = marketplace.event_users
    # Half of the users act in bursts: all of their events carry one second.
    times = np.where(users % 2 == 0, 1_000, marketplace.event_times)
    bursts = replace(marketplace, event_times=times)
    table = evaluate_recipe(recipe, bursts)
    table = replace(table, recipe=recipe.model_copy(update={"channels": (*recipe.channels[:2], asking)}))
    n = len(leave_one_out(bursts).test)
    is_burst = leave_one_out(bursts).test.queries.users % 2 == 0
    missed, hit = np.full(n, -1), np.zeros(n, int)
    ranks = {"popular": missed, "itemcf": np.where(is_burst, -1, 0), "asking": hit}
    popular, itemcf, asking_too = by_gap(with_ranks(table, ranks))
    assert (popular.gain, itemcf.gain) == (None, None)
    assert asking_too.beside == "itemcf"
    assert [bucket.gap for bucket in asking_too.buckets] == ["same second", "under 1 hour"]
    assert asking_too.gain == pytest.approx([1.0, 0.0])

    # Where it gains nothing there are no shares, and the JSON document can be written all the same.
    useless = with_ranks(table, {**ranks, "asking": missed})
    assert by_gap(useless)[2].gain is None
    json.dumps(derived(useless), allow_nan=False)


def test_positions_are_no_gaps(marketplace: Dataset, recipe: Recipe) -> None:
    table = evaluate_recipe(recipe, replace(marketplace, time_unit="position"))
    assert by_gap(table) == []
    assert "by_gap" not in derived(table)
