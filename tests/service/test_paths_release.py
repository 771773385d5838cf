"""Paths in a release: the index is part of it, answers say which way led to an item, unknown events are counted."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from litestar.testing import TestClient

from headwater import release as releases
from headwater.data import Dataset, key_of
from headwater.errors import ReleaseError
from headwater.experiment import train
from headwater.home import Home
from headwater.nn.training import TrainingConfig
from headwater.profile.history import Profile
from headwater.recipe import MergeRecipe, Recipe
from headwater.retrieval.paths.config import PathsConfig
from headwater.service.app import create_app
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
from headwater.show import say_reasons
from headwater.store import open_store


@pytest.fixture(scope="module")
def trained_home(marketplace: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Home:
    torch.set_num_threads(1)
    config = PathsConfig(
        search="greedy", neighbours=20, candidates_per_item=100, length=20, dimension=8, field_dimension=4,
        trigger_hidden=(8,), similarity_hidden=(8, 4), direct_hidden=(8,), negatives=8, positions=4,
        training=TrainingConfig(epochs=3, batch_size=128, device="cpu", learning_rate=1e-2),
    )  # fmt: skip
    home = Home(tmp_path_factory.mktemp("home"))
    train(Recipe(dataset="marketplace", channels=(config,), merge=MergeRecipe(pool=30)), marketplace, home)
    return home


@pytest.fixture
def home(trained_home: Home, tmp_path: Path) -> Home:
    shutil.copytree(trained_home.root, tmp_path / "home")
    return Home(tmp_path / "home")


def test_a_release_carries_the_index_and_is_refused_where_it_was_altered(home: Home) -> None:
    release = releases.current(home.releases)
    manifest = releases.read_manifest(home.releases / release)
    assert set(manifest.checksums) >= {"channels/paths/neighbours", "channels/paths/served.safetensors"}
    assert manifest.metrics["paths"]["hr@10"] > 0
    index = home.releases / release / "channels" / "paths" / "neighbours"
    raw = bytearray(index.read_bytes())
    raw[-1] ^= 1
    index.write_bytes(raw)
    with pytest.raises(ReleaseError, match="channels/paths/neighbours was altered"):
        releases.load(home.releases / release)


def test_an_answer_names_the_triggers_and_the_direct_path(home: Home) -> None:
    with open_pipeline(home) as pipeline:
        answer = pipeline.answer(CandidatesRequest(user=7, k=10))
        newcomer = pipeline.answer(CandidatesRequest(user=10**6, k=3))
    kinds = {why.kind for item in answer.items for why in item.why}
    assert "profile" in kinds
    assert kinds <= {"profile", "direct"}
    direct = [why for item in answer.items for why in item.why if why.kind == "direct"]
    assert {why.text for why in direct} <= {"general taste"}
    for item in newcomer.items:
        (why,) = item.why
        assert (why.kind, why.share) == ("direct", 1.0)
        assert why.text == "nothing in your history leads here: general taste"
        assert say_reasons(item) == f"paths: {why.text}"
    shown = next(item for item in answer.items if item.why[0].kind == "profile")
    assert f"{shown.why[0].title} {shown.why[0].share:.0%}" in say_reasons(shown)


def test_events_of_items_that_a_release_does_not_know_are_counted(home: Home) -> None:
    store = open_store(home.store)
    Profile(store).append_many(
        users=np.full(3, key_of(10**6), np.int64),
        items=np.array([key_of("nothing"), key_of("nothing else"), key_of("item-003")], np.int64),
        times=np.array([1_700_000_000, 1_700_000_001, 1_700_000_002], np.int64),
        behaviours=np.ones(3, np.int8),
    )
    store.close()
    with TestClient(create_app(home), base_url="http://127.0.0.1") as client:
        assert health(client)["unknown_triggers"] == 0
        answer = client.post("/v1/candidates", json={"user": 10**6, "k": 3}).json()
        assert answer["history"] == 1
        assert health(client)["unknown_triggers"] == 2


def health(client: TestClient[Any]) -> dict[str, Any]:
    return client.get("/healthz").json()
