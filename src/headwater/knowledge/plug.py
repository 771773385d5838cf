"""The plug-in network: knowledge is projected, and *added* to a hidden layer of a model that stays as it was (eq. 5).

Concatenation would change the shape of the next layer, and so lose what it has learned. What is added here is zero at
first: a plugged model begins at the predictions of the model that it was, bit for bit, and every weight and moment of
that model keeps its name.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headwater.errors import ConfigError
from headwater.ranking.weights import PlugWeights

PLUGS = "plugs"
"""The submodule of a plugged model that holds its plugs, in the order in which they were added."""

K = TypeVar("K", bound="Knowing")

LEAST_SCALE = 1e-6
"""A column of knowledge that hardly varies says nothing, and is not blown up."""


class Knowing(nn.Module):
    """What is added to a layer, as a function of knowledge.

    Parameters
    ----------
    knowledge : int, or (n, width) Tensor
        Width of K; or examples of it, whose mean and deviation are then taken out of it, for embeddings are a hundredth
        of what hidden layers hold and Adam would need its first steps for that alone.
    name : str
        Which knowledge it reads.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, knowledge: int | Tensor, name: str) -> None:
        super().__init__()
        self.name = name
        self.width_in = knowledge if isinstance(knowledge, int) else knowledge.shape[1]
        mean, scale = torch.zeros(self.width_in), torch.ones(self.width_in)
        if isinstance(knowledge, Tensor) and len(knowledge) > 1:
            _require_finite(knowledge, name)
            scale, mean = torch.std_mean(knowledge.double(), 0, correction=0)
            mean, scale = mean.float(), torch.where(scale < LEAST_SCALE, 1.0, scale).float()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def standardised(self, values: Tensor) -> Tensor:
        """(K − mean) / scale, in the type of the weights."""
        return ((values - self.mean) / self.scale).to(next(self.parameters()).dtype)


