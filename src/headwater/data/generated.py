"""Generated logs with known clusters, for sizes and regimes that no small data set has."""

from __future__ import annotations

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError

CLUSTER = "cluster"
"""Item attribute that holds the latent cluster."""

KUAIRAND = 25_828, 108_025, 20_141_835
"""Users, items and interactions of KuaiRand in Table 1 of Divide (Zhang et al., WWW 2023)."""

NEXT = 5
"""A click that follows another of its cluster goes to one of so many items behind it."""


def generated_logs(
    users: int,
    items: int,
    interactions: int,
    n_clusters: int,
    *,
    name: str = "generated",
    seed: int = 0,
    skew: float = 0.8,
) -> Dataset:
    """Clicks of users who keep to a few clusters, and in each partly to an order of its items.

    Cluster sizes are uneven, histories log-normal in length. A click goes to a cluster of the user's taste; half of
    them go to one of the next items of that cluster behind what the user clicked there before, the others to one by
    Zipf's law (weight 1 / rank^skew). So there is something to learn in every cluster, and of the user which one it is.

    Parameters
    ----------
    users, items, n_clusters : int
    interactions : int
        About as many are made; every user has three or more.
    name : str
    seed : int
    skew : float
        Of popularity within a cluster.

    Returns
    -------
    Dataset
        Times are places in a history. The item attribute `cluster` holds `cluster 00`, ….

    Raises
    ------
    ConfigError
        Fewer items than clusters, or fewer than three interactions a user.
    """
    if not 1 <= n_clusters <= items:
        raise ConfigError(f"{n_clusters} clusters of {items} items: ask for 1 to {items}")
    if users < 1 or interactions < 3 * users:
        raise ConfigError(f"{interactions} interactions of {users} users: every user has three at least")
    import pyarrow as pa

    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(n_clusters, 4.0))
    labels = np.sort(random.choice(n_clusters, items, p=shares))
    sizes = np.bincount(labels, minlength=n_clusters)
    starts = np.cumsum(sizes) - sizes
    weights = np.concatenate([1 / np.arange(1, size + 1) ** skew for size in sizes.tolist()])
    total = np.concatenate([[0.0], np.cumsum(weights)])
    low, high = total[starts], total[starts + sizes]
    lengths = random.lognormal(0.0, 0.9, users)
    lengths = np.maximum(np.rint(lengths * interactions / lengths.sum()), 3).astype(np.int64)
    tastes = random.dirichlet(np.full(n_clusters, 0.3), users) * (sizes > 0)
    tastes = np.cumsum(tastes / tastes.sum(1, keepdims=True), 1)
    latest = np.full((users, n_clusters), -1, np.int64)
    order = np.argsort(-lengths, kind="stable")
    chosen, owners, times = [], [], []
    for step in range(int(lengths.max())):
        active = order[: np.searchsorted(-lengths[order], -step, side="left")]
        cluster = (random.random(len(active))[:, None] > tastes[active]).sum(1).clip(max=n_clusters - 1)
        drawn = np.searchsorted(total[1:], low[cluster] + random.random(len(active)) * (high - low)[cluster])
        before = latest[active, cluster]
        follows = (before >= 0) & (random.random(len(active)) < 0.5)
        place = before - starts[cluster] + random.integers(1, NEXT + 1, len(active))
        item = np.where(follows, starts[cluster] + place % np.maximum(sizes[cluster], 1), drawn.clip(max=items - 1))
        latest[active, cluster] = item
        chosen.append(item.astype(np.int32))
        owners.append(active.astype(np.int32))
        times.append(np.full(len(active), step, np.int64))
    digits = len(str(n_clusters - 1))
    vocabulary = Vocabulary(np.arange(items))
    return Dataset.from_events(
        name,
        Vocabulary(np.arange(users)),
        vocabulary,
        event_users=np.concatenate(owners),
        event_items=np.concatenate(chosen),
        event_times=np.concatenate(times),
        item_attributes=pa.table(
            {"id": pa.array(vocabulary.ids), CLUSTER: [f"cluster {label:0{digits}}" for label in labels.tolist()]}
        ),
        time_unit="position",
    )
