"""A trained ranker as plain arrays, its first layers cut into the parts of items, users, requests and histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from headwater.retrieval.artefact import below

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]


class ActivationWeights(NamedTuple):
    """PReLU, or Dice where there are means.

    Attributes
    ----------
    slope : (h,) float32
    mean, scale : (h,) float32, or empty
        Of Dice: the average, and one over the standard deviation.
    """

    slope: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    def tensors(self) -> Arrays:
        """Arrays from which `restore` makes the same."""
        return self._asdict()

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """What `tensors` wrote."""
        return cls(tensors["slope"], tensors["mean"], tensors["scale"])


class UnitWeights(NamedTuple):
    """An activation unit: w · f(c_i + (key + q_i ∘ product)ᵀ k) + b.

    Attributes
    ----------
    constants : (items + 1, h) float32
        What the target item alone adds to the hidden layer, bias included.
    key, product : (d, h) float32
        W₂ − W₃, and W₄.
    activation : ActivationWeights
    output : (h,) float32
    bias : (1,) float32
    """

    constants: NDArray[np.float32]
    key: NDArray[np.float32]
    product: NDArray[np.float32]
    activation: ActivationWeights
    output: NDArray[np.float32]
    bias: NDArray[np.float32]

    def tensors(self) -> Arrays:
        """Arrays from which `restore` makes the same."""
        own = {name: value for name, value in self._asdict().items() if name != "activation"}
        return own | _under("activation.", self.activation.tensors())

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """What `tensors` wrote."""
        activation = ActivationWeights.restore(below(tensors, "activation."))
        names = ("constants", "key", "product", "output", "bias")
        return cls(**{name: tensors[name] for name in names}, activation=activation)


class CoActionWeights(NamedTuple):
    """Co-actions of CAN.

    Attributes
    ----------
    items : (items + 1, parameters) float32
        Each item's small network, as `CoActionUnit.layers` cuts it.
    events : (items + 1, c) float32
        Embeddings of events as partners.
    users : (users + 1, fields · c) float32
        Those of users; of no field where nothing is read of them.
    """

    items: NDArray[np.float32]
    events: NDArray[np.float32]
    users: NDArray[np.float32]


class LayerWeights(NamedTuple):
    """A hidden layer behind the first: f(W x + b), W as (in, out)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: ActivationWeights


class PlugWeights(NamedTuple):
    """What a plug adds to a hidden layer, W₂ f(W₁ (K − mean) / scale + b₁) + b₂ with PReLU (eq. 5 of KEEP).

    Attributes
    ----------
    mean, scale : (k,) float32
    project : (k, h) float32
        W₁, transposed.
    bias, slope : (h,) float32
    output : (h, w) float32
    output_bias : (w,) float32
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    project: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]


class RankerWeights(NamedTuple):
    """All that scoring needs; rows of items and users are those of `RankingFeatures`.

    Attributes
    ----------
    items : (items + 1, d) float32
        Vectors of items, as targets and as events.
    users : (users + 1, ·) float32
        Vectors of users; of no column where nothing is read of them.
    first_items : (items + 1, h) float32
        Each item's part of the first hidden layer.
    first_users, first_interest, first_searched, first_coactions : (·, h) float32
        What user, interest, searched interest and co-actions are multiplied by, to be added to it.
    first_context : dict of str to (levels, h) float32
    first_bias : (h,) float32
    first_activation : ActivationWeights
    unit : UnitWeights
    search_unit : UnitWeights, or None
    coactions : CoActionWeights, or None
    layers : tuple of LayerWeights
        The hidden layers behind the first.
    output : (h',) float32
        What the last one gives to the logit, s = z₁ − z₀.
    output_bias : (1,) float32
    plug : PlugWeights, or None
    plugged : (1,) int64
        After which hidden layer, from 1, the plug adds; 0 without one.
    """

    items: NDArray[np.float32]
    users: NDArray[np.float32]
    first_items: NDArray[np.float32]
    first_users: NDArray[np.float32]
    first_interest: NDArray[np.float32]
    first_searched: NDArray[np.float32]
    first_coactions: NDArray[np.float32]
    first_context: dict[str, NDArray[np.float32]]
    first_bias: NDArray[np.float32]
    first_activation: ActivationWeights
    unit: UnitWeights
    search_unit: UnitWeights | None
    coactions: CoActionWeights | None
    layers: tuple[LayerWeights, ...]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]
    plug: PlugWeights | None = None
    plugged: NDArray[np.int64] = np.zeros(1, np.int64)

    def tensors(self) -> Arrays:
        """Arrays from which `restore` makes the same."""
        found = {name: value for name, value in self._asdict().items() if isinstance(value, np.ndarray)}
        found |= _under("first_context.", self.first_context)
        found |= _under("first_activation.", self.first_activation.tensors())
        found |= _under("unit.", self.unit.tensors())
        if self.search_unit is not None:
            found |= _under("search_unit.", self.search_unit.tensors())
        if self.coactions is not None:
            found |= _under("coactions.", self.coactions._asdict())
        if self.plug is not None:
            found |= _under("plug.", self.plug._asdict())
        for at, layer in enumerate(self.layers):
            found |= {f"layers.{at}.weight": layer.weight, f"layers.{at}.bias": layer.bias}
            found |= _under(f"layers.{at}.activation.", layer.activation.tensors())
        return found

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]], context: tuple[str, ...]) -> Self:
        """What `tensors` wrote; `context` is the order of the features of the request."""
        search, coactions = below(tensors, "search_unit."), below(tensors, "coactions.")
        levels, plug = below(tensors, "first_context."), below(tensors, "plug.")
        layers = []
        while layer := below(tensors, f"layers.{len(layers)}."):
            activation = ActivationWeights.restore(below(layer, "activation."))
            layers.append(LayerWeights(layer["weight"], layer["bias"], activation))
        return cls(
            **{name: tensors[name] for name in cls._fields if name in tensors},
            first_context={name: levels[name] for name in context},
            first_activation=ActivationWeights.restore(below(tensors, "first_activation.")),
            unit=UnitWeights.restore(below(tensors, "unit.")),
            search_unit=UnitWeights.restore(search) if search else None,
            coactions=CoActionWeights(**coactions) if coactions else None,
            plug=PlugWeights(**plug) if plug else None,
            layers=tuple(layers),
        )


def _under(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> Arrays:
    return {prefix + name: values for name, values in tensors.items()}
