"""Jobs of a reproduction: named, run once, resumed, and kept apart by settings and data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.data import Dataset
from headwater.data.packed import pack
from headwater.errors import ConfigError, TrainingDiverged
from headwater.nn.training import TrainingConfig
from headwater.recipe import Recipe
from headwater.reproduce import jobs as jobs_module
from headwater.reproduce.jobs import Documents, Job, Unfinished, chosen_jobs, jobs_of, run_jobs
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.towers.bst import BSTConfig


def recipe_of(*channels: Any) -> Recipe:
    return Recipe(dataset="marketplace", channels=channels)


def test_a_channel_that_draws_at_random_has_a_job_for_every_seed_from_its_own_on() -> None:
    bst = BSTConfig(training=TrainingConfig(seed=5))
    jobs = jobs_of({"small": recipe_of(PopularConfig(), bst)}, lambda name: 3 if name == "bst" else 2)
    assert [job.id for job in jobs] == ["small/popular", "small/bst/5", "small/bst/6", "small/bst/7"]
    assert [job.settings.training.seed for job in jobs[1:]] == [5, 6, 7]
    assert len({job.config for job in jobs[1:]}) == 1, "a seed is no other configuration"


def test_jobs_are_chosen_as_files_are_and_a_wrong_name_gets_the_nearest() -> None:
    jobs = jobs_of({"a": recipe_of(PopularConfig(), ItemCFConfig()), "b": recipe_of(PopularConfig())}, lambda _: 1)
    assert [job.id for job in chosen_jobs(jobs, ["a/*"])] == ["a/popular", "a/itemcf"]
    assert [job.id for job in chosen_jobs(jobs, ["*/popular"])] == ["a/popular", "b/popular"]
    assert chosen_jobs(jobs, []) == jobs
    with pytest.raises(ConfigError, match="did you mean 'a/itemcf'"):
        chosen_jobs(jobs, ["a/itemfc"])


@pytest.fixture
def packed(tmp_path: Path, marketplace: Dataset) -> Path:
    pack(marketplace, tmp_path / "packed" / "marketplace.npz")
    return tmp_path / "packed"


def run(jobs: list[Job], folder: Path, packed: Path, ran: list[str], fail: str = "") -> list[Any]:
    def measure(job: Job, dataset: Dataset, say: Any) -> dict[str, Any]:
        ran.append(job.id)
        if job.channel == fail:
            raise TrainingDiverged("the loss is nan")
        return {"items": len(dataset.items)}

    return list(run_jobs(jobs, Documents(folder), measure, home=folder, packed=packed))


def test_a_job_that_is_done_is_not_done_again_and_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, packed: Path, marketplace: Dataset
) -> None:
    jobs = jobs_of({"small": recipe_of(PopularConfig(), ItemCFConfig(), BSTConfig())}, lambda _: 1)
    ran: list[str] = []
    ended = run(jobs, tmp_path / "results", packed, ran, fail="itemcf")
    assert [one.reason for one in ended] == ["", "the loss is nan", ""]
    assert ended[1].document is None
    again: list[str] = []
    ended = run(jobs, tmp_path / "results", packed, again)
    assert again == ["small/itemcf"]
    assert [one.document["items"] for one in ended] == [150, 150, 150]
    plain = json.loads((tmp_path / "results" / "small--bst--0.json").read_text(encoding="utf-8"))
    assert (plain["job"], plain["seed"], plain["config"]) == ("small/bst/0", 0, jobs[2].config)
    assert plain["dataset"]["checksum"] == marketplace.checksum()


def test_other_settings_or_other_data_make_a_job_undone(tmp_path: Path, packed: Path, marketplace: Dataset) -> None:
    jobs = jobs_of({"small": recipe_of(ItemCFConfig())}, lambda _: 1)
    folder, ran = tmp_path / "results", []
    run(jobs, folder, packed, ran)
    changed = jobs_of({"small": recipe_of(ItemCFConfig(half_life=3.0))}, lambda _: 1)
    assert Documents(folder).read(changed[0]) is None
    assert Documents(folder).is_outdated(changed[0])
    assert not Documents(folder).is_outdated(jobs[0])
    run(changed, folder, packed, ran)
    assert len(ran) == 2
    pack(marketplace.keep(np.arange(len(marketplace)) % 50 > 0), packed / "marketplace.npz")
    run(changed, folder, packed, ran)
    assert len(ran) == 3


def test_a_data_set_that_is_not_there_is_said_for_each_of_its_jobs(tmp_path: Path, packed: Path) -> None:
    missing = replace(
        jobs_of({"x": recipe_of(PopularConfig())}, lambda _: 1)[0],
        recipe=Recipe(dataset="nowhere", channels=(PopularConfig(),)),
    )
    ended = run([missing, *jobs_of({"small": recipe_of(PopularConfig())}, lambda _: 1)], tmp_path / "r", packed, [])
    assert ended[0].lacks_data
    assert "nowhere" in ended[0].reason
    assert ended[1].document is not None


def test_parts_stay_until_the_document_is_written(
    tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of({"small": recipe_of(ItemCFConfig(), PopularConfig())}, lambda _: 1)
    parts = tmp_path / "results" / "parts"
    parts.mkdir(parents=True)
    for name in ("small--itemcf--a.json", "small--popular--a.json"):
        (parts / name).write_text("{}", encoding="utf-8")

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as away:
        away.setattr(jobs_module, "write_document", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run(jobs[:1], tmp_path / "results", packed, [])
    assert len(list(parts.iterdir())) == 2
    run(jobs[:1], tmp_path / "results", packed, [])
    assert [part.name for part in parts.iterdir()] == ["small--popular--a.json"]


def test_a_job_that_was_asked_in_part_has_not_failed(tmp_path: Path, packed: Path) -> None:
    def measure(job: Job, dataset: Dataset, say: Any) -> dict[str, Any]:
        raise Unfinished("one of two parts is there")

    jobs = jobs_of({"small": recipe_of(ItemCFConfig())}, lambda _: 1)
    (ended,) = run_jobs(jobs, Documents(tmp_path), measure, home=tmp_path, packed=packed)
    assert (ended.document, ended.is_unfinished, ended.reason) == (None, True, "one of two parts is there")
