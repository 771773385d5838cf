"""A world whose latent vectors, looks, sales and tastes are fitted to a real data set instead of drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.index.k_means import k_means
from headwater.simulation.config import BazaarConfig
from headwater.simulation.latents import unit
from headwater.simulation.world import World, assemble

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit_world(config: BazaarConfig, dataset: Dataset) -> World:
    """A world of the data set's items and of its first users.

    Item vectors are singular vectors of the scaled interactions. Categories are the data set's, styles the k-means
    clusters of the vectors within a category, sales the interactions. A user's tastes are the looks of most of the
    user's interactions, each the mean vector of what the user chose of it. Shops, brands, prices, quality and the
    demography stay drawn: such data say nothing of them. `world.items`, `categories` and `source` of the world's
    config are the data set's; `users` is what was asked for, at most what there is.

    Raises
    ------
    ConfigError
        The settings do not fit the data set, or there are fewer users than one taste needs.
    """
    settings = config.world
    categories, names = dataset.categories
    world = {
        **settings.model_dump(),
        "users": min(settings.users, len(dataset.users)),
        "items": len(dataset.items),
        "categories": len(names),
        "departments": min(settings.departments, len(names)),
        "source": f"{dataset.name} {dataset.checksum()}",
    }
    if len(dataset.items) < 10 or not len(dataset):
        raise ConfigError(
            f"world.source: {dataset.name} has {len(dataset.items)} items and {len(dataset)} interactions"
        )
    config = BazaarConfig.model_validate({**config.model_dump(), "world": world})
    settings = config.world
    vectors = unit(_item_vectors(dataset, settings.dimensions, settings.seed))
    styles, look_vectors = _styles(vectors, categories, len(names), settings.styles, settings.seed)
    return assemble(
        config,
        categories,
        np.sort(np.arange(len(names)) % settings.departments).astype(np.int32),
        styles,
        vectors,
        look_vectors,
        sales=(dataset.item_counts + 0.5).astype(np.float64),
        tastes=_tastes(dataset, categories * settings.styles + styles, vectors, look_vectors, config),
    )


def _item_vectors(dataset: Dataset, dimensions: int, seed: int) -> NDArray[np.float32]:
    """(items, d) from the singular vectors of D_u^-1/2 X D_i^-1/2, without the first, which is popularity."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import svds

    n_users, n_items = len(dataset.users), len(dataset.items)
    if min(n_users, n_items) <= dimensions + 1:
        raise ConfigError(
            f"world.dimensions: {dimensions} need more than {dimensions + 1} users and items; "
            f"{dataset.name} has {n_users} and {n_items}"
        )
    by_user = np.maximum(dataset.lengths, 1) ** -0.5
    by_item = np.maximum(dataset.item_counts, 1) ** -0.5
    values = by_user[dataset.event_users] * by_item[dataset.event_items]
    matrix = sp.csr_array((values, dataset.event_items, dataset.offsets), shape=(n_users, n_items))
    start = np.random.default_rng([seed, 6]).standard_normal(min(n_users, n_items))
    _, strengths, items = svds(matrix, k=dimensions + 1, v0=start)
    best = np.argsort(-strengths)[1:]
    return np.ascontiguousarray((np.asarray(items)[best] * strengths[best, None]).T, np.float32)


def _styles(
    vectors: NDArray[np.float32], categories: NDArray[np.int32], n_categories: int, n_styles: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    styles = np.zeros(len(vectors), np.int32)
    looks = np.zeros((n_categories * n_styles, vectors.shape[1]), np.float32)
    for category in range(n_categories):
        members = np.flatnonzero(categories == category)
        if not len(members):
            continue
        mine = vectors[members]
        many = min(n_styles, max(len(members) // 4, 1))
        if many > 1:
            styles[members] = k_means(mine, many, seed=seed)
        for style in range(n_styles):
            chosen = mine[styles[members] == style]
            looks[category * n_styles + style] = (chosen if len(chosen) else mine).mean(axis=0)
    return styles, unit(looks)


def _tastes(
    dataset: Dataset,
    looks: NDArray[np.int32],
    vectors: NDArray[np.float32],
    look_vectors: NDArray[np.float32],
    config: BazaarConfig,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    settings = config.world
    tastes = np.zeros((settings.users, settings.tastes, settings.dimensions), np.float32)
    taste_looks = np.zeros((settings.users, settings.tastes), np.int32)
    common = np.argsort(-np.bincount(looks, dataset.item_counts, minlength=len(look_vectors)), kind="stable")
    for user in range(settings.users):
        chosen = dataset.event_items[dataset.offsets[user] : dataset.offsets[user + 1]]
        own, counts = np.unique(looks[chosen], return_counts=True)
        best = own[np.argsort(-counts, kind="stable")][: settings.tastes]
        # Whoever has fewer looks than tastes likes what most people do.
        fill = common[~np.isin(common, best)][: settings.tastes - len(best)]
        mine = np.concatenate([best, fill, np.repeat(best[:1], max(settings.tastes - len(best) - len(fill), 0))])
        taste_looks[user] = mine
        for at, look in enumerate(mine.tolist()):
            members = chosen[looks[chosen] == look]
            tastes[user, at] = vectors[members].mean(axis=0) if len(members) else look_vectors[look]
    return unit(tastes), taste_looks
