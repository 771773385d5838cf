"""The Divide paper's jobs on a small marketplace: what is planned, measured and told."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwater.data import Dataset, leave_one_out
from headwater.data.packed import pack
from headwater.errors import ConfigError
from headwater.nn.objective import ObjectiveConfig
from headwater.nn.training import TrainingConfig
from headwater.recipe import EvaluateRecipe, Recipe
from headwater.reproduce.divide.drawings import draw
from headwater.reproduce.divide.found import Found, read_found
from headwater.reproduce.divide.measure import measure, positives_per_epoch, with_given_clusters
from headwater.reproduce.divide.pages import write_report
from headwater.reproduce.divide.plan import load_plan, with_variants
from headwater.reproduce.divide.tables import sheets
from headwater.reproduce.divide.verdicts import verdicts
from headwater.reproduce.jobs import Documents, Job, jobs_of, run_jobs
from headwater.retrieval import Mask
from headwater.retrieval.divide.batches import DivideBatches
from headwater.retrieval.divide.channel import Divide
from headwater.retrieval.divide.clusters import ClusterConfig, clusters_of, save_clusters
from headwater.retrieval.divide.config import DivideConfig, IntentConfig
from headwater.retrieval.divide.mixed import SASRecPlusConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "reproduce" / "divide"
TRAINING = TrainingConfig(epochs=2, batch_size=64, validate_every=1, device="cpu", threads=1, learning_rate=3e-3)
SIZES: dict[str, Any] = {
    "length": 12,
    "dimension": 16,
    "heads": 2,
    "layers": 1,
    "clusters": ClusterConfig(source="column", n=6),
    "intent": IntentConfig(dimension=16, layers=1, training=TRAINING),
    "objective": ObjectiveConfig(loss="unseen-softmax"),
    "training": TRAINING,
}
BASE = SASRecPlusConfig(name="sasrec", **SIZES)
OURS = DivideConfig(merge="calibrated", **SIZES)
JOINT = IntentConfig(is_joint=True, prototypes=2)
LATE = OURS.model_copy(update={"name": "divide-late", "adaptation": "output", "intent": JOINT})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def recipe_of(*channels: Any) -> Recipe:
    evaluate = EvaluateRecipe(ks=(10, 20), incremental_ks=(20, 40), sampled_negatives=False)
    return Recipe(dataset="marketplace", channels=channels, evaluate=evaluate)


def job_of(chosen: Any) -> Job:
    return jobs_of({"small": recipe_of(chosen)}, lambda _: 1)[0]


class Hashable:
    """A data set for the cache: all tests of a session share one."""

    def __init__(self, of: Dataset) -> None:
        self.of = of

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True


@cache
def measured(name: str, data: Any) -> dict[str, Any]:
    return measure(
        job_of({"divide": OURS, "divide-late": LATE, "sasrec": BASE}[name]), data.of, lambda _: None, alphas=(0.0, 1.0)
    )


def test_every_recipe_is_read_and_its_main_rows_have_three_seeds() -> None:
    ids = [job.id for job in load_plan(RECIPES)]
    assert len(ids) == len(set(ids))
    assert {f"ml-1m/{name}/{seed}" for name in ("divide", "sasrec", "sasrec-original") for seed in range(3)} <= set(ids)
    assert {"ml-1m/divide-mmoe/0", "ml-1m/sasrec+-0.5/0", "kuairand/divide-naive/0"} <= set(ids)
    assert "ml-1m/divide-mmoe/1" not in ids
    assert not {"kuairand/sasrec-softmax/0", "kuairand/sasrec-unseen-softmax/0"} & set(ids), "108,025 items"
    assert {job.recipe_name for job in load_plan(RECIPES, is_fast=True)} == {"fast"}


def test_a_variant_differs_in_one_thing() -> None:
    made = {chosen.name: chosen.model_dump() for chosen in with_variants(recipe_of(BASE, OURS)).channels}
    plain = made["divide"]
    assert made["divide-naive"] == plain | {"name": "divide-naive", "adaptation": "none"}
    changed = {key for key in plain if made["divide-bce"][key] != plain[key]}
    assert changed == {"name", "objective"}
    assert made["sasrec+-0.5"]["mix"] == 0.5
    assert made["sasrec+-0.5"]["objective"] == made["sasrec-bce"]["objective"]
    assert "divide-unseen-softmax" not in made, "divide itself"
    late = {chosen.name: chosen.model_dump() for chosen in with_variants(recipe_of(BASE, LATE)).channels}
    assert set(late) - set(made) == {"divide-late", "divide-late-bce", "divide-late-sampled", "divide-late-softmax"}
    assert late["divide-late-bce"] == late["divide-late"] | {
        "name": "divide-late-bce",
        "objective": made["sasrec-bce"]["objective"],
    }


def test_a_job_measures_recall_of_lists_made_for_each_k(marketplace: Dataset) -> None:
    found = measured("divide", Hashable(marketplace))
    assert set(found["merges"]) == {"plain", "classifier, alpha 0", "classifier, alpha 1", "calibrated, fitted"}
    assert set(found["calibration"]) == {"intent", "items"}
    split = leave_one_out(marketplace)
    channel = Divide(OURS).fit(split.train, validate=lambda _: 0.0)
    equal = channel.with_merge("quota", 0.0)
    queries = split.test.queries
    lists = equal.retrieve(queries, 20, allowed=Mask.seen(queries))
    assert found["merges"]["classifier, alpha 0"]["clusters_shown"]["20"] == 6.0
    assert found["sizes"] == [25] * 6
    assert len(lists) == 20 * len(queries)
    assert found["within"].keys() == {"5", "20", "50"}
    assert found["within"]["50"] == 1.0, "a cluster has 25 items"
    assert found["within"]["5"] > found["merges"]["plain"]["test"]["10"] / 2
    assert found["intent"]["classifier"]["n"] == len(queries)


def test_plain_sasrec_is_measured_with_the_same_quotas(marketplace: Dataset) -> None:
    found = measured("sasrec", Hashable(marketplace))
    assert set(found["merges"]) == {
        "plain",
        *(f"{chances}, alpha {alpha}" for chances in ("scores", "classifier") for alpha in (0, 1)),
    }
    assert found["intent"].keys() == {"scores", "classifier"}
    for k in ("10", "20"):
        plain = found["row"]["full"]["metrics"][f"recall@{k}"]
        assert found["merges"]["plain"]["test"][k] == pytest.approx(plain, abs=0.011), "but for ties"


def test_positives_of_an_epoch_are_those_that_batches_hold(marketplace: Dataset) -> None:
    from headwater.nn.sequences import Histories

    train = leave_one_out(marketplace).train
    clusters = clusters_of(train, SIZES["clusters"])
    expected = positives_per_epoch(Divide(OURS.model_copy(update={"tasks_per_user": 2})), train, clusters)
    made = DivideBatches(
        Histories.from_dataset(train, torch.device("cpu")),
        clusters,
        length=12,
        batch_size=64,
        tasks_per_user=2,
        seed=0,
        times=False,
    )
    seen = [made.batch(epoch, step).n_positives for epoch in range(20) for step in range(made.steps)]
    assert sum(seen) / 20 == pytest.approx(expected, rel=0.02)
    assert positives_per_epoch(Divide(LATE), train, clusters) == np.minimum(train.lengths - 1, 12).sum()


def test_given_clusters_take_the_place_of_item2vec(marketplace: Dataset, tmp_path: Path) -> None:
    save_clusters(clusters_of(marketplace, SIZES["clusters"]), marketplace, tmp_path / "marketplace.clusters.npz")
    recipe = recipe_of(OURS.model_copy(update={"clusters": ClusterConfig(n=6)}))
    given: Any = with_given_clusters(recipe, marketplace, tmp_path).channels[0]
    assert given.clusters.path == tmp_path / "marketplace.clusters.npz"
    assert with_given_clusters(recipe, marketplace, tmp_path / "..") is recipe
    assert with_given_clusters(recipe_of(OURS), marketplace, tmp_path).channels[0] is OURS, "a column stays one"
    other = recipe_of(OURS.model_copy(update={"clusters": ClusterConfig(n=7)}))
    with pytest.raises(ConfigError, match="has 6 clusters, and the recipe asks for 7"):
        with_given_clusters(other, marketplace, tmp_path)


def test_documents_come_back_as_tables_and_what_was_not_run_says_so(marketplace: Dataset, tmp_path: Path) -> None:
    from headwater.data.disk import save_dataset

    save_dataset(marketplace, tmp_path / "data" / "marketplace", source="made up")
    recipe = with_variants(recipe_of(BASE, OURS, LATE))
    jobs = jobs_of({"small": recipe}, lambda _: 1)
    documents = Documents(tmp_path / "results")
    known = {name: measured(name, Hashable(marketplace)) for name in ("divide", "divide-late", "sasrec")}
    wanted = [job for job in jobs if job.channel in known]
    ended = list(run_jobs(wanted, documents, lambda job, *_: known[job.channel], home=tmp_path))
    assert [one.reason for one in ended] == ["", "", ""]
    (found,) = read_found(jobs, documents, lambda _: None)
    assert isinstance(found, Found)
    text = "\n".join(sheet.markdown() for sheet in sheets(found))
    assert "not run" in text
    recall = known["divide"]["merges"]["plain"]["test"]["20"]
    table_2, table_3, table_4, losses, beside, *_ = sheets(found)
    ours = next(line for line in table_2.lines if line[0].text == "Ours (divide)")
    assert f"{recall:.4f}" in [cell.text for cell in ours]
    assert any("alpha" in cell.text for cell in ours)
    within = next(line for line in table_3.lines if line[0].text == "Ours (divide)")
    assert f"{known['divide']['within']['5']:.4f}" in [cell.text for cell in within]
    assert "25,000" in [cell.text for line in table_4.lines for cell in line]
    own = [line for line in losses.lines if line[0].text == "unseen-softmax"]
    for line, name in zip(own, ("divide", "divide-late"), strict=True):
        budget = min(2 * known[one]["positives_per_epoch"] for one in (name, "sasrec"))
        assert [cell.text for cell in line[1:3]] == [name, f"{budget / 1e6:.1f} M"]
        assert np.isfinite(float(line[3].text))
    for line, name in zip(
        (line for line in beside.lines if line[0].text == "unseen-softmax"), ("divide", "divide-late"), strict=True
    ):
        mine, other = (np.array(known[one]["ranks"]["targets"]) for one in ("sasrec", name))
        is_found = [{at for at, rank in enumerate(of.tolist()) if 0 <= rank < 20} for of in (mine, other)]
        both, longer = len(is_found[0] | is_found[1]), np.count_nonzero((mine >= 0) & (mine < 40))
        shares = [len(is_found[0]), len(is_found[1]), both, longer]
        assert [cell.text for cell in line[6:]] == [f"{share / len(mine):.4f}" for share in shares]
    page = write_report([found], tmp_path / "report", print).read_text(encoding="utf-8")
    assert page.count("<img") == 1, "recall over alpha; Figure 1a was not run"
    answers = {line[0].text: line[1].text for line in verdicts(found).lines}
    asked = "Is Divide ahead of the equally sized SASRec at R@20, both trained with {}?"
    theirs = known["sasrec"]["merges"]["plain"]["test"]["20"]
    assert f"{recall:.4f} against {theirs:.4f}" in answers[asked.format("a softmax over all that was not seen")]
    assert answers[asked.format("binary cross-entropy against one negative")] == "not run"
    assert "one seed" in answers[asked.format("a softmax over all that was not seen")]
    late = known["divide-late"]["merges"]["plain"]["test"]["20"]
    asked = asked.replace("Divide", "Divide with late prompts").format("a softmax over all that was not seen")
    assert f"{late:.4f} against {theirs:.4f}" in answers[asked]
    by_quotas = next(answers[one] for one in answers if one.startswith("With quotas") and "not seen" in one)
    assert "alpha" in by_quotas


def test_figure_1a_is_drawn_where_two_shares_were_run(marketplace: Dataset, tmp_path: Path) -> None:
    run = measured("sasrec", Hashable(marketplace))
    names = ["sasrec-bce", "sasrec+-0.5"]
    found = Found("small", (10, 20), names, {name: [run] for name in names})
    assert [path.name for path, _ in draw(found, tmp_path)] == ["small-figure-1a.png"]
    assert draw(Found("small", (10, 20), names, {"sasrec-bce": [run]}), tmp_path) == []


def test_ways_to_merge_stand_in_the_order_of_alpha() -> None:
    run = {"merges": dict.fromkeys(("scores, alpha 1e+06", "scores, alpha 2", "plain", "classifier, alpha 0.5"))}
    expected = ["plain", "classifier, alpha 0.5", "scores, alpha 2", "scores, alpha 1e+06"]
    assert Found("small", (10,), ["sasrec"], {"sasrec": [run]}).merges("sasrec") == expected


LIGHT_MACHINE = """
import sys
from pathlib import Path
for heavy in ("polars", "faiss", "gensim", "matplotlib"):
    sys.modules[heavy] = None  # importing it fails
