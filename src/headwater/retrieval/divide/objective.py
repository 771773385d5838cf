"""The loss within the clusters of the positives (Zhang et al., WWW 2023, eq. 3), of all clusters at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from headwater.nn.losses import binary_cross_entropy, calibrated_exponent, full_softmax, sampled_softmax
from headwater.nn.negatives import hardest
from headwater.nn.sequences import to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.nn.objective import ItemVectors, ObjectiveConfig
    from headwater.retrieval.divide.batches import DivideBatch
    from headwater.retrieval.divide.clusters import Clusters


class WithinObjective:
    """`Objective` with the cluster of each positive for its catalogue.

    Draws and comparisons are made for all clusters together, so that a step starts about as many kernels as one over
    the whole catalogue does; only products with shared draws, and full sums, go cluster by cluster.

    Parameters
    ----------
    config : ObjectiveConfig
    clusters : Clusters
    counts : (items,)
        Training interactions, for popularity.
    device : torch.device
    """

    def __init__(
        self, config: ObjectiveConfig, clusters: Clusters, counts: NDArray[np.integer], device: torch.device
    ) -> None:
        self.config = config
        self._list_sizes = clusters.sizes.tolist()

        def on_device(column: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.array(column)).to(device)

        self._labels = on_device(clusters.labels.astype(np.int64))
        self._places, self._by_cluster = on_device(clusters.places), on_device(clusters.by_cluster)
        self._starts, self._sizes = on_device(clusters.starts), on_device(clusters.sizes)
        power = {"popularity": config.popularity_power, "in-batch": 1.0}.get(config.negatives, 0.0)
        weights = np.maximum(counts[clusters.by_cluster], 1).astype(np.float64) ** power
        borders = np.concatenate([[0.0], np.cumsum(weights)])
        low, high = borders[clusters.starts], borders[clusters.starts + clusters.sizes]
        chances = weights / (high - low)[clusters.labels[clusters.by_cluster]]
        self._borders, self._low, self._width = on_device(borders[1:]), on_device(low), on_device(high - low)
        # By item code, of one draw within the item's cluster.
        self._log_chance = on_device(np.log(chances[np.argsort(clusters.by_cluster)]).astype(np.float32))
        exponents = [1.0] * len(clusters)
        if config.loss == "gbce":
            exponents = [calibrated_exponent(config.n_negatives, size, config.calibration) for size in self._list_sizes]
        self._exponents = on_device(np.array(exponents, np.float32))

    def loss(self, hidden: Tensor, batch: DivideBatch, items: ItemVectors) -> Tensor:
        """Sum over the batch's positives. Nothing that the user chose in the window or just behind it is drawn as a
        negative (eq. 3); `unseen-softmax` leaves out of a place's sum what was chosen up to it.

        Parameters
        ----------
        hidden : (m, d)
            Outputs at the places of the batch's targets.
        """
        config = self.config
        if config.loss in ("softmax", "unseen-softmax"):
            return self._full(hidden, batch, items)
        cluster = batch.clusters
        if config.shared or config.negatives in ("in-batch", "hard"):
            factor = config.hard_pool if config.negatives == "hard" else 1
            every = torch.arange(len(self._sizes), device=hidden.device)
            drawn_of = self._draw(every, factor * config.n_negatives, batch)
            vectors = items(drawn_of).unbind()
            parts = zip(hidden.split([stop - start for _, start, stop in batch.groups]), batch.groups, strict=True)
            negative = torch.cat([part @ vectors[k].T for part, (k, *_) in parts]).float()
            positive = (hidden * items(batch.targets)).sum(-1).float()
            drawn = drawn_of[cluster]
        else:
            drawn = self._draw(cluster, config.n_negatives, batch)
            # In one go: the gradient of a lookup is as large as the catalogue.
            positive_vector, vectors_of = items(torch.cat([batch.targets[:, None], drawn], 1)).split(
                [1, config.n_negatives], 1
            )
            positive = (hidden * positive_vector[:, 0]).sum(-1).float()
            negative = torch.einsum("md,mnd->mn", hidden, vectors_of).float()
        is_left_out = is_chosen(drawn, batch, len(self._labels))
        log_expected = self._log_chance[drawn] + math.log(drawn.shape[1])
        if config.negatives == "hard":
            at = hardest(negative, is_left_out, config.n_negatives)
            negative, is_left_out, log_expected = (of.gather(1, at) for of in (negative, is_left_out, log_expected))
        if config.loss == "sampled-softmax":
            return sampled_softmax(positive, negative, log_expected, is_left_out)
        return binary_cross_entropy(positive, negative, is_left_out, exponent=self._exponents[cluster])

    def _draw(self, clusters: Tensor, n: int, batch: DivideBatch) -> Tensor:
        """(m, n) item codes, n of each of the clusters (m,); of an empty one, anything."""
        generator, device = batch.generator, clusters.device
        random = torch.rand((len(clusters), n), generator=generator, device=device, dtype=torch.float64)
        sizes = self._sizes[clusters, None]
        if self.config.negatives == "in-batch":
            borders = np.zeros((2, len(self._sizes)), np.int64)  # known on the host, so that nothing waits
            for cluster, start, stop in batch.groups:
                borders[:, cluster] = start, stop - start
            firsts, counts = to_device(borders, device)[:, clusters, None]
            at = torch.minimum((random * counts).long(), counts - 1) + firsts
            return batch.targets[at.clamp_(0, len(batch.targets) - 1)]
        first = self._starts[clusters, None]
        if self.config.negatives == "popularity":
            at = torch.searchsorted(
                self._borders, self._low[clusters, None] + random * self._width[clusters, None], right=True
            )
        else:
            at = first + (random * sizes).long()
        # A product can reach its upper bound by rounding.
        at = torch.minimum(torch.maximum(at, first), first + sizes - 1)
        return self._by_cluster[at.clamp_(0, len(self._by_cluster) - 1)]

    def _full(self, hidden: Tensor, batch: DivideBatch, items: ItemVectors) -> Tensor:
        tables = items.table().index_select(0, self._by_cluster).split(self._list_sizes)
        places = self._places[batch.targets]
        seen = None
        if self.config.loss == "unseen-softmax":
            width = batch.windows.items.shape[1]
            shown = batch.windows.items[batch.at // width]
            is_before = torch.arange(width, device=shown.device) <= (batch.at % width)[:, None]
            is_seen = is_before & (self._labels[shown] == batch.clusters[:, None])
            seen = torch.where(is_seen, self._places[shown], -1)
        total = torch.zeros((), device=hidden.device)
        of_groups = hidden.split([stop - start for _, start, stop in batch.groups])
        for part, (cluster, start, stop) in zip(of_groups, batch.groups, strict=True):
            left_out = None if seen is None else seen[start:stop]
            total = total + full_softmax(part, tables[cluster], places[start:stop], seen=left_out)
        return total


def chosen_items(batch: DivideBatch) -> Tensor:
    """(passes, w + 1) all that each pass's user chose in the window and just behind it; the last in padding too."""
    inside = torch.where(batch.windows.is_event, batch.windows.items, batch.last[:, None])
    return torch.cat([inside, batch.last[:, None]], 1)


def is_chosen(drawn: Tensor, batch: DivideBatch, n_items: int) -> Tensor:
    """(m, n) bool: whether items drawn for each of the batch's targets are among what their pass's user chose."""
    listed = chosen_items(batch).sort(1).values
    listed = (listed + n_items * torch.arange(len(listed), device=listed.device)[:, None]).flatten()
    asked = drawn + n_items * (batch.at // batch.windows.items.shape[1])[:, None]
    at = torch.searchsorted(listed, asked).clamp_(max=len(listed) - 1)
    return listed[at] == asked
