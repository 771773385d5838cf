"""What is built says of everybody what the models say, and training and serving read the same bytes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from knowing import SMALL

from headwater.data import Impressions, Vocabulary
from headwater.data.vocabulary import key_of
from headwater.errors import ConfigError, LineageError
from headwater.knowledge.build import build
from headwater.knowledge.built import Built
from headwater.knowledge.center import Center
from headwater.knowledge.client import CenterSource
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration
from headwater.knowledge.plugged import Plugged
from headwater.ranking.din import DIN, DINConfig
from made_up import SMALL as RANKER
from made_up import impressions

Models = tuple[Decomposition, Degeneration]


@pytest.fixture(scope="module")
def data() -> Impressions:
    torch.set_num_threads(1)
    made = impressions(4)
    categories = [None if code == 3 else name for code, name in enumerate(made.item_attributes["category"].to_pylist())]
    at = made.item_attributes.column_names.index("category")
    return replace(made, item_attributes=made.item_attributes.set_column(at, "category", pa.array(categories)))


@pytest.fixture(scope="module")
def models(data: Impressions) -> Models:
    towers = Decomposition(DecompositionConfig(**{**SMALL, "hidden": (12, 8)})).fit(data)
    return towers, Degeneration(DegenerationConfig(**SMALL)).fit(data)


@pytest.fixture(scope="module")
def built(data: Impressions, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(*models, data, tmp_path_factory.mktemp("built") / "knowledge")


def later(data: Impressions, users: np.ndarray, items: np.ndarray) -> Impressions:
    """Questions after the last event."""
    n = len(users)
    return replace(
        data,
        user_codes=users.astype(np.int32),
        item_codes=items.astype(np.int32),
        times=np.full(n, 100 * 86_400),
        days=np.full(n, 100, np.int32),
        labels={"click": np.zeros(n, np.int8)},
        context={"scenario": np.zeros(n, np.int32)},
    )


def test_a_center_says_what_the_models_say_in_half_precision(
    data: Impressions, models: Models, built: Built, tmp_path: Path
) -> None:
    center = Center(tmp_path / "center")
    center.publish(built.folder)
    users, items = np.repeat(np.arange(40), 5), np.tile(np.arange(8, 13), 40)
    answer = center.get(data.users.keys[users], data.items.keys[items])
    asked = later(data, users, items)
    towers, pairs = models
    width = towers.config.hidden[-1]
    expected = np.concatenate([towers.knowledge(asked), pairs.knowledge(asked)], 1).astype("f2").astype("f4")
    expected[:, 2 * width : 3 * width] = expected[:, :width] * expected[:, width : 2 * width]
    np.testing.assert_allclose(answer.values, expected, rtol=2e-3, atol=1e-4)
    assert (answer.flags == 0).mean() > 0.9, "users of this log have seen nearly every category"


def test_pairs_are_those_that_were_observed_and_items_without_a_category_have_none(
    data: Impressions, built: Built
) -> None:
    names = data.item_attributes["category"].to_pylist()
    key = {name: key_of(name) for name in set(names) - {None}}
    expected = {
        (int(data.users.keys[user]), key[names[item]])
        for user, item in zip(data.user_codes, data.item_codes, strict=True)
        if user >= 0 and item >= 0 and names[item] is not None
    }
    users = np.repeat(built.user_keys, np.diff(built.pair_offsets))
    found = list(zip(users.tolist(), built.category_keys[built.pair_categories].tolist(), strict=True))
    assert len(set(found)) == len(found)
    assert set(found) == expected
    row = int(np.searchsorted(built.item_keys, data.items.keys[3]))
    assert built.item_categories[row] == len(built.category_keys)


def test_somebody_unknown_is_told_what_the_models_learned_to_say_of_them(
    data: Impressions, models: Models, built: Built, tmp_path: Path
) -> None:
    center = Center(tmp_path / "center")
    center.publish(built.folder)
    nobody = later(data, np.array([-1]), np.array([-1]))
    expected = np.concatenate([models[0].knowledge(nobody), models[1].knowledge(nobody)], 1)
    answer = center.get(np.array([-5]), np.array([-5]))
    assert answer.flags.tolist() == [7]
    np.testing.assert_allclose(answer.values, expected, rtol=5e-3, atol=1e-4)


def test_training_and_serving_read_the_same_bytes_and_score_alike(
    data: Impressions, built: Built, tmp_path: Path
) -> None:
    center = Center(tmp_path / "center")
    center.publish(built.folder)
    source = CenterSource(center)
    plugged = Plugged(DIN(DINConfig(**RANKER)), source).fit(data)
    plugged.save(tmp_path / "plugged")
    center.publish(built.folder)
    serving = CenterSource(Center(tmp_path / "center"), 1)
    assert np.array_equal(serving.knowledge(data), source.knowledge(data))
    again = Plugged.load(tmp_path / "plugged", data.items, serving)
    some = data.select(np.arange(len(data)) % 7 == 0)
    np.testing.assert_allclose(again.predict(some)["click"], plugged.predict(data)["click"][::7], atol=1e-5)


def test_a_version_of_another_content_or_other_ids_is_refused(
    data: Impressions, models: Models, built: Built, tmp_path: Path
) -> None:
    center = Center(tmp_path / "center")
    center.publish(built.folder)
    plugged = Plugged(DIN(DINConfig(**RANKER)), CenterSource(center)).fit(data)
    plugged.save(tmp_path / "plugged")
    build(*models, data, tmp_path / "other", as_of=2 * 86_400)
    center.publish(tmp_path / "other")
    with pytest.raises(LineageError, match="allow_other"):
        Plugged.load(tmp_path / "plugged", data.items, CenterSource(center))
    assert Plugged.load(tmp_path / "plugged", data.items, CenterSource(center, 1))
    assert Plugged.load(tmp_path / "plugged", data.items, CenterSource(center), allow_other=True)
    other = replace(data, items=Vocabulary([f"thing {code}" for code in range(len(data.items))]))
    with pytest.raises(LineageError, match="version 1 of knowledge was built on other items"):
        CenterSource(center, 1).knowledge(other)
    with pytest.raises(ConfigError, match="no version 9 of knowledge; it has 1, 2"):
        CenterSource(center, 9)
