"""KEEP's jobs on a few made-up ratings: how they are cut, what each method may know, and what tables say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from headwater.data import Dataset, Vocabulary
from headwater.data.packed import pack
from headwater.errors import ArtefactError, ConfigError
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig, ExtractionConfig
from headwater.nn.settings import TrainingConfig
from headwater.ranking.din import DINConfig
from headwater.reproduce.jobs import Documents, Unfinished, run_jobs
from headwater.reproduce.knowledge.config import KnowledgeRecipe
from headwater.reproduce.knowledge.cut import VALIDATION, Cut, pieces
from headwater.reproduce.knowledge.drawings import draw
from headwater.reproduce.knowledge.found import gain_over, numbers, read_found
from headwater.reproduce.knowledge.measure import measure
from headwater.reproduce.knowledge.methods import Shuffled, Trial, keep_c
from headwater.reproduce.knowledge.pages import write_report
from headwater.reproduce.knowledge.plan import EVERYWHERE, METHODS, KnowledgeJob, load_plan
from headwater.reproduce.knowledge.search import load_knowledge_search
from headwater.reproduce.knowledge.search import run as try_all
from headwater.reproduce.knowledge.steps import half_of_the_gain, steps_to_half
from headwater.reproduce.knowledge.tables import sheets
from headwater.reproduce.knowledge.verdicts import verdicts
from training_machine import headwater_without

RECIPES = Path(__file__).parents[2] / "recipes" / "reproduce" / "knowledge"
SEARCHES = Path(__file__).parents[2] / "recipes" / "search" / "knowledge"
GENRES = ("Drama", "Comedy", "War")
TRAINING = TrainingConfig(epochs=1, batch_size=500, second_moment=0.999, device="cpu", threads=1)
SIZES: dict[str, Any] = {"length": 8, "dimension": 4, "unit_hidden": 4, "hidden": (8, 6), "training": TRAINING}
KNOWS = {**SIZES, "user_dimension": 4, "item_attributes": ("category",)}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def ratings() -> Dataset:
    """60 users rate 60 items over ten days; whom a user likes is said by the item's first genre."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 60)
    items = np.concatenate([random.permutation(60) for _ in range(60)])
    liked = random.random(len(users)) < np.where(items % 3 == users % 3, 0.85, 0.25)
    names = [GENRES[code % 3] for code in range(60)]
    return Dataset.from_events(
        "rated",
        Vocabulary(np.arange(60)),
        Vocabulary(np.arange(60)),
        event_users=users.astype(np.int32),
        event_items=items.astype(np.int32),
        event_times=1_600_000_000 + random.integers(0, 864_000, len(users)),
        event_ratings=np.where(liked, random.integers(4, 6, len(users)), 2).astype(np.float32),
        item_attributes=pa.table(
            {
                "id": np.arange(60),
                "category": names,
                "genres": [[name, "War"] if at % 5 == 0 else [name] for at, name in enumerate(names)],
            }
        ),
    )


@pytest.fixture(scope="module")
def recipe() -> KnowledgeRecipe:
    return KnowledgeRecipe(
        dataset="rated",
        least=50,
        largest=1,
        base=DINConfig(**SIZES, item_attributes=("category",)),
        extraction=ExtractionConfig(**KNOWS),
        decomposition=DecompositionConfig(**{**KNOWS, "hidden": (8, 6)}),
        degeneration=DegenerationConfig(**KNOWS),
    )


# -- how ratings are cut


def test_each_users_ratings_are_cut_by_time_into_60_20_and_20_percent() -> None:
    users = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 5, 20])).astype(np.int32)
    found = pieces(users)
    assert [np.bincount(found[users == user]).tolist() for user in range(3)] == [[6, 2, 2], [3, 1, 1], [12, 4, 4]]
    assert all((np.diff(found[users == user]) >= 0).all() for user in range(3))


