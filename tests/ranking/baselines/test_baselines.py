from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.data import Vocabulary
from headwater.errors import ArtefactError, ConfigError, LineageError, SchemaError
from headwater.metrics import measure_prediction
from headwater.ranking.baselines.lightgbm import LightGBM, LightGBMConfig
from headwater.ranking.baselines.logistic import Logistic, LogisticConfig
from headwater.ranking.model import MODELS, ImpressionModel, model_class
from made_up_log import made_up

READS: dict[str, Any] = {
    "item_attributes": ("category", "price"),
    "user_attributes": ("level",),
    "context": ("scenario",),
}
SMALL = {
    "logistic": Logistic(LogisticConfig(**READS, l2=3.0, bins=10)),
    "lightgbm": LightGBM(LightGBMConfig(**READS, rounds=40, leaves=15, min_samples=20, learning_rate=0.1, threads=1)),
}


@pytest.fixture(params=SMALL, name="model")
def small_model(request: pytest.FixtureRequest) -> Any:
    return type(SMALL[request.param])(SMALL[request.param].config)


def test_every_kind_is_a_model_of_impressions_and_names_itself() -> None:
    for kind in SMALL:
        chosen = model_class(kind)
        assert chosen.kind == chosen.config_class().kind == kind
        assert isinstance(chosen(), ImpressionModel)
    assert SMALL.keys() <= MODELS.keys()
    with pytest.raises(ConfigError, match="did you mean 'lightgbm'"):
        model_class("lightgmb")


def test_taste_and_quality_are_learned_on_earlier_days_for_a_later_one(model: Any) -> None:
    train, test = made_up(12_000).split_days(6, 7)
    predicted = model.fit(train).predict(test)
    assert list(predicted) == ["click", "conversion"]
    for task, least in (("click", 0.75), ("conversion", 0.75)):
        rows = test.samples(task)
        assert predicted[task].dtype == np.float32
        assert predicted[task].shape == (len(test),)
        found = measure_prediction(test.user_codes[rows], test.labels[task][rows], predicted[task][rows])
        # The true click probabilities reach .79; by chance it is .5.
        assert found.auc > least, task
        assert found.logloss < found.base_logloss - 0.05, task
        assert found.ece < 0.1, task


def test_labels_of_what_is_predicted_are_not_read(model: Any) -> None:
    train, test = made_up(4_000).split_days(6, 7)
    blind = replace(test, labels={"click": np.ones(len(test), np.int8)})
    model.fit(train)
    for task, values in model.predict(test).items():
        np.testing.assert_array_equal(model.predict(blind)[task], values)


def test_two_runs_give_one_model(model: Any) -> None:
    train, test = made_up(4_000).split_days(6, 7)
    first = model.fit(train).predict(test)
    second = type(model)(model.config).fit(train).predict(test)
    for task, values in first.items():
        np.testing.assert_array_equal(second[task], values)


def test_a_saved_model_predicts_the_same_and_holds_no_pickle(model: Any, tmp_path: Path) -> None:
    train, test = made_up(4_000).split_days(6, 7)
    model.fit(train).save(tmp_path / "model")
    again = type(model).load(tmp_path / "model", test.items)
    assert again.config == model.config
    for task, values in model.predict(test).items():
        np.testing.assert_array_equal(again.predict(test)[task], values)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    texts = {"click-trees.txt", "conversion-trees.txt"} if model.kind == "lightgbm" else set()
    assert names == {"config.json", "tensors.safetensors"} | texts


def test_other_vocabularies_are_refused_and_grown_ones_are_not(model: Any, tmp_path: Path) -> None:
    train, test = made_up(2_000).split_days(6, 7)
    model.fit(train).save(tmp_path / "model")
    with pytest.raises(LineageError):
        type(model).load(tmp_path / "model", Vocabulary(["x", "y"]))
    strangers = replace(test, users=Vocabulary(np.arange(len(test.users))))
    with pytest.raises(LineageError, match="users"):
        model.predict(strangers)
    ids = [*test.items.ids, "new"]
    assert type(model).load(tmp_path / "model", Vocabulary(ids)).predict(test)["click"].shape == (len(test),)


def test_altered_trees_are_refused(tmp_path: Path) -> None:
    train, _ = made_up(2_000).split_days(6, 7)
    model = LightGBM(SMALL["lightgbm"].config).fit(train)
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "click-trees.txt"
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=9", 1))
    with pytest.raises(ArtefactError, match=r"click-trees\.txt was altered"):
        LightGBM.load(tmp_path / "model", train.items)
    path.unlink()
    with pytest.raises(ArtefactError, match="missing"):
        LightGBM.load(tmp_path / "model", train.items)


def test_one_label_only_is_nothing_to_learn_from(model: Any) -> None:
    impressions = made_up(500)
    silent = replace(impressions, labels={"click": np.zeros(500, np.int8)})
    with pytest.raises(SchemaError, match="cannot learn 'click': of 500 samples 0 are positive"):
        model.fit(silent)


def test_a_day_without_clicks_is_trained_on(model: Any) -> None:
    impressions = made_up(3_000, conversions=False)
    quiet = np.where(impressions.days == 3, 0, impressions.labels["click"]).astype(np.int8)
    train, test = replace(impressions, labels={"click": quiet}).split_days(6, 7)
    assert train.days_without_positives() == [3]
    assert np.isfinite(model.fit(train).predict(test)["click"]).all()