from functools import partial
from headwater.recipe import load_recipe
from headwater.reproduce.divide.measure import measure
from headwater.reproduce.divide.verdicts import verdicts
from headwater.reproduce.jobs import Documents, jobs_of, run_jobs

folder = Path(sys.argv[1])
jobs = jobs_of({"small": load_recipe(folder / "small.toml")}, lambda _: 1)
measured = partial(measure, clusters=folder, alphas=(1.0,))
for ended in run_jobs(jobs, Documents(folder), measured, home=folder, packed=folder):
    print(ended.job.id, ended.reason)
"""


def test_a_machine_without_polars_faiss_and_gensim_runs_jobs_on_given_clusters(
    marketplace: Dataset, tmp_path: Path
) -> None:
    pack(marketplace, tmp_path / "marketplace.npz")
    save_clusters(clusters_of(marketplace, SIZES["clusters"]), marketplace, tmp_path / "marketplace.clusters.npz")
    training = '{ epochs = 1, threads = 1, device = "cpu" }'
    head = f"length = 8\ndimension = 8\nlayers = 1\nheads = 2\nclusters = {{ n = 6 }}\ntraining = {training}\n"
    intent = f"intent = {{ dimension = 8, training = {training} }}\n"
    channels = [f'[[channels]]\nkind = "{kind}"\n{head}{intent}' for kind in ("divide", "sasrec_plus")]
    rest = "[evaluate]\nks = [10]\nincremental_ks = [10]\nsampled_negatives = false\n"
    (tmp_path / "small.toml").write_text('dataset = "marketplace"\n' + "".join(channels) + rest, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT_MACHINE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["small/divide/0", "small/sasrec_plus/0"], "and no reason why not"
    document = json.loads((tmp_path / "small--divide--0.json").read_text())
    assert document["sizes"] == [25] * 6
