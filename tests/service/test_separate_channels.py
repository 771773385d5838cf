"""Scenarios with a share of their own in the service's merge, as the paper has them."""

from pathlib import Path

from headwater.data import Dataset, key_of
from headwater.experiment import train
from headwater.home import Home
from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, Stream, Visit
from headwater.recipe import MergeRecipe, Recipe
from headwater.retrieval.classic.popular import PopularConfig
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
from headwater.store import open_store

NOW = 1_700_000_000


def visit(scenario: str, items: list[str]) -> Visit:
    ranked = [RankedItem(key_of(item), 0.5) for item in items]
    return Visit(request_id=scenario, scenario=scenario, user=10**6, timestamp=NOW, items=ranked)


def test_each_scenario_named_in_the_weights_is_a_channel_and_others_are_none(
    marketplace: Dataset, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    weights = {"popular": 1, "nearline/main_search": 3, "nearline/mini_detail": 1}
    recipe = Recipe(dataset="marketplace", channels=(PopularConfig(),), merge=MergeRecipe(pool=10, weights=weights))
    train(recipe, marketplace, home, validate=False)
    log, store = RankLog(home.log, clock=lambda: NOW), open_store(home.store)
    for at, scenario in enumerate(("main_search", "mini_detail", "in_shop")):
        log.append(visit(scenario, [f"item-{number:03d}" for number in range(40 * at, 40 * at + 20)]))
    log.close()
    Stream(DirectorySource(home.log), store, Policy()).run_once()
    store.close()
    with open_pipeline(home) as pipeline:
        assert [channel.name for channel in pipeline.channels] == list(weights)
        answer = pipeline.answer(CandidatesRequest(user=10**6, k=10), now=NOW + 120)
    why = [why for item in answer.items for why in item.why if why.kind == "nearline"]
    assert {(one.channel, one.scenario, one.age_seconds) for one in why} == {
        ("nearline/main_search", "main_search", 120),
        ("nearline/mini_detail", "mini_detail", 120),
    }
    assert sum(one.scenario == "main_search" for one in why) == 6, "3 of 5 shares of 10 places"
    assert "ranked 1st on a visit to main_search, 2 min before" in {one.text for one in why}
