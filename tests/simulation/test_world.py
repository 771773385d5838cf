"""A world is what its settings say, the same one each time, and refuses settings that contradict themselves."""

from dataclasses import fields

import numpy as np
import pytest

from headwater.config import parse
from headwater.data import Dataset
from headwater.errors import ConfigError
from headwater.simulation.catalogue import Shelves
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.fitted import fit_world
from headwater.simulation.world import World, make_world


def test_the_frozen_world_has_the_hash_that_the_docs_print() -> None:
    assert BazaarConfig().hash == "e84c6efbc5da"


def test_a_fast_bazaar_is_the_same_but_for_its_size_and_never_larger() -> None:
    fast = BazaarConfig().fast()
    assert parse(BazaarConfig, fast.model_dump(), "fast") == fast
    assert (fast.behaviour, fast.scenarios, fast.world.drift) == (
        BazaarConfig().behaviour,
        BazaarConfig().scenarios,
        BazaarConfig().world.drift,
    )
    assert fast.world.users == 250
    assert BazaarConfig(world=WorldConfig(users=20)).fast().world.users == 20


def test_every_parameter_is_in_the_hash() -> None:
    assert BazaarConfig(world=WorldConfig(drift=0.09)).hash != BazaarConfig().hash


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"world": {"categories": 0}}, "world.categories"),
        ({"world": {"items": 50, "categories": 60}}, "categories (60)"),
        ({"world": {"new_taste": 1.5}}, "world.new_taste"),
        ({"world": {"arriving": 0.7, "retiring": 0.6}}, "arriving (0.7)"),
        ({"behaviour": {"stay": -0.1}}, "behaviour.stay"),
        ({"scenarios": {"homepage": {"ranked": 10, "page": 20}}}, "scenarios.homepage"),
        ({"scenarios": {"homepage": {"ranked": 10, "page": 20}}}, "page (20) exceeds ranked (10)"),
        ({"behaviour": {"taste_wieght": 1.0}}, "did you mean 'taste_weight'"),
    ],
)
def test_impossible_settings_name_the_key(given: dict, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(BazaarConfig, given, "bazaar.toml")
    assert key in str(raised.value)


def test_two_worlds_of_one_config_are_equal_to_the_byte_and_another_seed_gives_another(small: World) -> None:
    again = make_world(small.config)
    for field in fields(small.catalogue):
        mine, other = getattr(small.catalogue, field.name), getattr(again.catalogue, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.tobytes() == other.tobytes(), field.name
    assert small.user_latents.tastes.tobytes() == again.user_latents.tastes.tobytes()
    world = small.config.world.model_copy(update={"seed": 9})
    other = make_world(small.config.model_copy(update={"world": world}))
    assert (other.catalogue.categories != small.catalogue.categories).any()


def test_categories_shops_and_brands_lie_in_one_department_and_every_category_has_items(small: World) -> None:
    catalogue = small.catalogue
    assert (catalogue.category_departments[catalogue.categories] == catalogue.departments).all()
    for codes in (catalogue.shops, catalogue.brands):
        for code in np.unique(codes):
            assert len(np.unique(catalogue.departments[codes == code])) == 1
    assert len(np.unique(catalogue.categories)) == small.config.world.categories
    assert (catalogue.complements != np.arange(catalogue.n_categories)[:, None]).all()


def test_sales_fall_as_zipf_says_and_latent_vectors_have_length_one(small: World) -> None:
    sales = np.sort(small.catalogue.sales)[::-1].astype(np.float64)
    slope = np.polyfit(np.log(np.arange(1, len(sales) + 1)), np.log(sales), 1)[0]
    assert slope == pytest.approx(-small.config.world.zipf, abs=0.01)
    assert np.linalg.norm(small.item_latents.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_items_of_a_look_resemble_each_other_more_than_those_of_a_category_and_those_more_than_any(
    small: World,
) -> None:
    vectors, catalogue = small.item_latents.vectors, small.catalogue
    alike = vectors @ vectors.T
    other = ~np.eye(len(vectors), dtype=bool)
    same_category = catalogue.categories[:, None] == catalogue.categories
    same_look = catalogue.looks[:, None] == catalogue.looks
    by_look = alike[same_look & other].mean()
    by_category = alike[same_category & ~same_look].mean()
    assert by_look > by_category + 0.1 > alike[~same_category].mean() + 0.2


def test_as_many_items_arrive_and_retire_as_the_settings_say(small: World) -> None:
    span = small.config.world.days * 86_400
    catalogue = small.catalogue
    assert (catalogue.arrives >= 0).mean() == pytest.approx(0.1, abs=0.03)
    assert (catalogue.retires < span).mean() == pytest.approx(0.1, abs=0.03)
    assert catalogue.on_sale(0).sum() < len(catalogue)
    assert (catalogue.retires > catalogue.arrives).all()


def test_ratings_show_quality_through_noise(small: World) -> None:
    correlation = np.corrcoef(small.catalogue.ratings, small.item_latents.quality)[0, 1]
    assert 0.7 < correlation < 0.87


def test_tastes_drift_a_little_each_day_and_a_few_give_way(small: World) -> None:
    before = small.user_latents
    after = before.drifted(small.item_latents, small.taste_shares, drift=0.08, new_taste=0.2, seed=[1])
    is_new = before.looks != after.looks
    assert is_new.mean() == pytest.approx(0.2, abs=0.06)
    kept = (before.tastes * after.tastes).sum(axis=-1)[~is_new]
    assert 0.9 < np.median(kept) < 0.999


def test_shelves_hold_every_item_once_a_kind_and_the_best_selling_first(small: World) -> None:
    catalogue = small.catalogue
    shelves = Shelves.of(catalogue)
    whole = shelves.items[shelves.offsets[shelves.everything] :]
    assert sorted(whole.tolist()) == list(range(len(catalogue)))
    assert (np.diff(catalogue.sales[whole]) <= 0).all()
    for shelf, codes in (
        (shelves.of_shop(np.array(3)), catalogue.shops),
        (shelves.of_look(np.array(3)), catalogue.looks),
    ):
        mine = shelves.items[shelves.offsets[shelf] : shelves.offsets[shelf + 1]]
        assert set(mine.tolist()) == set(np.flatnonzero(codes == 3).tolist())


def test_a_fitted_world_has_the_data_sets_items_and_users_who_like_what_they_chose(marketplace: Dataset) -> None:
    config = BazaarConfig(world=WorldConfig(users=40, dimensions=4, styles=2, departments=2))
    world = fit_world(config, marketplace)
    assert len(world.catalogue) == len(marketplace.items)
    assert world.config.world.source.startswith(marketplace.name)
    assert world.config.hash != config.hash
    assert (np.argsort(world.catalogue.sales)[-3:] == np.argsort(marketplace.item_counts)[-3:]).all()
    best = (world.user_latents.tastes @ world.item_latents.vectors.T).max(axis=1)
    chosen = np.zeros(best.shape, bool)
    chosen[
        marketplace.event_users[marketplace.event_users < 40], marketplace.event_items[marketplace.event_users < 40]
    ] = 1
    assert best[chosen].mean() > best[~chosen].mean() + 0.05
    assert fit_world(config, marketplace).item_latents.vectors.tobytes() == world.item_latents.vectors.tobytes()


def test_a_data_set_that_is_too_small_for_the_dimensions_is_refused_by_key(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"world\.dimensions"):
        fit_world(BazaarConfig(world=WorldConfig(dimensions=256)), marketplace)
