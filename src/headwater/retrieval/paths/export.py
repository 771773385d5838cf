"""A trained network's weights as plain arrays, every first layer projected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from headwater.retrieval.paths.features import COUNT_LEVELS, PathFeatures
from headwater.retrieval.paths.weights import LayerWeights, PathWeights, UserWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.paths.fields import UserField
    from headwater.retrieval.paths.network import PathNetwork


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
