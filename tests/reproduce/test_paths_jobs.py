"""The Paths paper's jobs on a small marketplace: what is planned, and what is measured of each channel."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from headwater.data import Dataset, leave_one_out
from headwater.metrics import FullRanking, SampledNegatives
from headwater.nn.training import TrainingConfig
from headwater.recipe import EvaluateRecipe, Recipe
from headwater.reproduce.jobs import Job, jobs_of
from headwater.reproduce.paths.found import Run
from headwater.reproduce.paths.measure import LENGTHS, Forgetful, measure, published_negatives
from headwater.reproduce.paths.plan import load_plan, with_ablations
from headwater.reproduce.paths.views import well_known
from headwater.retrieval import Mask, evaluate
from headwater.retrieval.classic.itemcf import ItemCF, ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.item_to_item import ItemToItem
from headwater.retrieval.paths.config import PathsConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "reproduce" / "paths"

SMALL = PathsConfig(
    length=20,
    dimension=8,
    field_dimension=4,
    negatives=8,
    user_attributes=("gender",),
    training=TrainingConfig(epochs=3, batch_size=64, validate_every=3, device="cpu", threads=1, learning_rate=3e-3),
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def people(marketplace: Dataset) -> Dataset:
    genders = ["F", "M"] * (len(marketplace.users) // 2)
    return replace(marketplace, user_attributes=pa.table({"id": marketplace.users.ids, "gender": genders}))


def job_of(chosen: Any) -> Job:
    recipe = Recipe(dataset="marketplace", channels=(chosen,), evaluate=EvaluateRecipe(incremental_ks=(10,)))
    return jobs_of({"small": recipe}, lambda _: 1)[0]


@cache
def measured(name: str, people: Any) -> dict[str, Any]:
    chosen = {
        "paths": SMALL,
        "vector": SMALL.model_copy(update={"name": "paths-vector", "path_dimension": 2}),
        "itemcf": ItemCFConfig(half_life=2.0),
        "popular": PopularConfig(),
    }[name]
    return measure(job_of(chosen), people.of, lambda _: None)


class Hashable:
    """A data set for the cache: all tests of a session share one."""

    def __init__(self, of: Dataset) -> None:
        self.of = of

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True


@pytest.fixture
def found(people: Dataset) -> Any:
    return lambda name: measured(name, Hashable(people))


def test_every_recipe_of_the_paper_is_read_and_its_main_rows_have_three_seeds() -> None:
    jobs = load_plan(RECIPES)
    assert {job.recipe_name for job in jobs} == {"ml-1m", "pinterest-20", "amazon-books"}
    ids = {job.id for job in jobs}
    assert {f"ml-1m/{name}/{seed}" for name in ("paths", "bst") for seed in (0, 1, 2)} <= ids
    assert "ml-1m/dssm/1" not in ids
    assert len(ids) == len(jobs)


@pytest.mark.parametrize("loss", ["softmax", "bce"])
@pytest.mark.parametrize("shares", [False, True])
def test_an_ablation_differs_from_paths_in_one_thing_and_in_what_that_forbids(loss: str, shares: bool) -> None:
    chosen = SMALL.model_copy(update={"loss": loss, "shares_negatives": shares, "negatives": 500})
    whole, *variants = with_ablations(Recipe(dataset="x", channels=(chosen,))).channels
    other = "bce" if loss == "softmax" else "softmax"
    own = {"shares_negatives": False, "negatives": 32} if shares else {}
    expected = {
        "paths-without-bias-net": {"has_bias_net": False},
        "paths-without-direct-net": {"has_direct_net": False},
        "paths-vector": {"path_dimension": 8} | own,
        f"paths-{other}": {"loss": other},
    }
    plain = whole.model_dump()
    assert [variant.model_dump() for variant in variants] == [
        plain | {"name": name} | changed for name, changed in expected.items()
    ]


def test_fast_runs_each_row_once() -> None:
    jobs = load_plan(RECIPES, is_fast=True, seeds=3)
    names = [job.channel for job in jobs]
    assert {job.recipe_name for job in jobs} == {"fast"}
    assert len(set(names)) == len(names)
    assert {"dssm", "youtube_dnn", "bst", "pearson", "slim", "paths", "paths-without-bias-net"} <= set(names)


def test_an_ablation_that_a_recipe_names_itself_stays_as_it_is() -> None:
    own = SMALL.model_copy(update={"name": "paths-bce", "loss": "bce", "dropout": 0.4})
    recipe = with_ablations(Recipe(dataset="x", channels=(SMALL, own)))
    assert [chosen.name for chosen in recipe.channels].count("paths-bce") == 1
    assert recipe.channels[1] is own


def test_a_job_measures_both_protocols_and_both_ways_of_retrieval(people: Dataset, found: Any) -> None:
    run = Run.from_document({"job": "j", "dataset": {}, **found("itemcf")}, "here")
    split = leave_one_out(people)
    channel = ItemCF(ItemCFConfig(half_life=2.0)).fit(split.train)
    for side, asked in (("personalised", channel), ("item_to_item", ItemToItem(channel))):
        for protocol, of in (("full", FullRanking()), ("sampled", SampledNegatives())):
            expected = evaluate(asked, split.test, of, train=split.train, interactions=people).metrics
            evaluation = run.evaluation(side, protocol)  # type: ignore[arg-type]
            assert evaluation is not None
            assert evaluation.metrics["hr@10"] == expected["hr@10"]
            assert evaluation.metrics["ndcg@10"] == expected["ndcg@10"]
    assert run.evaluation("personalised", "full") != run.evaluation("item_to_item", "full")


def test_a_model_without_similarities_has_no_item_to_item_figures_and_no_neighbours(found: Any) -> None:
    for name in ("popular", "vector"):
        assert found(name)["item_to_item"] is None
        assert found(name)["views"] == {}


def test_histories_are_cut_for_the_model_while_all_of_them_stays_refused(people: Dataset, found: Any) -> None:
    by_length = {entry["length"]: entry["full"]["metrics"] for entry in found("itemcf")["by_length"]}
    assert list(by_length) == list(LENGTHS)
    assert by_length[None] == by_length[45], "no history here is longer than 30"
    split = leave_one_out(people)
    trained = ItemCF(ItemCFConfig(half_life=2.0)).fit(split.train)
    for length, asked in ((15, Forgetful(trained, 15)), (None, trained)):
        expected = evaluate(asked, split.test, FullRanking(), train=split.train, ks=(10, 300))
        assert by_length[length]["mrr@300"] == expected.metrics["mrr@300"]
    channel = ItemCF().fit(people)
    queries = people.queries(np.arange(len(people.users), dtype=np.int32))
    seen = Mask.seen(queries)
    cut = Forgetful(channel, 3).retrieve(queries, 20, allowed=seen)
    assert seen.allows(cut.rows, cut.items).all()
    again = channel.retrieve(queries.latest(3), 20, allowed=seen)
    assert cut.items.tolist() == again.items.tolist()
    for row, reasons in zip(cut.rows, Forgetful(channel, 3).explain(queries, cut), strict=True):
        latest = queries.items[queries.offsets[row + 1] - 3 : queries.offsets[row + 1]].tolist()
        assert {reason.trigger for reason in reasons} <= set(latest)


def test_the_case_study_is_of_the_most_chosen_item_of_each_category(people: Dataset, found: Any) -> None:
    chosen = well_known(leave_one_out(people).train)
    codes, _ = people.categories
    assert len(set(codes[chosen[:6]])) == 6
    assert len(set(chosen)) == len(chosen) == 8
    cases = {name: found(name)["views"]["neighbours"] for name in ("itemcf", "paths")}
    assert [case["title"] for case in cases["itemcf"]] == [case["title"] for case in cases["paths"]]
    for case in cases["itemcf"][:6]:
        assert len(case["neighbours"]) == 10
        assert case["title"] not in {near["title"] for near in case["neighbours"]}
        assert {near["category"] for near in case["neighbours"][:3]} == {case["category"]}


def test_paths_is_drawn_from_what_it_learned(found: Any) -> None:
    views = found("paths")["views"]
    mean = np.array(views["category_similarity"]["mean"])
    assert mean.shape == (6, 6)
    assert np.isfinite(mean).all()
    assert np.diag(mean).mean() > 2 * mean[~np.eye(6, dtype=bool)].mean(), "users keep to a group of items"
    weights = views["trigger_weights"]
    assert weights["users"] == 200
    assert np.isfinite([weights["positive"], weights["negative"]]).all()
    assert 0 <= weights["higher"] <= 1
    interest = views["gender_interest"]
    assert (interest["less"], interest["more"], interest["people"]) == ("F", "M", [100, 100])
    assert len(interest["difference"]) == len(interest["categories"]) == 6


def test_without_genders_there_is_no_figure_of_them(marketplace: Dataset) -> None:
    plain = SMALL.model_copy(update={"user_attributes": ()})
    views = measure(job_of(plain), marketplace, lambda _: None)["views"]
    assert "gender_interest" not in views
    assert "trigger_weights" in views


def test_negatives_that_came_with_the_data_take_the_place_of_drawn_ones(marketplace: Dataset) -> None:
    split = leave_one_out(marketplace)
    never = [f"item-{(75 * user + 37 * at) % 150:03d}" for user in range(200) for at in range(9)]
    listed = [[*never[9 * user : 9 * user + 9], "no such item"] for user in range(200)]
    attributes = pa.table({"id": marketplace.users.ids, "negatives": listed})
    data = replace(marketplace, user_attributes=attributes)
    found = measure(job_of(ItemCFConfig()), data, lambda _: None)
    assert found["row"]["sampled"]["protocol"] == "9 listed negatives"
    assert found["item_to_item"]["sampled"]["protocol"] == "9 listed negatives"
    assert found["row"]["sampled"]["metrics"]["hr@10"] > 0.9, "of ten items all are among the first ten"
    protocol = published_negatives(data, split)
    assert protocol is not None
    assert data.items.decode(protocol.items[:9]) == listed[0][:9]
    some_lack = replace(data, user_attributes=pa.table({"id": data.users.ids, "negatives": [None, *listed[1:]]}))
    assert published_negatives(some_lack, split) is None
    assert published_negatives(marketplace, split) is None
