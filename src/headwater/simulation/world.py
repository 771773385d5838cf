"""A marketplace from its settings: items with a visible and a hidden side, and users.

Everything is drawn once, in bulk, from one seed; what happens later is drawn by name (`draws`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.vocabulary import Vocabulary
from headwater.simulation.catalogue import FOREVER, Catalogue
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.latents import ItemLatents, UserLatents, unit

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

DAY = 86_400
AGES = ("18-24", "25-34", "35-44", "45-59", "60+")
AGE_SHARES = (0.22, 0.33, 0.22, 0.16, 0.07)
REGIONS = 12
COMPLEMENTS = 3
"""Categories that go with a category."""

LOOK, STYLE, OWN = 0.6, 0.5, 0.45
"""What a category, a style within it, and the item itself add to its vector, before it gets length 1."""

REVIEW_NOISE = 0.8
"""Of a rating, beside the quality that it shows, both in standard deviations."""


@dataclass
class World:
    """All that there is, of which only `catalogue` and `demographics` can be seen.

    Attributes
    ----------
    config : BazaarConfig
    catalogue : Catalogue
    users : Vocabulary
    demographics : pyarrow.Table
        Age group, gender and region; row c describes user code c.
    item_latents : ItemLatents
    user_latents : UserLatents
        As of day 0.
    taste_shares : (categories * styles,) float64
        How common a taste for each look is; sums to 1.
    """

    config: BazaarConfig
    catalogue: Catalogue
    users: Vocabulary
    demographics: pa.Table
    item_latents: ItemLatents
    user_latents: UserLatents
    taste_shares: NDArray[np.float64]


def make_world(config: BazaarConfig) -> World:
    """Draw a world. Two calls with one config give equal worlds."""
    settings = config.world
    random = np.random.default_rng([settings.seed, 0])
    categories = _spread(random, settings.items, settings.categories, 0.6)
    category_departments = np.sort(np.arange(settings.categories) % settings.departments).astype(np.int32)
    styles = _spread(random, settings.items, settings.styles, 0.5, least=0)
    category_vectors = unit(random.standard_normal((settings.categories, settings.dimensions), np.float32))
    style_vectors = unit(
        random.standard_normal((settings.categories, settings.styles, settings.dimensions), np.float32)
    )
    look_vectors = (LOOK * category_vectors[:, None] + STYLE * style_vectors).reshape(-1, settings.dimensions)
    own = random.standard_normal((settings.items, settings.dimensions), np.float32) / np.sqrt(settings.dimensions)
    vectors = unit((look_vectors[categories * settings.styles + styles] + OWN * own).astype(np.float32))
    return assemble(
        config,
        categories,
        category_departments,
        styles,
        vectors,
        unit(look_vectors.astype(np.float32)),
        sales=_zipf(random, settings.items, settings.zipf),
    )


def assemble(
    config: BazaarConfig,
    categories: NDArray[np.int32],
    category_departments: NDArray[np.int32],
    styles: NDArray[np.int32],
    vectors: NDArray[np.float32],
    look_vectors: NDArray[np.float32],
    *,
    sales: NDArray[np.float64],
    tastes: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None,
) -> World:
    """A world around items whose categories, looks, vectors and sales are known; the rest is drawn.

    Parameters
    ----------
    categories, styles : (items,) int32
    category_departments : (categories,) int32
    vectors : (items, d) float32
        Of length 1.
    look_vectors : (categories * styles, d) float32
        Of length 1.
    sales : (items,) float64
        Above 0; a share of all.
    tastes : (users, t, d) float32 and (users, t) int32, optional
        Vectors and looks of the users' tastes; drawn without.
    """
    settings = config.world
    random = np.random.default_rng([settings.seed, 1])
    n, n_categories = settings.items, len(category_departments)
    departments = category_departments[categories]
    n_departments = int(category_departments.max()) + 1
    shops = _within_departments(random, departments, n_departments, settings.shops)
    brands = _within_departments(random, departments, n_departments, settings.brands)
    category_prices = random.normal(3.5, 0.8, n_categories)
    quality = random.standard_normal(n, np.float32)
    arrives, retires = _lives(random, settings)
    complements = np.stack(
        [_partner(random, category_departments, n_categories) for _ in range(COMPLEMENTS)], axis=1
    ).astype(np.int32)
    catalogue = Catalogue(
        items=Vocabulary(np.arange(1, n + 1)),
        departments=departments,
        categories=categories,
        styles=styles,
        shops=shops,
        brands=brands,
        category_departments=category_departments,
        complements=complements,
        log_prices=(category_prices[categories] + random.normal(0, 0.5, n)).astype(np.float32),
        ratings=((quality + REVIEW_NOISE * random.standard_normal(n)) / np.hypot(1, REVIEW_NOISE)).astype(np.float32),
        sales=(sales / sales.sum()).astype(np.float32),
        arrives=arrives,
        retires=retires,
        n_styles=settings.styles,
    )
    look_sales = np.bincount(catalogue.looks, sales, minlength=len(look_vectors))
    # Tastes are less concentrated than sales are: half by sales, half alike over the looks that there are.
    there = look_sales > 0
    taste_shares = 0.5 * look_sales / look_sales.sum() + 0.5 * there / there.sum()
    item_latents = ItemLatents(vectors, quality, look_vectors)
    users = np.random.default_rng([settings.seed, 2])
    if tastes is None:
        looks = users.choice(len(taste_shares), (settings.users, settings.tastes), p=taste_shares).astype(np.int32)
        noise = users.standard_normal((settings.users, settings.tastes, settings.dimensions), np.float32)
        tastes = unit(look_vectors[looks] + np.float32(0.5 / np.sqrt(settings.dimensions)) * noise), looks
    rates = np.exp(users.normal(0, settings.activity_spread, settings.users))
    user_latents = UserLatents(
        tastes=tastes[0],
        looks=tastes[1],
        price_levels=users.normal(0, 0.4, settings.users).astype(np.float32),
        sensitivities=np.exp(users.normal(0, 0.4, settings.users)).astype(np.float32),
        rates=rates * settings.sessions / rates.mean(),
    )
    return World(
        config=config,
        catalogue=catalogue,
        users=Vocabulary(np.arange(1, settings.users + 1)),
        demographics=_demographics(settings, user_latents),
        item_latents=item_latents,
        user_latents=user_latents,
        taste_shares=taste_shares,
    )


def _demographics(settings: WorldConfig, latents: UserLatents) -> pa.Table:
    """Who users say they are: the older, the less they mind the price, on the whole."""
    import pyarrow as pa

    random = np.random.default_rng([settings.seed, 3])
    noisy = -latents.sensitivities + random.normal(0, 0.6, settings.users)
    ages = np.searchsorted(np.quantile(noisy, np.cumsum(AGE_SHARES)[:-1]), noisy)
    return pa.table(
        {
            "id": pa.array(np.arange(1, settings.users + 1)),
            "age": [AGES[age] for age in ages.tolist()],
            "gender": random.choice(["f", "m"], settings.users),
            "region": [f"region-{region}" for region in random.integers(0, REGIONS, settings.users).tolist()],
        }
    )


def _spread(random: np.random.Generator, n: int, groups: int, exponent: float, *, least: int = 1) -> NDArray[np.int32]:
    """n members of unequal groups, each of at least `least` where n allows."""
    shares = np.arange(1, groups + 1) ** -exponent
    drawn = random.choice(groups, n, p=shares / shares.sum())
    if least:
        drawn[: groups * least] = np.tile(np.arange(groups), least)
    return random.permutation(drawn).astype(np.int32)


def _zipf(random: np.random.Generator, n: int, exponent: float) -> NDArray[np.float64]:
    sales = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return random.permutation(sales) / sales.sum()


def _within_departments(
    random: np.random.Generator, departments: NDArray[np.int32], n_departments: int, groups: int
) -> NDArray[np.int32]:
    """One of `groups` groups for each item, all of a group in one department where there are enough groups."""
    first = departments.astype(np.int64) % groups
    many = max(groups // n_departments, 1)
    return ((first + n_departments * random.integers(0, many, len(departments))) % groups).astype(np.int32)


def _lives(random: np.random.Generator, settings: WorldConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n, span = settings.items, settings.days * DAY
    fate = random.random(n)
    moment = (random.random(n) * span).astype(np.int64)
    arrives = np.where(fate < settings.arriving, moment, -1)
    retires = np.where(fate >= 1 - settings.retiring, moment, FOREVER)
    return arrives.astype(np.int64), retires.astype(np.int64)


def _partner(
    random: np.random.Generator, category_departments: NDArray[np.int32], n_categories: int
) -> NDArray[np.int64]:
    """Another category for each; of the same department with chance one half, where it has another one."""
    anywhere = (np.arange(n_categories) + random.integers(1, max(n_categories, 2), n_categories)) % n_categories
    sizes = np.bincount(category_departments)
    firsts = np.concatenate([[0], np.cumsum(sizes)])[category_departments]
    size = sizes[category_departments]
    near = firsts + (np.arange(n_categories) - firsts + 1 + random.integers(0, np.maximum(size - 1, 1))) % size
    return np.where(random.random(n_categories) < 0.5, near, anywhere)
