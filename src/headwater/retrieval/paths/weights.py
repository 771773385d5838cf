"""A trained network as plain arrays, every first layer projected, for retrieval without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from headwater.retrieval.artefact import below
from headwater.retrieval.paths.nets_kernels import add_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.paths.features import PathFeatures

BEHAVIOURS = ("positions", "ratings", "gaps", "request_gaps", "periods")
"""What may be read of an event, in the order in which it stands side by side."""

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
            hidden += table[user_row]
        triggers = np.ascontiguousarray(triggers, np.int32)
        for name, table in self.counts.items():
            add_counts(triggers, codes[name], table, np.zeros(table.shape[1], np.int32), hidden)
        return hidden

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays from which `restore` makes the same."""
        attributes = {f"attributes.{name}": table for name, table in self.attributes.items()}
        counts = {f"counts.{name}": table for name, table in self.counts.items()}
        return {"bias": self.bias, "lengths": self.lengths, **attributes, **counts}

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]], features: PathFeatures) -> Self:
        """What `tensors` wrote, in the order of the features, so that sums round as they did."""
        attributes = {name: tensors[f"attributes.{name}"] for name in features.user_codes}
        counts = {name: tensors[f"counts.{name}"] for name in features.catalogue.attributes}
        return cls(tensors["bias"], tensors["lengths"], attributes, counts)


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

    def served(self) -> dict[str, NDArray[Any]]:
        """Arrays of all that a request reads, from which `of_served` makes weights; no similarities."""
        found = {f"trigger.users.{name}": table for name, table in self.trigger_users.tensors().items()}
        found["trigger.items"] = self.trigger_items
        found |= {f"trigger.behaviours.{name}": table for name, table in self.trigger_behaviours.items()}
        found |= _named("trigger.layers.", self.trigger_layers)
        if self.direct_items is not None and self.direct_users is not None:
            found |= {f"direct.users.{name}": table for name, table in self.direct_users.tensors().items()}
            found["direct.items"] = self.direct_items
            found |= _named("direct.layers.", self.direct_layers)
        return found

    @classmethod
    def of_served(cls, tensors: Mapping[str, NDArray[Any]], features: PathFeatures, leak: float) -> Self:
        """What `served` wrote; there are no similarities, which the index holds."""
        none = np.zeros((0, 0), np.float32)
        behaviours = below(tensors, "trigger.behaviours.")
        users = below(tensors, "direct.users.")
        return cls(
            leak=leak,
            trigger_users=UserWeights.restore(below(tensors, "trigger.users."), features),
            trigger_items=tensors["trigger.items"],
            trigger_behaviours={name: behaviours[name] for name in BEHAVIOURS if name in behaviours},
            trigger_layers=_layers(below(tensors, "trigger.layers.")),
            similarity_triggers=none,
            similarity_targets=none,
            similarity_levels=(),
            similarity_layers=(),
            direct_items=tensors.get("direct.items"),
            direct_users=UserWeights.restore(users, features) if users else None,
            direct_layers=_layers(below(tensors, "direct.layers.")),
        )


def _named(prefix: str, layers: LayerWeights) -> dict[str, NDArray[Any]]:
    found = {}
    for at, (weight, bias) in enumerate(layers):
        found |= {f"{prefix}{at}.weight": weight, f"{prefix}{at}.bias": bias}
    return found


def _layers(tensors: Mapping[str, NDArray[Any]]) -> LayerWeights:
    return tuple((tensors[f"{at}.weight"], tensors[f"{at}.bias"]) for at in range(len(tensors) // 2))