def test_a_sub_domain_is_all_items_of_a_genre_and_its_test_is_later_than_all_that_trains(
    ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    cut = Cut.of(ratings, recipe)
    assert list(cut.membership) == ["War", "Drama", "Comedy"], "the largest first; items of two genres are in both"
    assert cut.membership["War"].sum() == 20 + 8
    test, known = cut.part(2, domain="Drama"), cut.part(0, 1)
    for user in range(60):
        assert test.times[test.user_codes == user].min() >= known.times[known.user_codes == user].max()
    assert len(cut.part(0)) == 60 * 36
    clicks = cut.whole.labels["click"] == 1
    assert (cut.whole.labels["conversion"][~clicks] == 0).all()
    with pytest.raises(ConfigError, match="no 'Horror'; it has Comedy, Drama, War"):
        Cut.of(ratings, recipe.model_copy(update={"domains": ("Horror",)}))


def test_short_days_are_joined_until_enough_impressions_are_together(ratings: Dataset, recipe: KnowledgeRecipe) -> None:
    cut = Cut.of(ratings, recipe.model_copy(update={"period": 700}))
    whole, joined = cut.whole.select(cut.rows(0)), cut.part(0)
    sizes = np.unique(joined.days, return_counts=True)[1]
    assert sizes.min() >= 700
    assert sizes.sum() == len(whole) == 60 * 36
    assert len(sizes) > 1, "no more than is needed"
    assert set(joined.days) <= set(whole.days), "a period has the number of its first day"
    assert (joined.days <= whole.days).all()
    for day in np.unique(whole.days):
        assert len(set(joined.days[whole.days == day])) == 1, "a day is never torn"
    assert np.array_equal(joined.times, whole.times)
    assert len(np.unique(Cut.of(ratings, recipe.model_copy(update={"period": 10**9})).part(0).days)) == 1


def test_while_settings_are_chosen_what_tests_is_not_there(ratings: Dataset, recipe: KnowledgeRecipe) -> None:
    cut, chosen_on = Cut.of(ratings, recipe), Cut.of(ratings, recipe, VALIDATION)
    assert np.bincount(chosen_on.piece).tolist() == [60 * 36, 60 * 9, 60 * 3]
    assert np.array_equal(chosen_on.part(0).times, cut.part(0).times)

    def named(part: Any) -> set[tuple[int, int, int]]:
        return set(zip(part.user_codes.tolist(), part.item_codes.tolist(), part.times.tolist(), strict=True))

    assert named(chosen_on.part(1, 2)) == named(cut.part(1))
    assert not named(chosen_on.whole) & named(cut.part(2))


# -- what methods may know


def test_shuffled_knowledge_is_the_same_rows_in_other_places(ratings: Dataset, recipe: KnowledgeRecipe) -> None:
    trial = Trial(Cut.of(ratings, recipe), recipe, 3, ["Drama"], lambda _: None)
    part = trial.cut.part(1, domain="Drama")
    right, wrong = trial.extraction.knowledge(part), Shuffled(trial.extraction, 3).knowledge(part)
    assert sorted(map(tuple, right.tolist())) == sorted(map(tuple, wrong.tolist()))
    assert (right != wrong).any(1).mean() > 0.9


def test_knowledge_that_is_learned_beside_the_plug_says_of_a_day_what_was_known_before_it(
    ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    trial = Trial(Cut.of(ratings, recipe), recipe, 0, ["Drama"], lambda _: None)
    source: Any = keep_c(trial)
    part = trial.cut.part(1)
    first = part.select(part.days == part.days[0])
    untrained = ExtractionConfig(**KNOWS)
    assert source.knowledge(first).shape == (len(first), source.later.width)
    assert not np.array_equal(source.knowledge(first), source.later.knowledge(first))
    users = np.split(source.knowledge(first), [untrained.user_dimension], axis=1)[0]
    assert np.abs(users).max() < 0.2, "of the first day nothing was known: embeddings as they began"
    test = trial.cut.part(2, domain="Drama")
    assert np.array_equal(source.knowledge(test), source.later.knowledge(test))
    with pytest.raises(ConfigError, match="ask of them apart"):
        source.knowledge(trial.cut.part(1, 2))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_predicts_the_test_part_and_says_by_which_rule(
    method: str, ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    found = measure(KnowledgeJob("rated", recipe, method, 0), ratings, lambda _: None)
    assert list(found["domains"]) == (["War", "Drama", "Comedy"] if method in EVERYWHERE else ["War"])
    war = found["domains"]["War"]
    assert 0.3 < war["gauc"] <= 1
    samples, areas = (numbers(found["users"]["largest"][name]) for name in ("samples", "auc"))
    assert samples.sum() <= war["samples"]
    assert areas.sum() / 1000 / samples.sum() == pytest.approx(war["gauc"], abs=1e-4)
    assert numbers(found["users"]["activity"]).max() <= 48
    json.dumps(found, allow_nan=False)


def test_a_watched_method_is_measured_while_it_learns_and_what_it_inherits_is_where_it_begins(
    ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    recipe = recipe.model_copy(update={"passes": 2})
    found = {
        method: measure(KnowledgeJob("rated", recipe, method, 0), ratings, lambda _: None)["domains"]["War"]["curve"]
        for method in ("base-inherited", "keep-inherited", "keep-concatenated-inherited", "keep-concatenated")
    }
    for curve in found.values():
        learned = [point["learned"] for point in curve]
        assert learned == sorted(learned)
        assert (learned[0], learned[-1]) == (0, 2 * len(Cut.of(ratings, recipe).part(1, domain="War")))
    begin = {method: (curve[0]["inside"], curve[0]["outside"]) for method, curve in found.items()}
    assert begin["keep-inherited"] == begin["keep-concatenated-inherited"] == begin["base-inherited"]
    assert begin["keep-concatenated"] != begin["base-inherited"], "which begins anew"
    assert found["keep-inherited"][-1] != found["base-inherited"][-1]


def test_trials_that_share_a_memory_learn_once_from_the_super_domain(ratings: Dataset, recipe: KnowledgeRecipe) -> None:
    memory: dict[str, Any] = {}
    cut, said = Cut.of(ratings, recipe), []
    for method in ("keep", "keep-user", "keep-shuffled"):
        list(METHODS[method](Trial(cut, recipe, 0, ["Drama"], said.append, memory)))
    assert sum(text.startswith("learning extraction") for text in said) == 1
    list(METHODS["keep"](Trial(cut, recipe, 1, ["Drama"], said.append, memory)))
    assert sum(text.startswith("learning extraction") for text in said) == 2, "another seed is another extraction"


# -- settings of each method


def test_a_method_has_its_own_settings_and_what_belongs_to_it_has_them_too(recipe: KnowledgeRecipe) -> None:
    own = {"keep": {"passes": 3, "base": {"training": {"batch_size": 64}}}}
    changed = recipe.model_copy(update={"methods": own})
    assert changed.of("keep").passes == 3
    assert changed.of("keep").base.training.batch_size == 64
    assert changed.of("keep").base.training.second_moment == 0.999, "its neighbours stay"
    assert changed.of("base") == recipe
    with pytest.raises(ConfigError, match="did you mean 'passes'"):
        recipe.model_copy(update={"methods": {"keep": {"pases": 3}}}).of("keep")


def test_settings_of_an_unknown_method_are_refused(tmp_path: Path) -> None:
    text = 'dataset = "rated"\n[base]\nkind = "din"\n[methods.kepe]\npasses = 2\n'
    (tmp_path / "rated.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="kepe: there is no such method; did you mean 'keep'"):
        load_plan(tmp_path)


def test_every_search_of_the_project_can_be_drawn() -> None:
    for path in sorted(SEARCHES.glob("*.toml")):
        search, recipes = load_knowledge_search(path)
        assert len(recipes) == search.trials


def test_a_search_judges_a_method_by_validation_and_goes_on_where_it_was(
    tmp_path: Path, ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    pack(ratings, tmp_path / "rated.npz")
    base = 'kind = "din"\nhidden = [8]\ntraining = { epochs = 1, threads = 1 }'
    (tmp_path / "recipe.toml").write_text(f'dataset = "rated"\nleast = 50\n[base]\n{base}\n', encoding="utf-8")
    text = f'kind = "base"\ntrials = 2\nrecipe = "{tmp_path / "recipe.toml"}"\n[base]\ndomains = ["War"]\n'
    (tmp_path / "search.toml").write_text(text + "[space]\npasses = [1, 2]\n", encoding="utf-8")
    search, told = load_knowledge_search(tmp_path / "search.toml"), []
    results = tmp_path / "trials.jsonl"
    lines = try_all([search], results, home=tmp_path, packed=tmp_path / "rated.npz", told=told.append)
    assert [line["settings"]["passes"] for line in lines] == [1, 2]
    assert lines[0]["validation"]["metrics"]["gauc"] == lines[0]["validation"]["domains"]["War"]["gauc"]
    assert lines[0]["validation"] != lines[1]["validation"]
    again = try_all([search], results, home=tmp_path, packed=tmp_path / "rated.npz", told=told.append)
    assert (again, len(told)) == (lines, 2)
    second = slice(1, None)
    (alone,) = try_all([search], tmp_path / "second.jsonl", home=tmp_path, packed=tmp_path / "rated.npz", some=second)
    assert alone["settings"] == lines[1]["settings"], "a machine may run a part of the trials"
    assert alone["validation"] == lines[1]["validation"]
    (tmp_path / "faulty.toml").write_text(text.replace('"base"', '"bsae"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        load_knowledge_search(tmp_path / "faulty.toml")


# -- jobs and tables


def run(jobs: list[KnowledgeJob], folder: Path, packed: Path) -> list[Any]:
    return list(run_jobs(jobs, Documents(folder), measure, home=folder, packed=packed))


def test_jobs_are_resumed_and_tables_say_what_was_not_run(
    tmp_path: Path, ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    pack(ratings, tmp_path / "packed" / "rated.npz")
    jobs = [KnowledgeJob("rated", recipe, method, 0) for method in ("base", "keep", "fine-tune")]
    first = run(jobs[:2], tmp_path / "results", tmp_path / "packed")
    again = run(jobs, tmp_path / "results", tmp_path / "packed")
    assert [one.document for one in again[:2]] == [one.document for one in first]
    (found,) = read_found(jobs, Documents(tmp_path / "results"))
    text = "\n".join(sheet.markdown() for sheet in sheets(found))
    assert "| CoNet |  | 0.6336 | +0.0026 | not run | not run | not run |" in text
    assert "| KEEP | 1 | 0.6380 | +0.0070 | " in text
    assert "each user's ratings cut 60/20/20 by time" in text
    curve = found.runs["fine-tune"][0]["domains"]["War"]["curve"]
    outside = text[text.index("on all other items") :]
    change = f"{curve[-1]['outside'] - curve[0]['outside']:+.4f}"
    assert f"| fine-tune | {curve[0]['outside']:.4f} | " in outside
    assert f"| {curve[-1]['outside']:.4f} | {change} |" in outside
    assert "| keep-inherited | not run | not run |" in outside
    changed = [KnowledgeJob("rated", recipe.model_copy(update={"least": 60}), "base", 0)]
    assert Documents(tmp_path / "results").is_outdated(changed[0])


def test_a_job_that_was_stopped_goes_on_and_machines_share_its_sub_domains(
    tmp_path: Path, ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    job, trained = KnowledgeJob("rated", recipe, "keep", 0), []
    whole = measure(job, ratings, lambda _: None)
    assert len(whole["domains"]) > 2

    def say(text: str) -> None:
        if ": plugged" in text:
            trained.append(text.partition(": ")[0])

    with pytest.raises(Unfinished, match=r"keep/0 has 1 of .* sub-domains; run .*War"):
        measure(job, ratings, say, folder=tmp_path, domains=["Drama"])
    with pytest.raises(ConfigError, match="no sub-domain 'Darma'"):
        measure(job, ratings, say, folder=tmp_path, domains=["Darma"])
    again = measure(job, ratings, say, folder=tmp_path)
    assert sorted(trained) == sorted(whole["domains"]), "each once"
    assert {name: again[name] for name in again if name != "seconds"} == {
        name: whole[name] for name in whole if name != "seconds"
    }
    assert len(list((tmp_path / "parts").iterdir())) == len(whole["domains"]), "until a document has all of them"
    Documents(tmp_path).write(job, ratings, again)
    assert not list((tmp_path / "parts").iterdir())
    changed = KnowledgeJob("rated", recipe.model_copy(update={"passes": 2}), "keep", 0)
    with pytest.raises(Unfinished, match="has 1 of"):
        measure(job, ratings, say, folder=tmp_path, domains=["Drama"])
    with pytest.raises(Unfinished, match=r"run .*Drama"):
        measure(changed, ratings, say, folder=tmp_path, domains=["War"])


def test_what_the_paper_claims_is_answered_in_words(tmp_path: Path, ratings: Dataset, recipe: KnowledgeRecipe) -> None:
    pack(ratings, tmp_path / "packed" / "rated.npz")
    methods = ("base", "keep", "keep-shuffled", "fine-tune", "keep-inherited", "keep-concatenated")
    jobs = [KnowledgeJob("rated", recipe, method, 0) for method in methods]
    run(jobs, tmp_path / "results", tmp_path / "packed")
    (found,) = read_found(jobs, Documents(tmp_path / "results"))
    answers = {question.text: answer.text for question, answer in verdicts(found).lines}
    gain, low, high = gain_over(found.runs["base"], found.runs["keep"], "all")
    (ahead,) = [answer for question, answer in answers.items() if question.startswith("Is KEEP ahead of Base")]
    assert ahead.endswith(f": {gain:+.4f} ({low:+.4f} to {high:+.4f})")
    assert ahead.partition(":")[0] == ("yes" if low > 0 else "no" if high < 0 else "not sure")
    assert [answer for question, answer in answers.items() if "decomposition" in question] == ["not run"]
    half = half_of_the_gain(found)
    curve = found.runs["keep-inherited"][0]["domains"]["War"]["curve"]
    assert half == pytest.approx((curve[0]["inside"] + curve[-1]["inside"]) / 2)
    there = steps_to_half(found, "keep-inherited")
    assert there is not None
    assert there[0] <= there[1] <= round(max(each["learned"] for each in curve) / SIZES["training"].batch_size)
    said = f"{there[0]:,} to {there[1]:,} steps" if there[0] < there[1] else f"{there[1]:,} steps"
    assert f"plugged into the trained model: {said}" in "".join(answers.values())
    pictures = draw(found, tmp_path)
    assert [path.name for path, _ in pictures] == ["rated-gains.png", "rated-learning.png", "rated-domains.png"]
    page = write_report([found], tmp_path, lambda _: None).read_text(encoding="utf-8")
    assert page.count("<img ") == 3
    assert ahead.partition(":")[2] in page, "the word before it is marked"


def test_a_gain_is_pooled_over_users_and_its_interval_is_of_resampled_users() -> None:
    def document(*areas: float, samples: tuple[int, ...] = (10, 30), seed: int = 0) -> dict[str, Any]:
        words = [round(1000 * n * area) for n, area in zip(samples, areas, strict=True)]
        some = {"samples": " ".join(map(str, samples)), "auc": " ".join(map(str, words))}
        return {"seed": seed, "dataset": {"users": 5}, "users": {"codes": "1 4", "largest": some}}

    base = [document(0.5, 0.6), document(0.5, 0.6, seed=1)]
    gain, low, high = gain_over(base, [document(0.7, 0.6), document(0.9, 0.6, seed=1)], "largest")
    assert gain == pytest.approx(10 * 0.3 / 40)
    assert (low, high) == (pytest.approx(0), pytest.approx(0.3))
    only_the_first = np.arange(5) == 1
    assert gain_over(base, [document(0.7, 0.5)], "largest", only_the_first)[0] == pytest.approx(0.2)
    base[1] = document(0.1, 0.1, seed=1)
    assert gain_over(base, [document(0.7, 0.6)], "largest")[0] == pytest.approx(10 * 0.2 / 40), "the same seeds alone"
    with pytest.raises(ArtefactError, match="other users or samples"):
        gain_over([document(0.5, 0.6)], [document(0.5, 0.6, samples=(10, 20))], "largest")


def test_the_recipes_are_read_and_headline_rows_have_several_seeds() -> None:
    jobs = load_plan(RECIPES, seeds=3)
    assert {job.id for job in jobs} >= {"ml-1m/base/2", "ml-1m/keep/2", "ml-1m/keep-shuffled/0", "ml-1m/keep-c/2"}
    assert "ml-1m/keep-user/1" not in {job.id for job in jobs}
    assert [job.id for job in load_plan(RECIPES, is_fast=True)] == [f"fast/{method}/0" for method in METHODS]


def test_a_training_machine_runs_a_job_from_a_packed_file(
    tmp_path: Path, ratings: Dataset, recipe: KnowledgeRecipe
) -> None:
    pack(ratings, tmp_path / "packed" / "rated.npz")
    (tmp_path / "recipes").mkdir()
    base = 'kind = "din"\nhidden = [8]\ntraining = { epochs = 1, threads = 1 }'
    text = f'dataset = "rated"\nleast = 50\nlargest = 1\n[base]\n{base}\n'
    (tmp_path / "recipes" / "rated.toml").write_text(text, encoding="utf-8")
    words = ["reproduce", "knowledge", "--recipes", "recipes", "--packed", "packed", "--results", "results"]
    words += ["--only", "rated/base/0"]
    done = headwater_without(["redis"], words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rated/base/0: GAUC War" in done.stdout
    assert json.loads((tmp_path / "results" / "rated--base--0.json").read_text())["channel"] == "base"
