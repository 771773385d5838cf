"""From a recipe to a promoted release."""

from pathlib import Path

import numpy as np
import pytest
from small_recipes import recipe_of

from headwater import release as releases
from headwater.data import Dataset, Vocabulary, key_of, leave_one_out
from headwater.errors import ConfigError, SchemaError
from headwater.experiment import import_profiles, promote_fitted, train
from headwater.home import Home
from headwater.profile.history import Profile
from headwater.recipe import Recipe
from headwater.retrieval.classic.itemcf import ItemCF, ItemCFConfig
from headwater.retrieval.classic.popular import Popular, PopularConfig
from headwater.retrieval.evaluation import validation_figure
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig
from headwater.store.lmdb import LmdbStore


def test_training_promotes_a_release_and_knows_the_users(marketplace: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    home = Home(tmp_path)
    said: list[str] = []
    release = train(recipe, marketplace, home, say=said.append)
    assert releases.current(home.releases) == release
    manifest = releases.read_manifest(home.releases / release)
    assert manifest.metrics["itemcf"]["hr@10"] > 0
    assert manifest.merge.weights == {"popular": 1.0, "itemcf": 1.0, "nearline": 1.0}
    assert any("fitting itemcf" in line for line in said)
    store = LmdbStore(home.store)
    try:
        histories = Profile(store).history([key_of(user) for user in marketplace.users.ids.tolist()])
        assert sum(len(history) for history in histories) == len(marketplace)
        once = [history.items.tolist() for history in histories]
    finally:
        store.close()
    import_profiles(marketplace, home)
    store = LmdbStore(home.store)
    try:
        again = Profile(store).history([key_of(user) for user in marketplace.users.ids.tolist()])
        assert [history.items.tolist() for history in again] == once
    finally:
        store.close()


@pytest.mark.parametrize("validate", [True, False])
def test_a_learned_channel_of_a_release_is_trained_for_the_epochs_that_were_best_on_validation(
    marketplace: Dataset, learned: SASRecConfig, tmp_path: Path, validate: bool
) -> None:
    home = Home(tmp_path)
    # A rate far too high: validation is best at once and falls.
    learned = learned.model_copy(update={"training": learned.training.model_copy(update={"learning_rate": 0.5})})
    split = leave_one_out(marketplace)
    report = SASRec(learned).fit(split.train, validate=validation_figure(split)).report
    assert report is not None
    assert report.best_epoch is not None
    assert report.best_epoch + 1 < learned.training.epochs, "else this shows nothing"

    folder = home.releases / train(recipe_of(PopularConfig(), learned), marketplace, home, validate=validate)
    _, sasrec = releases.load(folder).channels
    assert isinstance(sasrec, SASRec)
    epochs = report.best_epoch + 1 if validate else learned.training.epochs
    assert sasrec.config.training.epochs == epochs
    fixed = learned.model_copy(update={"training": learned.training.model_copy(update={"epochs": epochs})})
    expected = SASRec(fixed).fit(marketplace)
    queries = split.test.queries
    assert sasrec.retrieve(queries, 10).items.tolist() == expected.retrieve(queries, 10).items.tolist()
    assert ("sasrec" in releases.read_manifest(folder).metrics) == validate


def test_fitted_channels_are_promoted_as_they_are_and_answer_whole_histories(
    marketplace: Dataset, recipe: Recipe, tmp_path: Path
) -> None:
    home, split = Home(tmp_path), leave_one_out(marketplace)
    itemcf = ItemCF(ItemCFConfig(neighbours=40)).fit(split.train)
    popular = Popular(PopularConfig()).fit(split.train)
    release = promote_fitted(recipe, [popular, itemcf], home, learned_from=split.train, histories=marketplace)
    assert releases.current(home.releases) == release
    loaded = releases.load(home.releases / release)
    assert loaded.manifest.window.interactions == len(split.train)
    assert loaded.manifest.window.checksum == split.train.checksum()
    assert not loaded.manifest.metrics
    queries = split.test.queries
    assert loaded.channels[1].retrieve(queries, 10).items.tolist() == itemcf.retrieve(queries, 10).items.tolist()
    store = LmdbStore(home.store)
    try:
        histories = Profile(store).history([key_of(user) for user in marketplace.users.ids.tolist()])
    finally:
        store.close()
    assert sum(len(history) for history in histories) == len(marketplace) > len(split.train)


def tiny(name: str, lengths: list[int]) -> Dataset:
    """Users of the given history lengths, no item twice."""
    users = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    items = np.arange(len(users), dtype=np.int32)
    return Dataset.from_events(
        name,
        Vocabulary(np.arange(len(lengths))),
        Vocabulary([f"item-{code}" for code in range(len(items))]),
        event_users=users,
        event_items=items,
        event_times=np.arange(len(users), dtype=np.int64),
    )


def test_a_channel_that_found_nothing_on_validation_still_gives_a_release_that_loads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    recipe = recipe_of(PopularConfig(), ItemCFConfig())
    release = train(recipe, tiny("strangers", [3, 3, 3, 3]), home)
    metrics = releases.load(home.releases / release).manifest.metrics
    assert metrics["itemcf"]["hr@5"] == 0
    assert "popularity@5" not in metrics["itemcf"]


def test_users_of_one_item_are_trained_on_when_nothing_is_measured(tmp_path: Path) -> None:
    home, dataset = Home(tmp_path), tiny("singles", [1, 1, 1])
    with pytest.raises(SchemaError, match=r"at least 3 interactions.*--no-validate"):
        train(recipe_of(PopularConfig()), dataset, home)
    release = train(recipe_of(PopularConfig()), dataset, home, validate=False)
    assert releases.current(home.releases) == release


def test_another_data_set_needs_a_home_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    train(recipe_of(PopularConfig()), tiny("shop", [3, 3]), home)
    with pytest.raises(ConfigError, match=r"serves 'shop'.*train 'films' in a home of its own"):
        train(recipe_of(PopularConfig()), tiny("films", [3, 3]), home)
    train(recipe_of(PopularConfig()), tiny("shop", [3, 4]), home)
    assert len(releases.listed(home.releases)) == 2


def test_a_channel_that_reads_what_a_service_does_not_know_is_refused_before_it_is_trained(
    marketplace: Dataset, learned: SASRecConfig, tmp_path: Path
) -> None:
    reading = learned.model_copy(update={"inputs": learned.inputs.model_copy(update={"ratings": True})})
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"sasrec reads ratings, .* set inputs.ratings = false"):
        train(recipe_of(reading), marketplace, Home(tmp_path), say=said.append)
    assert not said
