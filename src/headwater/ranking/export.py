"""A trained network's weights as plain arrays, its first layers cut into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from headwater.errors import ConfigError
from headwater.ranking.config import NetworkConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.can import CANNetwork
from headwater.ranking.networks.din import ActivationUnit, DINNetwork
from headwater.ranking.networks.layers import DICE_EPSILON, Dice, PReLU, TaskTower
from headwater.ranking.weights import (
    ActivationWeights,
    CoActionWeights,
    LayerWeights,
    PlugWeights,
    RankerWeights,
    UnitWeights,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@torch.inference_mode()
def exported(
    network: DINNetwork,
    features: RankingFeatures,
    config: NetworkConfig,
    plugs: Mapping[str, PlugWeights] | None = None,
) -> RankerWeights:
    """The arrays of a network, for the task `config.serves`.

    Parameters
    ----------
    plugs : dict of str to PlugWeights, optional
        What is plugged into a hidden layer, one at most, by its name in the network.

    Raises `ConfigError` where there is more to the network than arrays hold: a hidden layer with a hook, such as a
    plug, inputs of its own, or towers of its own.
    """
    network.eval()
    kinds = {type(network), *(type(tower) for tower in network.tasks.values())} - {DINNetwork, CANNetwork, TaskTower}
    if kinds:
        raise ConfigError(f"{kinds.pop().__name__} is not held by arrays; score with the network itself")
    plugs, names = plugs or {}, network.hidden_layers(config.serves)
    for name in names:
        if len(network.get_submodule(name)._forward_hooks) > (name in plugs):
            raise ConfigError(f"{name} has a forward hook, which arrays do not hold; score with the network itself")
    tower: TaskTower = network.tasks[config.serves]  # type: ignore[assignment]
    first, *others = tower.hidden()
    items = network.items.table()
    users = torch.zeros(1, 0) if network.users is None else network.users.table()
    coactions = _coactions(network)
    width = items.shape[1]
    n_searched = width * (network.search_unit is not None)
    n_context = config.dimension * len(network.context)
    n_coactions = first.linear.in_features - users.shape[1] - 2 * width - n_searched - n_context
    # The order in which `DINNetwork.parts` stand side by side.
    of_users, of_items, of_interest, of_searched, of_context, of_coactions = first.linear.weight.T.split(
        [users.shape[1], width, width, n_searched, n_context, n_coactions]
    )
    context = zip(network.context.items(), of_context.split(config.dimension) if n_context else (), strict=True)
    return RankerWeights(
        items=_array(items),
        users=_array(users),
        first_items=_array(items @ of_items),
        first_users=_array(of_users),
        first_interest=_array(of_interest),
        first_searched=_array(of_searched),
        first_coactions=_array(of_coactions),
        first_context={name: _array(table.weight @ part) for (name, table), part in context},  # type: ignore[operator]
        first_bias=_array(first.linear.bias),
        first_activation=_activation(first.activation),
        unit=_unit(network.unit, items),
        search_unit=None if network.search_unit is None else _unit(network.search_unit, items),
        coactions=coactions,
        layers=tuple(
            LayerWeights(_array(layer.linear.weight.T), _array(layer.linear.bias), _activation(layer.activation))
            for layer in others
        ),
        output=_array(tower.output.weight[1] - tower.output.weight[0]),
        output_bias=_array(tower.output.bias[1:] - tower.output.bias[:1]),
        plug=next(iter(plugs.values()), None),
        plugged=np.array([1 + names.index(next(iter(plugs))) if plugs else 0]),
    )


def _unit(unit: ActivationUnit, items: Tensor) -> UnitWeights:
    of_query, of_key, of_difference, of_product = unit.weight
    return UnitWeights(
        constants=_array(items @ (of_query + of_difference) + unit.bias),
        key=_array(of_key - of_difference),
        product=_array(of_product),
        activation=_activation(unit.activation),
        output=_array(unit.output.weight[0]),
        bias=_array(unit.output.bias),
    )


def _coactions(network: DINNetwork) -> CoActionWeights | None:
    if not isinstance(network, CANNetwork):
        return None
    users = torch.zeros(1, 0) if network.coaction_users is None else network.coaction_users.table()
    return CoActionWeights(_array(network.coaction_items.weight), _array(network.coaction_events.weight), _array(users))


def _activation(activation: PReLU | Dice) -> ActivationWeights:
    if isinstance(activation, Dice):
        scale = torch.rsqrt(activation.variance + DICE_EPSILON)
        return ActivationWeights(_array(activation.slope), _array(activation.mean), _array(scale))
    none = np.zeros(0, np.float32)
    return ActivationWeights(_array(activation.slope), none, none)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
