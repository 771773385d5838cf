"""One folder for every trained channel and ranker: config.json and tensors.safetensors, checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xxhash
from pydantic import BaseModel

from headwater.config import parse
from headwater.data.folder import recover, replacing
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
CONFIG = "config.json"
TENSORS = "tensors.safetensors"

C = TypeVar("C", bound=BaseModel)


def save_artefact(
    path: Path, *, kind: str, config: BaseModel, vocabulary: str, tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Write an artefact into the folder `path`, whole or not at all.

    After a crash at any instant the old artefact or the new one is there, never a mixture; see `replacing`.

    Parameters
    ----------
    path : Path
        Absent, empty, or an older artefact.
    kind : str
        What it is, as `channel_class` knows it.
    config : pydantic model
    vocabulary : str
        Fingerprint of the items that its codes mean.
    tensors : mapping of str to array

    Raises
    ------
    ArtefactError
        `path` holds anything else, which is left as it is; or `vocabulary` is empty, for nothing was trained.
    """
    from safetensors.numpy import save

    if not vocabulary:
        raise ArtefactError(f"this {kind} is not trained; call fit before save")
    if path.exists() and (not path.is_dir() or {entry.name for entry in path.iterdir()} - {CONFIG, TENSORS}):
        raise ArtefactError(f"{path} holds other things than an artefact; save into a folder of its own")
    raw = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    head = {
        "format": FORMAT,
        "kind": kind,
        "vocabulary": vocabulary,
        "config": config.model_dump(mode="json"),
        "tensors": xxhash.xxh3_128_hexdigest(raw),
    }
    document = {**head, "checksum": _checksum(head)}
    with replacing(path) as folder:
        (folder / TENSORS).write_bytes(raw)
        (folder / CONFIG).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_artefact(
    path: Path, vocabulary: Vocabulary, *, kind: str, config: type[C]
) -> tuple[C, dict[str, NDArray[Any]], int]:
    """Read and verify what `save_artefact` wrote.

    Returns
    -------
    config, tensors, n_items
        `n_items` is the size of the vocabulary when the artefact was built; `vocabulary` may have grown since.

    Raises
    ------
    ArtefactError
        A file is missing, truncated or altered, or of another format or kind.
    LineageError
        It was built on another item vocabulary.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.exists():
        recover(path)
    try:
        document = json.loads((path / CONFIG).read_bytes())
        raw = (path / TENSORS).read_bytes()
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is no artefact: {Path(error.filename).name} is missing; train it again") from error
    except ValueError as error:
        raise ArtefactError(f"{path / CONFIG} is truncated or altered ({error}); train it again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        raise ArtefactError(f"{path / CONFIG} has format {found}; this version reads {FORMAT}. Train it again.")
    if document.pop("checksum", None) != _checksum(document):
        raise ArtefactError(f"{path / CONFIG} was altered since it was written; train it again")
    if document["tensors"] != xxhash.xxh3_128_hexdigest(raw):
        raise ArtefactError(f"{path / TENSORS} is truncated or altered; train it again")
    if document["kind"] != kind:
        raise ArtefactError(f"{path} holds {document['kind']!r}, not {kind!r}")
    vocabulary.require_lineage(document["vocabulary"], f"{kind} at {path}")
    try:
        settings = parse(config, document["config"], str(path / CONFIG))
        tensors = load(raw)
    except (ConfigError, SafetensorError) as error:
        raise ArtefactError(f"{path} was written by another version of headwater: {error}. Train it again.") from error
    return settings, tensors, int(document["vocabulary"].partition(":")[0])


def _checksum(head: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(head, sort_keys=True).encode())