class Plug(Knowing):
    """h^k = W₂ f(W₁ (K − mean) / scale + b₁) + b₂, with W₂ and b₂ zero at first; no dropout.

    Parameters
    ----------
    knowledge, name
        See `Knowing`.
    width : int
        Of the layer that it is added to.
    hidden : int
    """

    def __init__(self, knowledge: int | Tensor, width: int, hidden: int, name: str) -> None:
        super().__init__(knowledge, name)
        self.project = nn.Linear(self.width_in, hidden)
        self.activation = nn.PReLU(hidden)
        self.output = nn.Linear(hidden, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(…, width) what is added, of knowledge (…, width_in)."""
        values = self.standardised(values)
        return self.output(self.activation(self.project(values).flatten(0, -2)).view(*values.shape[:-1], -1))

    def weights(self) -> PlugWeights:
        """As arrays, for serving."""
        found = (
            *(self.mean, self.scale, self.project.weight.T, self.project.bias),
            *(self.activation.weight, self.output.weight.T, self.output.bias),
        )
        return PlugWeights(*(np.ascontiguousarray(one.detach().float().cpu().numpy()) for one in found))


class Columns(Knowing):
    """W_K (K − mean) / scale, zero at first: what concatenation adds to a linear layer's matrix.

    W [x, K] + b = (W_x x + b) + W_K K, so a layer that reads K beside its input is the layer as it was, and these
    columns added to what it returns. It is there to compare plugs with.

    Parameters
    ----------
    knowledge, name
        See `Knowing`.
    width : int
        Of what the layer returns.
    """

    def __init__(self, knowledge: int | Tensor, width: int, name: str) -> None:
        super().__init__(knowledge, name)
        self.weight = nn.Parameter(torch.zeros(width, self.width_in))

    def forward(self, values: Tensor) -> Tensor:
        """(…, width) of knowledge (…, width_in)."""
        return functional.linear(self.standardised(values), self.weight)


class _Plugs(nn.ModuleList):
    """The plugs of a model. One that calls its parts in a row (`nn.Sequential`) calls this one, too."""

    def forward(self, vectors: Any) -> Any:
        """What it is given."""
        return vectors


class _Reader:
    """Hands the knowledge of a call of the model to its plugs; each thread has its own."""

    def __init__(self, plugs: nn.ModuleList) -> None:
        self.plugs = plugs
        self.given: dict[int, Any] = {}

    def take(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Before the model's call: `knowledge=`, or else that of its first argument."""
        knowledge = kwargs.pop("knowledge", None)
        if knowledge is None and args:
            knowledge = getattr(args[0], "knowledge", None)
        self.given[threading.get_ident()] = knowledge
        return args, kwargs

    def forget(self, _: nn.Module, __: Any, ___: Any) -> None:
        """After the model's call, whether it went well or not."""
        self.given.pop(threading.get_ident(), None)

    def of(self, plug: Knowing) -> Tensor:
        """What a plug is to read now."""
        given = self.given.get(threading.get_ident())
        if isinstance(given, Mapping):
            given = given.get(plug.name)
        elif any(other.name != plug.name for other in self.plugs):
            names = ", ".join(sorted({str(other.name) for other in self.plugs}))
            raise ConfigError(f"the model has plugs for {names}; give knowledge= as a dict of these names")
        if given is None:
            raise ConfigError(
                f"the model has a plug: call it with knowledge= for {plug.name!r}, (rows, {plug.width_in})"
            )
        if given.shape[-1] != plug.width_in:
            raise ConfigError(
                f"{plug.name!r} was plugged in {plug.width_in} wide, and what is given has shape {tuple(given.shape)}; "
                "is it of another version?"
            )
        _require_finite(given, plug.name)
        return given


class _Adding:
    """What a layer's hook does."""

    def __init__(self, plug: Knowing, reader: _Reader, layer: str) -> None:
        self.plug, self.reader, self.layer = plug, reader, layer

    def add(self, _: nn.Module, __: Any, output: Any) -> Tensor:
        """h'_m = h_m + h^k."""
        values = self.reader.of(self.plug)
        if output.shape[:-1] != values.shape[:-1]:
            raise ConfigError(
                f"{self.layer} says {tuple(output.shape)}, and the knowledge has shape {tuple(values.shape)}: "
                "give one row of knowledge for each row of the layer"
            )
        return output + self.plug(values).to(output.dtype)


def plug(
    model: nn.Module,
    *,
    layer: str,
    knowledge: int | Tensor,
    hidden: int = 64,
    width: int | None = None,
    name: str = "knowledge",
) -> Plug:
    """Add a plug to a model in place; from now on it is called with `knowledge=`, (rows, width) or a dict by name.

    The plug is a submodule of the model, behind those of earlier calls: `plugs.0`, `plugs.1`, ... Nothing else of the
    model changes, so `headwater.nn.inheritance.inherit` takes over weights and moments of the model that it was. A
    plugged model may be deep-copied, and be called by several threads.

    Parameters
    ----------
    model : nn.Module
    layer : str
        Name of a module within, as `get_submodule` knows it; it is added to what that module returns, which should be
        after the activation.
    knowledge : int, or (n, width) Tensor
        See `Knowing`.
    hidden : int
        Width of the layer between.
    width : int, optional
        Of what the layer returns; found out for layers that end in a linear one.
    name : str
        Which knowledge it reads; plugs of one name read the same.

    Returns
    -------
    Plug
        Its parameters are not yet the optimiser's.

    Raises
    ------
    ConfigError
        There is no such layer, or its width is not known.
    """
    found, width = _layer_of(model, layer, width)
    return _added(model, layer, found, Plug(knowledge, width, hidden, name))


def concatenate(
    model: nn.Module, *, layer: str, knowledge: int | Tensor, width: int | None = None, name: str = "knowledge"
) -> Columns:
    """Let a linear layer of a model read knowledge beside its input; all else is as of `plug`.

    Its columns are zero at first, so that it too begins at the predictions of the model that it was.
    """
    found, width = _layer_of(model, layer, width)
    return _added(model, layer, found, Columns(knowledge, width, name))


def _layer_of(model: nn.Module, layer: str, width: int | None) -> tuple[nn.Module, int]:
    """A layer by its name, and the width of what it returns."""
    try:
        found = model.get_submodule(layer)
    except AttributeError as error:
        near = ", ".join(other for other, _ in model.named_modules() if other.endswith(layer.rpartition(".")[2]))
        hint = f"; there is {near}" if near else ""
        raise ConfigError(f"the model has no layer {layer!r}{hint}") from error
    if width is None:
        linear = [part for part in found.modules() if isinstance(getattr(part, "out_features", None), int)]
        if not linear:
            raise ConfigError(f"nobody knows how wide {layer!r} ({type(found).__name__}) is; say width=")
        width = int(linear[-1].out_features)  # type: ignore[arg-type]
    return found, width


def _added(model: nn.Module, layer: str, found: nn.Module, made: K) -> K:
    beside = next(iter(model.parameters()), torch.zeros(()))
    made = made.to(device=beside.device)
    if beside.is_floating_point():
        made = made.to(beside.dtype)
    reader = _reader_of(model)
    reader.plugs.append(made)
    found.register_forward_hook(_Adding(made, reader, layer).add)
    return made


def _reader_of(model: nn.Module) -> _Reader:
    for hook in model._forward_pre_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, _Reader):
            return owner
    if hasattr(model, PLUGS):
        raise ConfigError(f"{type(model).__name__} has a part called {PLUGS!r} that is no plug; rename it")
    plugs = _Plugs()
    model.add_module(PLUGS, plugs)
    reader = _Reader(plugs)
    model.register_forward_pre_hook(reader.take, with_kwargs=True)
    model.register_forward_hook(reader.forget, always_call=True)
    return reader


def _require_finite(values: Tensor, name: str) -> None:
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).flatten(0, -2).any(-1).nonzero()[0])
        raise ConfigError(f"{name!r}, row {row}: knowledge is not finite; check the version that it was read from")
