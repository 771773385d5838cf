"""KEEP's jobs on an impression log: cut by days, into the log's own sub-domains, over all tasks that it has."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from headwater.data import Dataset, Vocabulary
from headwater.data.impressions import Impressions
from headwater.data.packed import pack_impressions
from headwater.errors import ConfigError, DatasetUnavailable
from headwater.knowledge.config import ExtractionConfig
from headwater.knowledge.extract import Extraction
from headwater.metrics import measure_prediction
from headwater.nn.settings import TrainingConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.reproduce.jobs import Documents, run_jobs
from headwater.reproduce.knowledge.config import KnowledgeRecipe, LogDays
from headwater.reproduce.knowledge.days import DayCut
from headwater.reproduce.knowledge.found import read_found
from headwater.reproduce.knowledge.measure import measure
from headwater.reproduce.knowledge.methods import ReadsAll
from headwater.reproduce.knowledge.plan import KnowledgeJob
from headwater.reproduce.knowledge.search import KnowledgeSearch
from headwater.reproduce.knowledge.search import run as try_all
from headwater.reproduce.knowledge.tables import sheets

TRAINING = TrainingConfig(epochs=1, batch_size=500, second_moment=0.999, device="cpu", threads=1)
SIZES: dict[str, Any] = {"length": 8, "dimension": 4, "unit_hidden": 4, "hidden": (8, 6), "training": TRAINING}
DOMAINS = ("", "product", "ad")
DAY = 86_400


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def log() -> Impressions:
    """30 users see 12,000 impressions over six days, a fifth of them ads; a third of their clicks has a conversion."""
    random = np.random.default_rng(0)
    n = 12_000
    users, items = random.integers(0, 30, n).astype(np.int32), random.integers(0, 40, n).astype(np.int32)
    times = 1_600_041_600 // DAY * DAY + np.sort(random.integers(0, 6 * DAY, n))
    click = (random.random(n) < np.where(items % 3 == users % 3, 0.6, 0.1)).astype(np.int8)
    conversion = (click & (random.random(n) < 0.3)).astype(np.int8)
    clicked = click == 1
    vocabularies = Vocabulary(np.arange(30)), Vocabulary(np.arange(40))
    return Impressions.of_columns(
        "shop",
        *vocabularies,
        user_codes=users,
        item_codes=items,
        times=times,
        labels={"click": click, "conversion": conversion},
        histories=Dataset.from_events(
            "clicks",
            *vocabularies,
            event_users=users[clicked],
            event_items=items[clicked],
            event_times=times[clicked],
        ),
        sub_domains=np.where(random.random(n) < 0.2, 2, 1),
        sub_domain_names=DOMAINS,
        item_attributes=pa.table({"id": np.arange(40), "category": [f"c{item % 3}" for item in range(40)]}),
    )


@pytest.fixture(scope="module")
def recipe() -> KnowledgeRecipe:
    return KnowledgeRecipe(
        dataset="shop",
        days=LogDays(pretrain=2, train=2, test=1),
        domains=("ad",),
        base=DINConfig(**SIZES, item_attributes=("category",)),
        extraction=ExtractionConfig(**SIZES, user_dimension=4, item_attributes=("category",)),
    )


def test_a_log_is_cut_by_days_and_later_days_are_left_out(log: Impressions, recipe: KnowledgeRecipe) -> None:
    cut = DayCut.of_log(log, recipe)
    assert [sorted(set(cut.part(piece).days.tolist())) for piece in range(3)] == [[0, 1], [2, 3], [4]]
    assert len(cut.whole) == int((log.days < 5).sum())
    assert "days 0 to 1 of all sub-domains: the super-domain; days 2 to 3 of one: what trains; day 4 of" in cut.rule


def test_a_sub_domain_is_its_own_impressions_and_the_super_domain_is_everybodys(
    log: Impressions, recipe: KnowledgeRecipe
) -> None:
    cut = DayCut.of_log(log, recipe)
    assert list(cut.membership) == ["ad"]
    ads = cut.part(1, domain="ad")
    assert ads.sub_domains is not None
    assert set(ads.sub_domains.tolist()) == {2}
    assert len(ads) == int(((log.sub_domains == 2) & (log.days >= 2) & (log.days < 4)).sum())
    assert {1, 2} == set(cut.part(0).sub_domains.tolist())  # type: ignore[union-attr]
    every = DayCut.of_log(log, recipe.model_copy(update={"domains": ()}))
    assert list(every.membership) == ["product", "ad"], "the largest first"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"days": LogDays(pretrain=5, train=2, test=1)}, "shop has 6 days, and days ask for 8"),
        ({"domains": ("video",)}, "shop has no sub-domain 'video'; it has product, ad"),
        ({"days": None}, "its recipe needs `days`"),
    ],
)
def test_a_log_that_does_not_fit_the_recipe_is_refused(
    given: dict[str, Any], words: str, log: Impressions, recipe: KnowledgeRecipe
) -> None:
    with pytest.raises(ConfigError, match=words):
        DayCut.of_log(log, recipe.model_copy(update=given))


def test_jobs_run_from_a_packed_log_and_tables_have_all_its_tasks(
    tmp_path: Path, log: Impressions, recipe: KnowledgeRecipe
) -> None:
    pack_impressions(log, tmp_path / "packed" / "shop.npz")
    documents = Documents(tmp_path / "results")
    jobs = [KnowledgeJob("shop", recipe, method, 0) for method in ("base", "keep", "keep-shuffled", "keep-c")]
    ended = list(run_jobs(jobs, documents, measure, home=tmp_path, packed=tmp_path / "packed"))
    found = [one.document for one in ended]
    assert all(found), [one.reason for one in ended]
    for document in found:
        assert document is not None
        json.dumps(document, allow_nan=False)
        ad = document["domains"]["ad"]
        test = DayCut.of_log(log, recipe).part(2, domain="ad")
        assert ad["samples"] <= len(test)
        assert 0.3 < ad["gauc"] <= 1
        assert list(ad["after_click"]) == ["conversion"]
        assert ad["after_click"]["conversion"]["samples"] <= int(test.labels["click"].sum())
        assert document["rule"].startswith("days 0 to 1")
    (one,) = read_found(jobs, documents)
    text = "\n".join(sheet.markdown() for sheet in sheets(one))
    assert "Table 5, what is predicted" in text
    assert "| conversion, ad | +0.0036 | " in text
    assert "| cart, ad |" not in text


def test_a_log_that_was_not_imported_says_how_to(tmp_path: Path, recipe: KnowledgeRecipe) -> None:
    with pytest.raises(DatasetUnavailable, match="headwater data import-impressions FILE --name shop"):
        KnowledgeJob("shop", recipe, "base", 0).load(tmp_path, None)


def test_models_of_a_sub_domain_may_read_its_clicks_alone(log: Impressions, recipe: KnowledgeRecipe) -> None:
    cut = DayCut.of_log(log, recipe.model_copy(update={"history": "own"}))
    ads = cut.part(2, domain="ad")
    assert cut.part(0).history_items is log.history_items, "what learns from the super-domain reads all"
    assert cut.read_by_all(ads).history_items is log.history_items
    start, stop = ads.history_slices()
    row = int(np.argmax(stop - start))
    is_mine = (log.user_codes == ads.user_codes[row]) & (log.times < ads.times[row])
    is_mine &= (log.sub_domains == DOMAINS.index("ad")) & (log.labels["click"] == 1)
    assert is_mine.sum() > 5
    assert ads.history_items[start[row] : stop[row]].tolist() == log.item_codes[is_mine].tolist()
    assert cut.rule.endswith("its clicks alone")


def test_knowledge_is_of_all_clicks_whatever_the_plugged_model_reads(log: Impressions, recipe: KnowledgeRecipe) -> None:
    cut = DayCut.of_log(log, recipe.model_copy(update={"history": "own"}))
    extraction = Extraction(recipe.extraction).fit(cut.part(0))
    ads = cut.part(2, domain="ad")
    known = ReadsAll(extraction, cut).knowledge(ads)
    every = DayCut.of_log(log, recipe).part(2, domain="ad")
    assert known.tobytes() == extraction.knowledge(every).tobytes()
    assert known.tobytes() != extraction.knowledge(ads).tobytes()


def test_the_last_day_that_trains_judges_a_search(tmp_path: Path, log: Impressions, recipe: KnowledgeRecipe) -> None:
    pack_impressions(log, tmp_path / "shop.npz")
    search = KnowledgeSearch(kind="base", trials=1, recipe=tmp_path / "unread.toml")
    (line,) = try_all([(search, [recipe])], tmp_path / "trials.jsonl", home=tmp_path, packed=tmp_path)
    days = LogDays(pretrain=2, train=1, test=1)
    cut = DayCut.of_log(log, recipe.model_copy(update={"days": days}))
    assert cut.part(2).days.tolist() == [3] * len(cut.part(2)), "and day 4, which tests, is not there"
    model = DIN(recipe.base).fit(cut.part(1, domain="ad"))
    judged = cut.part(2, domain="ad")
    expected = measure_prediction(judged.user_codes, judged.labels["click"], model.predict(judged)["click"])
    assert line["validation"]["domains"]["ad"]["gauc"] == pytest.approx(expected.gauc)
    one = recipe.model_copy(update={"days": days})
    (failed,) = try_all([(search, [one])], tmp_path / "trials.jsonl", home=tmp_path, packed=tmp_path)
    assert "days.train must be 2 or more" in failed["failed"]
