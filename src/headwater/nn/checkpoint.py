"""Checkpoints: one JSON that says where training stands and names one safetensors file, replaced atomically."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from headwater.errors import ArtefactError, ConfigError, LineageError

FORMAT = 1
STATE = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a checkpoint belongs to.

    Attributes
    ----------
    config : str
        Hash of every setting that the result depends on.
    vocabulary : str
        Fingerprint of the items.
    data : str
        Checksum of the training data.
    grown_from : tuple of str
        Checksums that the same data had before more was added behind: checkpoints of these go on, too.
    """

    config: str
    vocabulary: str
    data: str
    grown_from: tuple[str, ...] = ()


@dataclass(slots=True)
class Progress:
    """Where training stands, between two steps.

    Attributes
    ----------
    epoch, step : int
        The next step to take.
    n_steps : int
        Steps taken so far, over all epochs.
    loss_sum : float
        Of the steps taken in this epoch.
    best_value : float or None
        Highest validation figure so far; None before the first.
    best_epoch : int or None
        The epoch, from 0, after which it was measured.
    curve : list of (epoch, mean loss, validation figure or None)
        One entry for each finished epoch.
    seconds : float
        Spent in training so far, by all runs that were resumed.
    """

    epoch: int = 0
    step: int = 0
    n_steps: int = 0
    loss_sum: float = 0.0
    best_value: float | None = None
    best_epoch: int | None = None
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(folder: Path, identity: Identity, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint; a crash at any instant leaves the one before or this one.

    No random state is in it: every draw's seed is a function of seed, epoch, step and process.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    raw = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    name = f"step-{progress.n_steps:09d}.safetensors"
    _write(folder / name, raw)
    document = {
        "format": FORMAT,
        "identity": {name: getattr(identity, name) for name in ("config", "vocabulary", "data")},
        "progress": asdict(progress),
        "tensors": name,
        "checksum": xxhash.xxh3_128_hexdigest(raw),
    }
    _write(folder / STATE, (json.dumps(document, indent=2) + "\n").encode())
    for other in folder.glob("step-*.safetensors"):
        if other.name != name:
            other.unlink(missing_ok=True)


def load_checkpoint(folder: Path, identity: Identity) -> tuple[Progress, dict[str, Tensor]] | None:
    """Read what `save_checkpoint` wrote; None where the folder holds no checkpoint.

    Raises
    ------
    ArtefactError
        A file is missing, truncated or altered.
    ConfigError
        It belongs to other settings or other training data.
    LineageError
        It belongs to another vocabulary.
    """
    document = _document(folder)
    if document is None:
        return None
    path = folder / STATE
    found = Identity(**document["identity"])
    _require_vocabulary(path, found.vocabulary, identity.vocabulary)
    for what, known in (("config", {identity.config}), ("data", {identity.data, *identity.grown_from})):
        if getattr(found, what) not in known:
            raise ConfigError(
                f"the checkpoint {path} belongs to other {'settings' if what == 'config' else 'training data'} "
                f"({getattr(found, what)}, here {getattr(identity, what)}); give them back, or another folder"
            )
    values = document["progress"]
    values["curve"] = [tuple(point) for point in values["curve"]]
    return Progress(**values), _tensors(folder, document)


def load_parameters(folder: Path, vocabulary: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint of any settings and data, for a model that has grown out of its model.

    Raises
    ------
    ArtefactError
        There is no checkpoint, or it is truncated or altered.
    LineageError
        It belongs to another vocabulary.
    """
    document = _document(folder)
    if document is None:
        raise ArtefactError(f"{folder} holds no checkpoint to inherit from; give the folder of a training with one")
    _require_vocabulary(folder / STATE, document["identity"]["vocabulary"], vocabulary)
    return _tensors(folder, document)


def _document(folder: Path) -> dict[str, Any] | None:
    path = folder / STATE
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ArtefactError(f"{path} is truncated or altered ({error}); delete the folder and train again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a checkpoint of format {FORMAT}; delete the folder and train again")
    return document


def _require_vocabulary(path: Path, found: str, here: str) -> None:
    if found != here:
        raise LineageError(
            f"the checkpoint {path} belongs to another vocabulary ({found}) than this one "
            f"({here}): its rows mean other items. Give another checkpoint folder."
        )


def _tensors(folder: Path, document: dict[str, Any]) -> dict[str, Tensor]:
    from safetensors.torch import load

    path = folder / document["tensors"]
    raw = path.read_bytes() if path.is_file() else b""
    if xxhash.xxh3_128_hexdigest(raw) != document["checksum"]:
        raise ArtefactError(f"{path} is missing, truncated or altered; delete the folder and train again")
    return load(raw)


def _write(path: Path, raw: bytes) -> None:
    staging = path.with_name(f".{path.name}.partial")
    with staging.open("wb") as handle:
        handle.write(raw)
        handle.flush()
        os.fsync(handle.fileno())
    staging.replace(path)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
