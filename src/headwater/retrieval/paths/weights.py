"""A trained network as plain arrays, every first layer projected, for retrieval without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from headwater.retrieval.paths.features import COUNT_LEVELS, PathFeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.paths.network import PathNetwork, UserField

LayerWeights = tuple[tuple["NDArray[np.float32]", "NDArray[np.float32]"], ...]
"""((in, out) weight, (out,) bias) of each layer after the first; LeakyReLU stands before each."""


class UserWeights(NamedTuple):
    """A user's part of a first layer: the sum of a row of each table, and for counts of several.

    Attributes
    ----------
    bias : (h,) float32
    lengths : (levels, h) float32
        By `length_levels` of the number of events of the whole history.
    attributes : dict of str to (users + 1, h) float32
        By row of `PathFeatures.user_rows`.
    counts : dict of str to (count levels, values, h) float32
        Row (l, v) counts where at least 2^l events of the window have the value v of that attribute of items.
    """

    bias: NDArray[np.float32]
    lengths: NDArray[np.float32]
    attributes: dict[str, NDArray[np.float32]]
    counts: dict[str, NDArray[np.float32]]

    def first_layer(
        self, n_events: int, user_row: int, triggers: NDArray[np.integer], codes: dict[str, NDArray[np.int32]]
    ) -> NDArray[np.float32]:
        """(h,) of one request.

        Parameters
        ----------
        n_events : int
            Known events of the whole history.
        user_row : int
            Of `PathFeatures.user_rows`.
        triggers : (w,)
            Items of the window.
        codes : dict of str to (items, values) int32
            `PathFeatures.catalogue.attributes`.
        """
        hidden = self.bias + self.lengths[min(n_events.bit_length(), len(self.lengths) - 1)]
        for table in self.attributes.values():
            hidden = hidden + table[user_row]
        for name, table in self.counts.items():
            found = codes[name][triggers].reshape(-1)
            counts = np.bincount(found[found > 0], minlength=table.shape[1])
            for value in np.flatnonzero(counts):
                hidden = hidden + table[: int(counts[value]).bit_length(), value].sum(0)
        return hidden.astype(np.float32)


class PathWeights(NamedTuple):
    """All that retrieval needs (eq. 14), h the width of a net's first layer.

    Attributes
    ----------
    leak : float
        Slope of LeakyReLU below zero, in all nets.
    trigger_users : UserWeights
    trigger_items : (items, h) float32
    trigger_behaviours : dict of str to (levels, h) float32
        `positions` by position in the window (length - 1 is the latest event), `ratings`, `gaps`, `request_gaps`,
        `periods` by their levels, as they are read; one row of each is added.
    trigger_layers : LayerWeights
        t of the sum of these.
    similarity_triggers, similarity_targets : (items, h) float32
        The bias is in the triggers' part.
    similarity_levels : tuple of (levels, h) float32
        For each measure of co-occurrence.
    similarity_layers : LayerWeights
        s of the sum of these.
    direct_items : (items, d) float32, or None
        q.
    direct_users : UserWeights, or None
    direct_layers : LayerWeights
        p of a user's first layer.
    """

    leak: float
    trigger_users: UserWeights
    trigger_items: NDArray[np.float32]
    trigger_behaviours: dict[str, NDArray[np.float32]]
    trigger_layers: LayerWeights
    similarity_triggers: NDArray[np.float32]
    similarity_targets: NDArray[np.float32]
    similarity_levels: tuple[NDArray[np.float32], ...]
    similarity_layers: LayerWeights
    direct_items: NDArray[np.float32] | None
    direct_users: UserWeights | None
    direct_layers: LayerWeights


@torch.inference_mode()
def exported(network: PathNetwork, features: PathFeatures) -> PathWeights:
    """The arrays of a network in evaluation mode."""
    network.eval()
    trigger, similarity, direct = network.trigger, network.similarity, network.direct
    items = network.items()
    tables = network.behaviours.tables()
    parts = trigger.behaviour.weight.split([table.embedding_dim for table in tables.values()], 1)
    behaviours = {name: _array(tables[name].weight @ part.T) for name, part in zip(tables, parts, strict=True)}
    linears = [] if direct is None else [layer for layer in direct.user.layers if isinstance(layer, nn.Linear)]
    return PathWeights(
        leak=network.config.leak,
        trigger_users=_user_weights(network.users, trigger.user, features),
        trigger_items=_array(trigger.item(items)),
        trigger_behaviours=behaviours,
        trigger_layers=_layers(trigger.layers.linears),
        similarity_triggers=_array(similarity.trigger(items)),
        similarity_targets=_array(similarity.target(items)),
        similarity_levels=tuple(_array(table) for table in similarity.tables()),
        similarity_layers=_layers(similarity.layers.linears),
        direct_items=None if direct is None else _array(direct.item(direct.items())),
        direct_users=None if direct is None else _user_weights(direct.users, linears[0], features),
        direct_layers=_layers(linears[1:]),
    )


def _user_weights(field: UserField, first: nn.Linear, features: PathFeatures) -> UserWeights:
    width = field.lengths.embedding_dim
    parts = list(first.weight.split(width, 1))
    attributes, counts = {}, {}
    for at, name in enumerate(features.user_codes):
        values = field.attributes[at](getattr(field, f"users_{at}"))
        attributes[name] = _array(values @ parts[1 + at].T)
    for at, name in enumerate(features.catalogue.attributes):
        table = field.counts[at] @ parts[1 + len(attributes) + at].T
        counts[name] = _array(table.view(COUNT_LEVELS, -1, table.shape[1]))
    return UserWeights(_array(first.bias), _array(field.lengths.weight @ parts[0].T), attributes, counts)


def _layers(linears: Any) -> LayerWeights:
    return tuple((_array(linear.weight.T), _array(linear.bias)) for linear in linears)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
