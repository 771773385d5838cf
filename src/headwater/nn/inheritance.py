"""Going on with a model that has grown: what the smaller one learned, optimiser state included, by name.

A plug, a wider input of its own or another task adds parameters and leaves the others as they were. Training from
scratch would forget them, and new moments of Adam would take their first steps at full length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from headwater.errors import ConfigError
from headwater.nn.checkpoint import load_parameters

MODEL, ADAM = "model.", "adam."


def inherit(folder: Path, vocabulary: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Copy weights, buffers and moments of the checkpoint in `folder` into `model` and `optimizer`, by name.

    Parameters
    ----------
    folder : Path
        Of a training of the smaller model, by `headwater.nn.training.train`.
    vocabulary : str
        As in `Identity`.
    model : nn.Module
        Holds every weight of the smaller model under its name, and others.
    optimizer : Optimizer
        Of the parameters of `model`. Moments of new parameters begin when they are first stepped.

    Returns
    -------
    tuple of str
        Names of what is new in `model`, which was left as it was.

    Raises
    ------
    LineageError
        The checkpoint belongs to another vocabulary.
    ConfigError
        `model` lacks a weight of the checkpoint, or has it in another shape; it is named, and nothing is copied.
    ArtefactError
        There is no checkpoint, or it is damaged.
    """
    return take_over(load_parameters(folder, vocabulary), str(folder), model, optimizer)


def take_over(
    tensors: Mapping[str, Tensor], source: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[str, ...]:
    """Do what `inherit` does with tensors that are at hand; `source` is what errors call them."""
    state = model.state_dict()
    kept = {name.removeprefix(MODEL): tensor for name, tensor in tensors.items() if name.startswith(MODEL)}
    for name, tensor in sorted(kept.items()):
        if name not in state:
            raise ConfigError(f"the model of {source} has {name!r}, and this one has not: a model may only grow")
        if state[name].shape != tensor.shape:
            raise ConfigError(
                f"{name!r} has shape {tuple(tensor.shape)} in {source} and {tuple(state[name].shape)} here: "
                "what is inherited keeps its shape; add what is new beside it"
            )
    model.load_state_dict({**state, **kept})
    restore_moments(optimizer, dict(model.named_parameters()), tensors)
    return tuple(name for name in state if name not in kept)


def restore_moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put the moments among a checkpoint's tensors to the parameters that they belong to."""
    for name, tensor in tensors.items():
        if name.startswith(ADAM):
            moment, _, of = name.removeprefix(ADAM).partition(".")
            optimizer.state[parameters[of]][moment] = tensor.to(parameters[of].device, copy=True)
